"""Rows in slots: keys and values of a running batch, while rows join and leave."""

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from personascope.engine.attention import Part, parts
from personascope.engine.slot_layers import Columns, FixedLayer, SlotLayer, held

# Columns there are: at first, and in blocks of which.
_FIRST_COLUMNS, _BLOCK = 128, 64
# Columns to win, at least, and at least this part of those in use, for which rows are moved to the front.
_LEAST_WON, _PART_WON = 32, 8


def _runs(places: Sequence[int], lengths: Sequence[int], first: int) -> Iterator[tuple[slice, slice, int]]:
    """New rows from slot `first` on, those beside each other together that hold the same or are as long and beside each other
    in what was run: their slots, their places there, and their length."""
    begin = 0
    while begin < len(places):
        for step in (0, 1):
            stop = begin + 1
            while stop < len(places) and (places[stop] - places[stop - 1], lengths[stop]) == (step, lengths[begin]):
                stop += 1
            if stop > begin + 1:
                break
        yield slice(first + begin, first + stop), slice(places[begin], places[stop - 1] + 1), lengths[begin]
        begin = stop


class SlotStore:
    """Every row owns a slot; new rows are put beside the others so that all end at the same column.

    Sliding-window layers keep all columns too: their masks compare columns, and a row's columns are contiguous.
    """

    joins = True
    caches = True

    def __init__(self) -> None:
        self.columns = Columns()
        self.lengths: list[int] = []
        self.layers: list[SlotLayer] = []
        # How often rows that are in have been moved to other columns.
        self.moves = 0
        # Whom to tell before the slots are laid out anew: not kept alive by it.
        self.before_refit: WeakMethod[Any] | None = None
        self._expected = (0, 0)
        self._parts: list[Part] | None = None

    def expect(self, rows: int, columns: int) -> None:
        self._expected = rows, -(-columns // _BLOCK) * _BLOCK

    def for_prefill(self) -> dict[str, Any]:
        return {"past_key_values": DynamicCache(), "use_cache": True}

    def adopt(self, prefilled: Any, places: Sequence[int], lengths: Sequence[int]) -> None:
        rows = self.columns.rows
        if not self.layers:
            self.layers = [SlotLayer(self.columns) for _ in prefilled.layers]
        if not rows:
            self.columns.begin = self.columns.end
        self._make_room(rows + len(lengths), max(lengths), prefilled)
        alike = list(_runs(places, lengths, rows))
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            keys, values = held(source)
            layer.clear(slice(rows, rows + len(lengths)))
            for slots, places_, length in alike:
                layer.place(slots, keys[places_, :, :length], values[places_, :, :length])
        self.lengths += lengths
        self.columns.rows = len(self.lengths)
        self._trim()

    def _make_room(self, rows: int, longest: int, pattern: Cache) -> None:
        """Slots and columns for the new rows: the batch ends no earlier than its longest row."""
        now = self.columns
        slots, width = self.shape
        if rows <= slots and longest <= now.end < width:
            return
        end = max(now.end - now.begin, longest)
        if rows <= slots and end < width:
            self._slide(now.end - end)
        else:
            slots = max(rows, self._expected[0], 2 * slots) if rows > slots else slots
            self._refit(slots, self._grown(end + 1) if end >= width else width, now.end - end, pattern)

    def _grown(self, used: int) -> int:
        """More columns than there are, for those in use and some to come: what is expected, if that is not far more."""
        expected = self._expected[1]
        if max(self.shape[1], used) < expected <= max(4 * used, 2 * _FIRST_COLUMNS):
            return expected
        width = max(self.shape[1], _FIRST_COLUMNS)
        while width < used or width == self.shape[1]:
            width *= 2
        return width

    @property
    def shape(self) -> tuple[int, int]:
        """Slots and columns that there is room for."""
        keys = self.layers[0].keys if self.layers else None
        return (keys.shape[0], keys.shape[2]) if keys is not None else (0, 0)

    def _refit(self, slots: int, columns: int, shift: int, pattern: Cache | None) -> None:
        tell = self.before_refit() if self.before_refit is not None else None
        if tell is not None:
            tell()
        for index, layer in enumerate(self.layers):
            layer.fit(slots, columns, None if pattern is None else held(pattern.layers[index]), shift)
        self._moved(shift)

    def settle(self) -> None:
        """Move the rows to the front of their slots."""
        self._slide(self.columns.begin)

    def _slide(self, shift: int) -> None:
        for layer in self.layers:
            layer.slide(shift)
        self._moved(shift)

    def _moved(self, shift: int) -> None:
        self.columns.begin -= shift
        self.columns.end -= shift
        self.moves += 1

    @property
    def used(self) -> int:
        """Columns of the longest row."""
        return self.columns.end - self.columns.begin

    def make_way(self, count: int, most: int | None = None) -> None:
        """Make sure of columns for `count` more tokens of every row, among the first `most` where that can be had by moving
        the rows to the front: what older rows left free there is used again before the batch grows."""
        now, width = self.columns, self.shape[1]
        if now.end + count <= min(most or width, width):
            return
        if now.begin >= max(_LEAST_WON, self.used // _PART_WON, count):
            self.settle()
        elif now.end + count > width:
            self._refit(self.shape[0], self._grown(self.used + count), now.begin, None)

    def fixed(self, rows: int, columns: int, end: Tensor) -> list[FixedLayer]:
        """The layers of a step whose shapes stay: the first slots and columns, in use or not; `end`: a number, the column
        that the step's tokens go to."""
        return [FixedLayer(layer, rows, columns, end) for layer in self.layers]

    def for_step(self, count: int = 1) -> tuple[Cache, Tensor | None]:
        """As `Store` says it, for `count` more tokens of every row."""
        self.make_way(count)
        now = self.columns
        starts = [now.end - length - now.begin for length in self.lengths]
        mask = None
        if any(starts):
            columns_ = torch.arange(now.end - now.begin + count)
            mask = (columns_[None] >= torch.tensor(starts)[:, None]).long()
        return Cache(layers=list(self.layers)), mask

    def parts(self) -> list[Part]:
        """How attention over the columns of `for_step` is cut: the same until rows join or leave."""
        if self._parts is None:
            keys, values = held(self.layers[0])
            column = keys.shape[1] * (keys.shape[3] + values.shape[3]) * keys.element_size()
            self._parts = parts(self.lengths, column)
        return self._parts

    def stepped(self) -> None:
        self.columns.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def select(self, keep: Sequence[int]) -> None:
        for target, source in enumerate(keep):
            if source != target:
                for layer in self.layers:
                    layer.move(source, target)
        self.lengths = [self.lengths[source] for source in keep]
        self.columns.rows = len(keep)
        self._trim()

    def _trim(self) -> None:
        """Forget the columns that are padding for every row."""
        self._parts = None
        if self.lengths:
            self.columns.begin = self.columns.end - max(self.lengths)
