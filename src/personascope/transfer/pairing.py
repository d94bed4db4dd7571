"""Reading the pairs: places that both models reach, cells of texts, one model after the other; what is done is kept."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personascope.engine.forward import Passage, activations_of
from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.errors import UserError
from personascope.runs import RunFolder, Shards, cell_key
from personascope.subject import Prompt, PromptLike, Subject
from personascope.transfer.alignment import aligned
from personascope.transfer.pairs import PairedActivations, PairedPart, PairedSide
from personascope.transfer.reader import Reader

# A model, or how to get it when its turn comes; it is let go of after.
Model = Subject | Callable[[], Subject]
Positions = Literal["aligned", "last"]
Progress = Callable[[str, int | None], None]
# One model's part, and the names of the files it is in.
Read = tuple[PairedSide, list[str]]

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
    memory. texts: strings are raw text, lists of messages are chats, each in its model's own markup; one that is said
    again counts as the first that says it. positions: `aligned`: wherever both tokenizers end on the same character,
    BOS, special tokens, unknown words and markup left out; `last`: the last token of every text, of a chat that of its
    generation header. name: of the list of files. on_progress: (what, how many) as a stage begins, ("", None) for each
    of its texts.
    Raises `UserError` on texts that are empty or too long for a model, and where no place pairs up; `NonFinite` naming
    layer and text.
    """
    sides = [(source, tuple(source_layers)), (target, tuple(target_layers))]
    pairing = Pairing.of(_reader(*sides[0]), _reader(*sides[1]), texts, positions)
    ours, theirs = (pairing.read(place, *side, run, on_progress) for place, side in enumerate(sides))
    return pairing.joined(ours, theirs, run, name)


@dataclass(frozen=True, eq=False)
class Pairing:
    """Where two models meet in some texts, before either reads them. prompts: of each model. pairs: of each text [pairs, 2],
    positions in source and target. numbers: of each text the first that says the same. cells: the texts that are read
    together."""

    readers: tuple[Reader, Reader]
    prompts: tuple[list[Prompt], list[Prompt]]
    pairs: list[np.ndarray]
    numbers: list[int]
    cells: list[list[int]]
    positions: Positions

    @classmethod
    def of(cls, source: Reader, target: Reader, texts: Sequence[PromptLike], positions: Positions) -> "Pairing":
        """Raises `UserError` on texts that are empty or too long for a model, and where no place pairs up."""
        if positions not in ("aligned", "last"):
            raise UserError(f"positions={positions!r} is not known; use 'aligned' or 'last'")
        if isinstance(texts, str) or not len(texts):
            raise UserError("texts must be a list of at least one text, a string or a chat each")
        prompts: tuple[list[Prompt], list[Prompt]] = [], []
        pairs = []
        for number, text in enumerate(texts):
            ours, theirs = source.prompt(number, text), target.prompt(number, text)
            met = (
                [(source.last(ours), target.last(theirs))]
                if positions == "last"
                else aligned(source.places(ours, text), target.places(theirs, text))
            )
            prompts[0].append(ours)
            prompts[1].append(theirs)
            # Eight bytes each: a corpus has millions.
            pairs.append(np.array(met, dtype=np.int32).reshape(-1, 2))
        if not any(map(len, pairs)):
            raise UserError("in none of the texts do both tokenizers end on the same character; use positions='last'")
        first: dict[tuple[tuple[int, ...], ...], int] = {}
        said = zip(*prompts, strict=True)
        numbers = [first.setdefault((ours.ids, theirs.ids), number) for number, (ours, theirs) in enumerate(said)]
        return cls((source, target), prompts, pairs, numbers, _cells(pairs, prompts, positions == "aligned"), positions)

    def count(self, texts: int) -> int:
        """How many of the first texts pair up, those that say the same counted once."""
        return len({number for number, found in zip(self.numbers[:texts], self.pairs, strict=False) if len(found)})

    def digest(self, texts: int) -> str:
        """What the pairs of the first texts are, in a hash: the same wherever the same is read."""
        found = hashlib.blake2b(digest_size=16)
        for ours, theirs, pairs in zip(self.prompts[0][:texts], self.prompts[1], self.pairs, strict=False):
            for numbers in (ours.ids, theirs.ids, pairs):
                array = np.asarray(numbers, dtype="<i4")
                found.update(array.size.to_bytes(8, "little") + array.tobytes())
        return found.hexdigest()

    def read(
        self, place: int, model: Model, layers: Sequence[int], run: RunFolder, on_progress: Progress = lambda *_: None
    ) -> Read:
        """What one model, of place 0 or 1, holds where the two meet; it is opened only if something is missing."""
        described = self.readers[place].described
        about = {"model": described, "layers": tuple(layers)}
        attributes = {"model": described["model"], "layers": list(layers), "shape": "1, pairs, layers, hidden"}
        shards = Shards(run.path, run.journal, "states", "states", attributes, rows=1)
        prompts = self.prompts[place]
        cells = [[(text, self.pairs[text][:, place].tolist()) for text in cell] for cell in self.cells]
        keys = [cell_key(**about, texts=[[prompts[text].ids, at] for text, at in cell]) for cell in cells]
        limits = cell_key(**about, what="norms of attention sinks")
        missing = [number for number, key in enumerate(keys) if key not in shards]
        on_progress(f"reading {described['model']}", sum(len(cells[number]) for number in missing))
        if missing or limits not in run.journal:
            subject = _opened(model)
            if subject.describe() != described:
                raise UserError(f"the model is {subject.name} now and was {described['model']}; return the same one")
            for number in missing:
                passages = [Passage(prompts[text]) for text, _ in cells[number]]
                shards.put(keys[number], {}, _states(subject, passages, [at for _, at in cells[number]], layers))
                for _ in passages:
                    on_progress("", None)
            run.journal.put(limits, "limits", [SINK_RATIO * median_norm(subject, layer) for layer in layers])
        side = PairedSide(described, tuple(layers), tuple(run.journal.get(limits)))
        return side, [run.journal.get(key)["shard"] for key in keys]

    def joined(self, source: Read, target: Read, run: RunFolder, name: str = "pairs.json") -> PairedActivations:
        """What was read of both, with its list of files."""
        made = PairedActivations(
            folder=run.path,
            source=source[0],
            target=target[0],
            positions=self.positions,
            texts=len(self.pairs),
            unpaired=tuple(text for text, found in enumerate(self.pairs) if not len(found)),
            parts=tuple(
                PairedPart(
                    ours,
                    theirs,
                    tuple(self.numbers[text] for text in cell),
                    tuple(len(self.pairs[text]) for text in cell),
                )
                for ours, theirs, cell in zip(source[1], target[1], self.cells, strict=True)
            ),
        )
        made.save(name)
        return made


def _states(
    subject: Subject, passages: Sequence[Passage], places: Sequence[list[int]], layers: Sequence[int]
) -> np.ndarray:
    """[pairs, layers, hidden]: the states at some places of some texts."""
    from_end = {len(passage) - at for passage, found in zip(passages, places, strict=True) for at in found}
    if len(from_end) == 1:
        # One token a text: no need to hold the others.
        states = activations_of(subject, passages, layers, f"prompt[-{from_end.pop()}]")
    else:
        whole = activations_of(subject, passages, layers, "all")
        states = [each[found] for each, found in zip(whole, places, strict=True)]
    return np.concatenate([each.numpy() for each in states])


def _opened(model: Model) -> Subject:
    return model if isinstance(model, Subject) else model()


def _reader(model: Model, layers: Sequence[int]) -> Reader:
    """What reads text as a model does. Raises `UserError` where the model lacks a layer."""
    subject = _opened(model)
    for layer in layers:
        subject.check_layer(layer)
    if not layers:
        raise UserError("there is no layer to read; give at least one of each model")
    return Reader.of(subject)


def _cells(pairs: Sequence[np.ndarray], prompts: Sequence[Sequence[Prompt]], is_whole: bool) -> list[list[int]]:
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
        tokens += max(len(side[text]) for side in prompts)
    return cells
