"""What a pass over a corpus gathers: the best contexts, examples and counts of some features."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from personascope.corpora import record_of
from personascope.features.bands import Bands
from personascope.features.contexts import BestContexts, Context, context_at, document_hash, rounded, token_hashes
from personascope.features.sample import RandomWindow, WindowSample
from personascope.features.tally import Tally
from personascope.features.windows import Window
from personascope.runs.journal import Journal, cell_key

# How many of a block's tokens are looked at first, per context wanted, before all of them are.
_SHORT_LIST = 64
# Windows drawn without regard to any feature.
_SAMPLED = 50
# Contexts entered in the journal at once, of one to two thousand bytes each.
_MOST_FRESH = 50_000


@dataclass(frozen=True)
class Block:
    """Whole documents that are taken in together: their windows, how many documents there are, and how many of them have
    no window."""

    windows: Sequence[Window]
    documents: int
    empty: int = 0

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each window's tokens begin among the block's."""
        return np.cumsum([0, *map(len, self.windows)])

    @cached_property
    def hashes(self) -> np.ndarray:
        """[tokens]: of document and position."""
        each = [token_hashes(document_hash(one.document), one.offset + np.arange(len(one))) for one in self.windows]
        return np.concatenate([np.zeros(0, np.uint64), *each])

    def locate(self, token: int) -> tuple[Window, slice]:
        """The window that holds a token, and the window's tokens among the block's."""
        index = int(np.searchsorted(self.starts, token, side="right")) - 1
        return self.windows[index], slice(int(self.starts[index]), int(self.starts[index + 1]))


class Harvest:
    """What mining keeps: the lists, the counts, and what of them is not in the journal yet."""

    def __init__(self, features: list[int], top: int, context: int, per_document: int, examples: int) -> None:
        self.features = features
        self.context = context
        self.per_document = per_document
        self.best = BestContexts(features, top, per_document)
        self.bands = Bands(features, examples)
        self.sample = WindowSample(_SAMPLED)
        self.tally = Tally.empty(len(features))
        self.documents = self.empty = self._entered = 0
        self._fresh: list[Context] = []
        self._fresh_examples: list[Context] = []
        self._fresh_sample: list[RandomWindow] = []

    def take(self, block: Block, values: np.ndarray) -> None:
        """A block's activations, [tokens, features]."""
        self.documents += block.documents
        self.empty += block.empty
        self.tally.add(Tally.of(values))
        for column in range(len(self.features)):
            self._fresh += self.best.offer(self._peaks(block, values[:, column], column))
        places = self.bands.candidates(values, block.hashes)
        self._fresh_examples += self.bands.offer(
            [self._context(block, values[:, column], token, column) for token, column in places]
        )
        self._fresh_sample += self.sample.offer(self._random(block, values))

    def _random(self, block: Block, values: np.ndarray) -> list[RandomWindow]:
        """The block's tokens with the smallest hashes, one a document, and what surrounds them."""
        few = np.argsort(block.hashes, kind="stable")
        found: dict[str, RandomWindow] = {}
        for token in few.tolist():
            order = int(block.hashes[token])
            if order >= self.sample.limit or len(found) >= _SAMPLED:
                break
            window, span = block.locate(token)
            if window.document not in found:
                place = token - span.start
                one = context_at(0, window, values[span, 0], place, order, self.context)
                first = span.start + place - one.peak
                strongest = values[first : first + len(one.ids)].max(axis=0)
                found[window.document] = RandomWindow(one.document, one.position, one.ids, strongest, order)
        return list(found.values())

    def _peaks(self, block: Block, values: np.ndarray, column: int) -> list[Context]:
        """The block's own best contexts of one feature, best first; no more than could enter."""
        scores = rounded(values)
        places = np.flatnonzero((scores > 0) & (scores >= self.best.floor(self.features[column])))
        short = _SHORT_LIST * self.best.top
        if len(places) > short:
            # Ties at the edge of the short list stay in it.
            edge = np.partition(scores[places], len(places) - short)[len(places) - short]
            found = self._walk(block, values, scores, places[scores[places] >= edge], column)
            if len(found) >= self.best.top:
                return found
        return self._walk(block, values, scores, places, column)

    def _walk(
        self, block: Block, values: np.ndarray, scores: np.ndarray, places: np.ndarray, column: int
    ) -> list[Context]:
        """Best first, passing over what overlaps a better one of the same document, and what is a copy of one."""
        found: dict[tuple[int, ...], Context] = {}
        peaks: dict[str, list[tuple[str, int]]] = {}
        for token in places[np.lexsort((block.hashes[places], -scores[places]))].tolist():
            window, span = block.locate(token)
            position, held = window.offset + token - span.start, peaks.setdefault(record_of(window.document), [])
            if len(held) >= self.per_document or any(
                part == window.document and abs(position - other) < self.context for part, other in held
            ):
                continue
            held.append((window.document, position))
            one = self._context(block, values, token, column)
            found.setdefault(one.copy, one)
            if len(found) >= self.best.top:
                break
        return list(found.values())

    def _context(self, block: Block, values: np.ndarray, token: int, column: int) -> Context:
        window, span = block.locate(token)
        place, order = token - span.start, int(block.hashes[token])
        return context_at(self.features[column], window, values[span], place, order, self.context)

    @property
    def is_full(self) -> bool:
        """Whether so much is not in the journal yet that it makes a large row of it."""
        return len(self._fresh) + len(self._fresh_examples) > _MOST_FRESH

    def enter(self, journal: Journal | None) -> None:
        """What is new since the last time, with the counts so far, as one cell of the journal, if there is one."""
        if self.documents == self._entered:
            return
        if journal is not None:
            plain = {
                "documents": self.documents,
                "empty": self.empty,
                "tally": self.tally.plain(),
                # All of them, in order: one that left again may have made another leave.
                "contexts": [one.plain() for one in self._fresh],
                "examples": [one.plain() for one in self._fresh_examples],
                "sample": [one.plain() for one in self._fresh_sample],
            }
            journal.put(cell_key(stretch=self.documents), "stretch", plain)
        self._entered = self.documents
        self._fresh, self._fresh_examples, self._fresh_sample = [], [], []

    def resume(self, journal: Journal) -> int:
        """Take in what the journal holds; returns how many documents that are."""
        for _, plain in journal.cells("stretch"):
            self.documents, self.empty, tally = plain["documents"], plain["empty"], plain["tally"]
            self.tally = Tally.from_plain(tally)
            self.best.offer(map(Context.of, plain["contexts"]))
            self.bands.offer(list(map(Context.of, plain["examples"])))
            self.sample.offer(list(map(RandomWindow.of, plain["sample"])))
        self._entered = self.documents
        return self.documents
