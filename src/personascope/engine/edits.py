"""Writes compiled for one forward pass: per layer a table of vectors and an index for each token that takes one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.engine.norms import median_norm
from personascope.engine.writes import Write
from personascope.subject import Subject


@dataclass(frozen=True, eq=False)
class Change:
    """One write at one layer, ready for the stream.

    kind `add`: `vector` [hidden] is put on the stream as it is. kind `bound`: `vector` is a unit vector and the
    stream's component along it is kept within [low, high]. order: place among the row's changes at the layer.
    """

    layer: int
    order: int
    kind: Literal["add", "bound"]
    vector: Tensor
    low: float
    high: float
    write: Write


def changes(subject: Subject, writes: Sequence[Write]) -> list[Change]:
    """A row's writes, layer by layer, in the order given. Relative ones are scaled by the layer's median norm."""
    found: list[Change] = []
    for write in writes:
        for direction in write.directions:
            order = sum(change.layer == direction.layer for change in found)
            if write.operation == "add":
                vector = _addend(subject, write, direction)
                found.append(Change(direction.layer, order, "add", vector, write.floor, write.ceiling, write))
            else:
                vector = direction.unit()
                found.append(Change(direction.layer, order, "bound", vector, write.floor, write.ceiling, write))
    return found


def _addend(subject: Subject, write: Write, direction: Direction) -> Tensor:
    if write.relative:
        return direction.unit() * (write.alpha * median_norm(subject, direction.layer))
    return direction.vector * write.alpha


@dataclass(frozen=True)
class Edit:
    """Changes of one kind at one layer: token `flat[i]` of the flattened batch takes row `rows[i]` of the table."""

    kind: Literal["add", "bound"]
    flat: Tensor
    rows: Tensor
    table: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def apply(self, stream: Tensor) -> None:
        """Change the residual stream [tokens, hidden] in place."""
        if self.kind == "add":
            stream.index_add_(0, self.flat, self.table[self.rows])
            return
        assert self.low is not None and self.high is not None
        unit = self.table[self.rows]
        chosen = stream[self.flat].float()
        along = (chosen * unit).sum(dim=1)
        missing = along.clamp(self.low[self.rows], self.high[self.rows]) - along
        stream.index_copy_(0, self.flat, (chosen + missing[:, None] * unit).to(stream.dtype))


class Applied(Protocol):
    """Something that changes the residual stream [tokens, hidden] in place."""

    def apply(self, stream: Tensor) -> None: ...


Edits = dict[int, list[Edit]]


@dataclass
class Editor:
    """Compiles changes into edits, keeping each vector's copy on the device of its layer."""

    subject: Subject
    _copies: dict[tuple[int, str, torch.device], Tensor] = field(default_factory=dict)

    def compile(self, entries: Iterable[tuple[Change, list[int]]]) -> Edits:
        """Edits by layer, in order, from (change, flat token places) pairs."""
        stages: dict[tuple[int, int, str], list[tuple[Change, list[int]]]] = {}
        for change, flat in entries:
            if flat:
                stages.setdefault((change.layer, change.order, change.kind), []).append((change, flat))
        edits: Edits = {}
        for (layer, _, _), stage in sorted(stages.items(), key=lambda item: item[0]):
            edits.setdefault(layer, []).append(self._edit(stage, self.subject.layer_device(layer)))
        return edits

    def _edit(self, stage: list[tuple[Change, list[int]]], device: torch.device) -> Edit:
        table: dict[tuple[int, float, float], int] = {}
        vectors, bounds, flat, rows = [], [], [], []
        for change, places in stage:
            key = (id(change.vector), change.low, change.high)
            if key not in table:
                table[key] = len(table)
                vectors.append(self._copy(change, device))
                bounds.append((change.low, change.high))
            flat += places
            rows += [table[key]] * len(places)
        kind = stage[0][0].kind
        low, high = torch.tensor(bounds, device=device).unbind(1) if kind == "bound" else (None, None)
        return Edit(
            kind,
            torch.tensor(flat, device=device),
            torch.tensor(rows, device=device),
            torch.stack(vectors),
            low,
            high,
        )

    def _copy(self, change: Change, device: torch.device) -> Tensor:
        """The vector on the layer's device: in the stream's dtype to add, in float32 to measure along."""
        key = (id(change.vector), change.kind, device)
        if key not in self._copies:
            dtype = self.subject.dtype if change.kind == "add" else torch.float32
            self._copies[key] = change.vector.to(device=device, dtype=dtype)
        return self._copies[key]

    def forget(self, gone: Sequence[Change]) -> None:
        """Drop the copies of changes that no row has any more."""
        ids = {id(change.vector) for change in gone}
        self._copies = {key: copy for key, copy in self._copies.items() if key[0] not in ids}
