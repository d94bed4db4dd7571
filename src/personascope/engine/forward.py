"""Teacher-forced passes over texts that already exist: activations, means, projections, in batches, writes included."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.engine.batches import batches, padded
from personascope.engine.edits import Applied, Editor, changes
from personascope.engine.hooks import Visitor, run
from personascope.engine.means import Means, Places
from personascope.engine.norms import sinks
from personascope.engine.readers import Activations, Mapped, Projections, Reader, When, visit
from personascope.engine.selection import Layout, Selection, select
from personascope.engine.spans import Span
from personascope.engine.writes import Write, check_width
from personascope.errors import NonFinite, UserError
from personascope.subject import Prompt, Subject

# Tokens of a pass, by default: what keeps a GPU busy, and on a CPU what stays near its caches.
BATCH_TOKENS = 8_192
_BATCH_TOKENS_CPU = 2_048


@dataclass(frozen=True)
class Passage:
    """A prompt and the response that followed it. is_open: whether a further token is to be chosen at its end."""

    prompt: Prompt
    response: tuple[int, ...] = ()
    writes: tuple[Write, ...] = ()
    is_open: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt.ids + self.response

    @property
    def layout(self) -> Layout:
        return Layout(len(self.prompt), len(self.ids), self.prompt.turns, self.is_open)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Group:
    """Passages that run together, right-padded: without a mask, since no token sees what comes after it."""

    indices: list[int]
    passages: list[Passage]

    @property
    def width(self) -> int:
        return max(map(len, self.passages))

    def places(self, selection: Selection) -> list[list[int]]:
        """Per passage the flattened places of the selected tokens."""
        return [
            Span(row, 0, len(passage)).flat(selection.positions(passage.layout), self.width)
            for row, passage in enumerate(self.passages)
        ]


def groups(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None) -> Iterator[Group]:
    """Passages of like length together, once all of them are known to fit the subject. Raises `UserError` otherwise."""
    batch_tokens = default_tokens(subject) if batch_tokens is None else batch_tokens
    for passage in passages:
        subject.check_length(len(passage))
        check_width(
            (d for w in passage.writes for d in w.directions), subject.hidden_size, subject.n_layers, subject.name
        )
    for indices in batches([len(passage) for passage in passages], batch_tokens):
        yield Group(indices, [passages[index] for index in indices])


def default_tokens(subject: Subject) -> int:
    return _BATCH_TOKENS_CPU if subject.input_device.type == "cpu" else BATCH_TOKENS


def run_group(
    subject: Subject,
    group: Group,
    readers: Sequence[Reader],
    pick: Callable[[Tensor], Tensor] | None = None,
) -> Any:
    """One pass over a group, as deep as the readers or the head need."""
    rows = padded([passage.ids for passage in group.passages], group.width)
    entries = [
        (change, Span(row, 0, len(passage)).flat(change.write.tokens.positions(passage.layout), group.width))
        for row, passage in enumerate(group.passages)
        for change in changes(subject, passage.writes)
    ]
    edits = Editor(subject).compile(entries)
    layers = {*edits, *(layer for reader in readers for layer in reader.layers)}
    deepest = max((layer for reader in readers for layer in reader.layers), default=None) if pick is None else None
    inputs = {"input_ids": torch.tensor(rows, device=subject.input_device), "use_cache": False}
    visitors = {layer: visitor(layer, readers, edits) for layer in layers if deepest is None or layer <= deepest}
    return run(subject, inputs, visitors, pick, deepest)


def visitor(layer: int, readers: Sequence[Reader], edits: Mapping[int, Sequence[Applied]]) -> Visitor:
    """Reads, writes, reads again, at one layer."""

    def look(stream: Tensor) -> None:
        visit(readers, layer, "before", stream)
        for edit in edits.get(layer, ()):
            edit.apply(stream.view(-1, stream.shape[-1]))
        visit(readers, layer, "after", stream)

    return look


def activations_of(
    subject: Subject,
    passages: Sequence[Passage],
    layers: Sequence[int],
    tokens: str | Selection,
    when: When = "before",
    batch_tokens: int | None = None,
) -> list[Tensor]:
    """Per passage [selected tokens, layers, hidden] float32 on the CPU. Raises `NonFinite` naming layer and text."""
    selection, layers = select(tokens), tuple(map(subject.check_layer, layers))
    reader = Activations(layers, when)
    out: list[Tensor] = [torch.empty(0)] * len(passages)
    for group in groups(subject, passages, batch_tokens):
        places = group.places(selection)
        reader.places = torch.tensor([place for row in places for place in row], dtype=torch.long)
        run_group(subject, group, [reader])
        for index, part in zip(group.indices, reader.collect().split([len(row) for row in places]), strict=True):
            out[index] = part if reader.is_finite else finite(part, 1, layers, passages[index].prompt, subject)
    return out


def mapped_of(
    subject: Subject,
    passages: Sequence[Passage],
    layer: int,
    tokens: str | Selection,
    function: Callable[[Tensor], Tensor],
    when: When = "before",
    batch_tokens: int | None = None,
) -> list[Tensor]:
    """Per passage what `function` makes of its selected tokens: [selected tokens, K] on the CPU.

    function: [tokens, hidden] on the layer's device to [tokens, K]; it is called on tokens of several passages at once.
    Raises `NonFinite` naming layer and text where a result is no number.
    """
    selection = select(tokens)
    reader = Mapped(subject.check_layer(layer), function, when)
    out: list[Tensor] = [torch.empty(0)] * len(passages)
    for group in groups(subject, passages, batch_tokens):
        places = group.places(selection)
        reader.places = torch.tensor([place for row in places for place in row], dtype=torch.long)
        run_group(subject, group, [reader])
        for index, part in zip(group.indices, reader.collect().split([len(row) for row in places]), strict=True):
            out[index] = finite(part[:, None], 1, [layer], passages[index].prompt, subject)[:, 0]
    return out


def means_of(
    subject: Subject,
    passages: Sequence[Passage],
    layers: Sequence[int],
    tokens: Sequence[str | Selection],
    when: When = "before",
    batch_tokens: int | None = None,
    allows_empty: bool = False,
) -> Tensor:
    """[passages, selections, layers, hidden] float32 on the CPU: means over each selection's tokens.

    Raises `UserError` where a selection is empty (with allows_empty its mean is NaN), `NonFinite` naming layer and text.
    """
    selections, layers = [select(one) for one in tokens], tuple(map(subject.check_layer, layers))
    out = torch.empty(len(passages), len(selections), len(layers), subject.hidden_size)
    reader = Means(layers, len(selections), subject, when)
    for group in groups(subject, passages, batch_tokens):
        slots = [reader.open() for _ in group.passages]
        chosen = [group.places(selection) for selection in selections]
        for selection, rows in zip(selections, chosen, strict=True):
            empty = [index for index, flat in zip(group.indices, rows, strict=True) if not flat]
            if empty and not allows_empty:
                raise UserError(
                    f"tokens={str(selection)!r} selects nothing in text {empty[0]}; choose another selection"
                )
        reader.places = [
            Places.of(
                [
                    (slot, flat, sinks(passage.prompt, selection.positions(passage.layout)))
                    for slot, flat, passage in zip(slots, rows, group.passages, strict=True)
                ]
            )
            for selection, rows in zip(selections, chosen, strict=True)
        ]
        run_group(subject, group, [reader])
        for row, (means, index) in enumerate(zip(reader.take(slots), group.indices, strict=True)):
            held = [place for place, rows in enumerate(chosen) if rows[row]]
            finite(means[:, held], 0, layers, passages[index].prompt, subject)
            out[index] = means.transpose(0, 1)
    return out


@dataclass(frozen=True)
class Projected:
    """What a teacher-forced pass reads of one passage. projections: by `name@layer`, [tokens]; norms: by layer, [tokens]."""

    projections: dict[str, np.ndarray]
    norms: dict[int, np.ndarray]


def projections_of(
    subject: Subject,
    passages: Sequence[Passage],
    directions: Sequence[Direction],
    when: When = "before",
    batch_tokens: int | None = None,
) -> list[Projected]:
    """Per passage the projection of every token on every direction, in residual-stream units."""
    check_width(directions, subject.hidden_size, subject.n_layers, subject.name)
    reader = Projections(tuple(directions), subject, when)
    out: list[Projected] = [Projected({}, {})] * len(passages)
    for group in groups(subject, passages, batch_tokens):
        run_group(subject, group, [reader])
        values = reader.collect()
        for row, index in enumerate(group.indices):
            out[index] = split_columns(values[row, : len(passages[index])], reader.columns)
    return out


def split_columns(values: np.ndarray, columns: Sequence[tuple[int, str]]) -> Projected:
    """[tokens, columns] by name."""
    projections = {f"{name}@{layer}": values[:, c] for c, (layer, name) in enumerate(columns) if name}
    norms = {layer: values[:, c] for c, (layer, name) in enumerate(columns) if not name}
    return Projected(projections, norms)


def finite(values: Tensor, axis: int, layers: Sequence[int], prompt: Prompt, subject: Subject) -> Tensor:
    """The values, if they are numbers; `layers` are those along `axis`. Raises `NonFinite` naming the first bad one."""
    if not torch.isfinite(values).all():
        bad = (~torch.isfinite(values)).movedim(axis, 0).flatten(1).any(dim=1)
        layer = layers[int(bad.nonzero()[0])]
        raise NonFinite(
            f"the residual stream of {subject.name} is not finite at layer {layer}, on {prompt.text[:60]!r}"
        )
    return values
