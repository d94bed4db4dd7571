"""Reading the pairs: places that both models reach, cells of texts, one model after the other; what is done is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from personascope.engine.forward import Passage, activations_of
from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.errors import UserError
from personascope.runs import RunFolder, Shards, cell_key
from personascope.subject import Prompt, PromptLike, Subject
from personascope.subject.chat import as_messages
from personascope.transfer.alignment import Place, aligned, places
from personascope.transfer.pairs import PairedActivations, PairedPart, PairedSide

# A model, or how to get it when its turn comes; it is let go of after.
Model = Subject | Callable[[], Subject]
Positions = Literal["aligned", "last"]
Progress = Callable[[str, int | None], None]

# A cell is closed once it has so many pairs, or so many tokens to hold meanwhile.
_ROWS = 4_096
_TOKENS = 16_384


def pair_activations(
    source: Model,
    target: Model,
    texts: Sequence[PromptLike],
    source_layers: Sequence[int],
    target_layers: Sequence[int],
    run: RunFolder,
    positions: Positions = "aligned",
    name: str = "pairs.json",
    on_progress: Progress = lambda *_: None,
) -> PairedActivations:
    """What two models hold at the same places of the same texts, in the folder of a run; one that was broken off goes on.

    source, target: subjects, or functions that return one, called when it is needed, so that only one model need be in
    memory. texts: strings are raw text, lists of messages are chats, each in its model's own markup. positions:
    `aligned`: wherever both tokenizers end on the same character, BOS, special tokens, unknown words and markup left
    out; `last`: the last token of every text, of a chat that of its generation header. name: of the list of files.
    on_progress: (what, how many) as a stage begins, ("", None) for each of its texts.
    Raises `UserError` on texts that are empty or too long for a model, and where no place pairs up; `NonFinite` naming
    layer and text.
    """
    if positions not in ("aligned", "last"):
        raise UserError(f"positions={positions!r} is not known; use 'aligned' or 'last'")
    if isinstance(texts, str) or not len(texts):
        raise UserError("texts must be a list of at least one text, a string or a chat each")
    sides = [_Side.of(source, texts, source_layers), _Side.of(target, texts, target_layers)]
    if positions == "last":
        pairs = [np.array([[side.last(number) for side in sides]]) for number in range(len(texts))]
    else:
        reached = zip(*(map(_unpacked, side.places) for side in sides), strict=True)
        pairs = [np.array(aligned(*both), dtype=np.int32).reshape(-1, 2) for both in reached]
    if not any(map(len, pairs)):
        raise UserError("in none of the texts do both tokenizers end on the same character; use positions='last'")
    cells = _cells(pairs, sides, is_whole=positions == "aligned")
    done = [
        side.read([[(text, pairs[text][:, place].tolist()) for text in cell] for cell in cells], run, on_progress)
        for place, side in enumerate(sides)
    ]
    made = PairedActivations(
        folder=run.path,
        source=done[0][0],
        target=done[1][0],
        positions=positions,
        texts=len(texts),
        unpaired=tuple(text for text, found in enumerate(pairs) if not len(found)),
        parts=tuple(
            PairedPart(ours, theirs, tuple(cell), tuple(len(pairs[text]) for text in cell))
            for ours, theirs, cell in zip(done[0][1], done[1][1], cells, strict=True)
        ),
    )
    made.save(name)
    return made


@dataclass(frozen=True, eq=False)
class _Side:
    """What is known of one model's part without the model. places: of each text [places, 3]: message, character and
    position, see `alignment.places`."""

    model: Model
    described: dict[str, Any]
    layers: tuple[int, ...]
    prompts: list[Prompt]
    places: list[np.ndarray]
    ends: frozenset[int]

    @classmethod
    def of(cls, model: Model, texts: Sequence[PromptLike], layers: Sequence[int]) -> "_Side":
        subject = _opened(model)
        chosen = tuple(subject.check_layer(layer) for layer in layers)
        if not chosen:
            raise UserError("there is no layer to read; give at least one of each model")
        prompts, found = [], []
        for number, text in enumerate(texts):
            prompt = subject.chat.prompt(text, chat=False)
            if subject.context is not None and len(prompt) > subject.context:
                raise UserError(
                    f"text {number} has {len(prompt)} tokens in {subject.name}, more than its context of "
                    f"{subject.context}; shorten it or leave it out"
                )
            contents = None if isinstance(text, str) else [message["content"] for message in as_messages(text)]
            prompts.append(prompt)
            found.append(_packed(places(subject.tokenizer, prompt, contents)))
        tokenizer = subject.tokenizer
        ends = {*subject.end_ids, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        return cls(model, subject.describe(), chosen, prompts, found, frozenset(ends - {None}))

    def last(self, text: int) -> int:
        """The position of a text's last token, whatever the tokenizer puts after raw text left aside."""
        prompt = self.prompts[text]
        kept = [place for place, token in enumerate(prompt.ids) if not prompt.is_raw or token not in self.ends]
        return kept[-1] if kept else len(prompt) - 1

    def read(
        self, cells: Sequence[Sequence[tuple[int, list[int]]]], run: RunFolder, on_progress: Progress
    ) -> tuple[PairedSide, list[str]]:
        """What the model holds at some positions of the texts of each cell, and the names of the files it is in."""
        about = {"model": self.described, "layers": self.layers}
        attributes = {
            "model": self.described["model"],
            "layers": list(self.layers),
            "shape": "1, pairs, layers, hidden",
        }
        shards = Shards(run.path, run.journal, "states", "states", attributes, rows=1)
        keys = [cell_key(**about, texts=[[self.prompts[text].ids, at] for text, at in cell]) for cell in cells]
        limits = cell_key(**about, what="norms of attention sinks")
        missing = [number for number, key in enumerate(keys) if shards.get(key) is None]
        on_progress(f"reading {self.described['model']}", sum(len(cells[number]) for number in missing))
        if missing or limits not in run.journal:
            subject = _opened(self.model)
            if subject.describe() != self.described:
                raise UserError(
                    f"the model is {subject.name} now and was {self.described['model']}; return the same one"
                )
            for number in missing:
                shards.put(keys[number], {}, self._states(subject, cells[number]))
                for _ in cells[number]:
                    on_progress("", None)
            norms = [SINK_RATIO * median_norm(subject, layer) for layer in self.layers]
            run.journal.put(limits, "limits", norms)
        side = PairedSide(self.described, self.layers, tuple(run.journal.get(limits)))
        return side, [run.journal.get(key)["shard"] for key in keys]

    def _states(self, subject: Subject, cell: Sequence[tuple[int, list[int]]]) -> np.ndarray:
        """[pairs, layers, hidden]: the states of one cell."""
        passages = [Passage(self.prompts[text]) for text, _ in cell]
        from_end = {len(passage) - at for passage, (_, found) in zip(passages, cell, strict=True) for at in found}
        if len(from_end) == 1:
            # One token a text: no need to hold the others.
            states = activations_of(subject, passages, self.layers, f"prompt[-{from_end.pop()}]")
        else:
            whole = activations_of(subject, passages, self.layers, "all")
            states = [each[found] for each, (_, found) in zip(whole, cell, strict=True)]
        return np.concatenate([each.numpy() for each in states])


def _packed(found: Mapping[Place, int]) -> np.ndarray:
    """Places as 12 bytes each: a corpus has millions."""
    rows = [(message, end, position) for (message, end), position in found.items()]
    return np.array(rows, dtype=np.int32).reshape(-1, 3)


def _unpacked(rows: np.ndarray) -> dict[Place, int]:
    return {(message, end): position for message, end, position in rows.tolist()}


def _opened(model: Model) -> Subject:
    return model if isinstance(model, Subject) else model()


def _cells(pairs: Sequence[np.ndarray], sides: Sequence[_Side], is_whole: bool) -> list[list[int]]:
    """Numbers of texts, in order, in cells that fit into memory; is_whole: texts are held whole while they are read."""
    cells: list[list[int]] = []
    rows = tokens = 0
    for text, found in enumerate(pairs):
        if not len(found):
            continue
        if not cells or rows >= _ROWS or (is_whole and tokens >= _TOKENS):
            cells.append([])
            rows = tokens = 0
        cells[-1].append(text)
        rows += len(found)
        tokens += max(len(side.prompts[text]) for side in sides)
    return cells
