"""Keys and values of a running batch: rows join and leave while it runs, where the model's layers allow it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from personascope.subject import Subject

_FIRST_COLUMNS = 128
_MOST_ROWS = 512


class Store(Protocol):
    """The cache of a batch whose rows are numbered 0 … n − 1."""

    joins: bool
    """Whether rows can be added while others run, and whether their prompts may differ in length."""
    caches: bool
    """Whether a step runs one token a row; otherwise it runs the rows from their beginnings."""

    def expect(self, rows: int, columns: int) -> None:
        """How many rows will soon run together, and how long they may get: room for them is then made at once."""

    def for_prefill(self) -> dict[str, Any]:
        """What a pass over new rows' prompts is given."""

    def adopt(self, prefilled: Any, places: Sequence[int], lengths: Sequence[int]) -> None:
        """Take new rows in behind the old ones: row r's are the first lengths[r] columns of row places[r] of the cache
        that a pass returned."""

    def for_step(self) -> tuple[Any, Tensor | None]:
        """The cache for one more token of every row, and the attention mask [rows, columns], None if all is seen."""

    def stepped(self) -> None:
        """One more token of every row is in."""

    def select(self, keep: Sequence[int]) -> None:
        """Row i becomes what row keep[i] was; the others leave. Rows that move come from behind those that stay."""


def most_rows(subject: Subject, tokens: int) -> int:
    """How many rows of `tokens` tokens the memory that is free now holds keys and values for, at most 512."""
    config = subject.text_config
    query_heads = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or query_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // query_heads
    row = 2 * subject.n_layers * heads * size * subject.dtype.itemsize * max(tokens, 1)
    device = subject.input_device
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Half of it: growing copies, and the pass itself needs some.
    return max(1, min(_MOST_ROWS, int(0.5 * free / row)))


@dataclass
class _Columns:
    """The columns of the slots in use: [begin, end), for `rows` rows. Rows end together, at `end`."""

    begin: int = 0
    end: int = 0
    rows: int = 0


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values [slots, heads, columns, size], written in place."""

    is_sliding = False

    keys: Tensor | None
    values: Tensor | None

    def __init__(self, columns: _Columns) -> None:
        super().__init__()
        self.columns = columns
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None
        now = self.columns
        stop = now.end + key_states.shape[2]
        self.keys[: now.rows, :, now.end : stop] = key_states
        self.values[: now.rows, :, now.end : stop] = value_states
        return self.keys[: now.rows, :, now.begin : stop], self.values[: now.rows, :, now.begin : stop]

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        # transformers has passed the query's length, and before that its positions.
        count = query_length if isinstance(query_length, int) else query_length.shape[0]
        return self.get_seq_length() + count, 0

    def get_seq_length(self) -> int:
        return self.columns.end - self.columns.begin

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        return -1

    def fit(self, slots: int, columns: int, like: tuple[Tensor, Tensor] | None, shift: int) -> None:
        """Room for `slots` rows and `columns` columns, with the columns in use moved left by `shift`."""
        now = self.columns
        grown = []
        for old, pattern in zip((self.keys, self.values), like or (self.keys, self.values), strict=True):
            assert pattern is not None
            new = pattern.new_empty((slots, pattern.shape[1], columns, pattern.shape[3]))
            if old is not None and now.rows:
                # Zeros, since a masked column still meets a weight of zero, and zero times what was there must be zero.
                new[: now.rows, :, : now.begin - shift] = 0
                new[: now.rows, :, now.begin - shift : now.end - shift] = old[: now.rows, :, now.begin : now.end]
            grown.append(new)
        self.keys, self.values = grown

    def place(self, slots: slice, keys: Tensor, values: Tensor) -> None:
        """A row's keys and values [heads, tokens, size] into each of some slots, ending where all rows end."""
        assert self.keys is not None and self.values is not None
        start = self.columns.end - keys.shape[1]
        for held, new in ((self.keys, keys), (self.values, values)):
            held[slots, :, :start] = 0
            held[slots, :, start : self.columns.end] = new

    def move(self, source: int, target: int) -> None:
        assert self.keys is not None and self.values is not None
        now = self.columns
        for held in (self.keys, self.values):
            held[target, :, : now.end] = held[source, :, : now.end]


def _held(layer: Any) -> tuple[Tensor, Tensor]:
    """A layer's keys and values, once it has some."""
    return layer.keys, layer.values


def _runs(places: Sequence[int], lengths: Sequence[int], first: int) -> Iterator[tuple[slice, int, int]]:
    """New rows from slot `first` on, those beside each other together that hold the same: their slots, place and length."""
    for (place, length), run in groupby(zip(places, lengths, strict=True)):
        stop = first + sum(1 for _ in run)
        yield slice(first, stop), place, length
        first = stop


class SlotStore:
    """Every row owns a slot; new rows are put beside the others so that all end at the same column.

    Sliding-window layers keep all columns too: their masks compare columns, and a row's columns are contiguous.
    """

    joins = True
    caches = True

    def __init__(self) -> None:
        self.columns = _Columns()
        self.lengths: list[int] = []
        self.layers: list[_SlotLayer] = []
        self._expected = (0, 0)

    def expect(self, rows: int, columns: int) -> None:
        self._expected = rows, columns

    def for_prefill(self) -> dict[str, Any]:
        return {"past_key_values": DynamicCache(), "use_cache": True}

    def adopt(self, prefilled: Any, places: Sequence[int], lengths: Sequence[int]) -> None:
        rows = self.columns.rows
        if not self.layers:
            self.layers = [_SlotLayer(self.columns) for _ in prefilled.layers]
        if not rows:
            self.columns.begin = self.columns.end = 0
        self._make_room(rows + len(lengths), max(lengths), prefilled)
        alike = list(_runs(places, lengths, rows))
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            keys, values = _held(source)
            for slots, place, length in alike:
                layer.place(slots, keys[place, :, :length], values[place, :, :length])
        self.lengths += lengths
        self.columns.rows = len(self.lengths)
        self._trim()

    def _make_room(self, rows: int, longest: int, pattern: Cache) -> None:
        """Slots and columns for the new rows: the batch ends no earlier than its longest row."""
        now = self.columns
        slots = len(self.layers[0].keys) if self.layers[0].keys is not None else 0
        short = max(0, longest - now.end)
        room = self._width() - (now.end + short)
        if rows > slots or room < 1 or short:
            end = max(now.end - now.begin, longest)
            width = self._grown(end + 1) if end >= self._width() else self._width()
            self._refit(
                max(rows, self._expected[0], 2 * slots) if rows > slots else slots, width, now.end - end, pattern
            )

    def _grown(self, used: int) -> int:
        """More columns than there are, for those in use and some to come: what is expected, if that is not far more."""
        expected = self._expected[1]
        if max(self._width(), used) < expected <= max(4 * used, 2 * _FIRST_COLUMNS):
            return expected
        width = max(self._width(), _FIRST_COLUMNS)
        while width < used or width == self._width():
            width *= 2
        return width

    def _width(self) -> int:
        keys = self.layers[0].keys if self.layers else None
        return keys.shape[2] if keys is not None else 0

    def _refit(self, slots: int, columns: int, shift: int, pattern: Cache | None) -> None:
        for index, layer in enumerate(self.layers):
            layer.fit(slots, columns, None if pattern is None else _held(pattern.layers[index]), shift)
        self.columns.begin -= shift
        self.columns.end -= shift

    def for_step(self, count: int = 1) -> tuple[Cache, Tensor | None]:
        """As `Store` says it, for `count` more tokens of every row."""
        now = self.columns
        if now.end + count > self._width():
            used = now.end - now.begin
            # What older rows left free at the front is used again before the batch grows.
            columns = self._width() if 2 * (used + count) <= self._width() else self._grown(used + count)
            self._refit(len(_held(self.layers[0])[0]), columns, now.begin, None)
        starts = [now.end - length - now.begin for length in self.lengths]
        mask = None
        if any(starts):
            columns_ = torch.arange(now.end - now.begin + count)
            mask = (columns_[None] >= torch.tensor(starts)[:, None]).long()
        return Cache(layers=list(self.layers)), mask

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
        if self.lengths:
            self.columns.begin = self.columns.end - max(self.lengths)


class NativeStore:
    """The model's own cache, for layers with a state of their own: rows of equal length start together and only leave."""

    joins = False
    caches = True

    def __init__(self) -> None:
        self.cache: Any = None

    def expect(self, rows: int, columns: int) -> None:
        pass

    def for_prefill(self) -> dict[str, Any]:
        return {"use_cache": True}

    def adopt(self, prefilled: Any, places: Sequence[int], lengths: Sequence[int]) -> None:
        if prefilled is None:
            raise ValueError("the model returns no cache")
        self.cache = prefilled
        if len(set(places)) < len(places):
            self.cache.reorder_cache(torch.tensor(places))

    def for_step(self) -> tuple[Any, Tensor | None]:
        return self.cache, None

    def stepped(self) -> None:
        pass

    def select(self, keep: Sequence[int]) -> None:
        if keep:
            self.cache.reorder_cache(torch.tensor(list(keep)))


class NoStore:
    """No cache at all, for models whose cache is of no known kind: every step runs the rows from their beginnings."""

    joins = True
    caches = False

    def expect(self, rows: int, columns: int) -> None:
        pass

    def for_prefill(self) -> dict[str, Any]:
        return {"use_cache": False}

    def adopt(self, prefilled: Any, places: Sequence[int], lengths: Sequence[int]) -> None:
        pass

    def for_step(self) -> tuple[Any, Tensor | None]:
        return None, None

    def stepped(self) -> None:
        pass

    def select(self, keep: Sequence[int]) -> None:
        pass


# By the subject's `cache`, the first that `load` found to give the numbers of a pass without a cache.
STORES: dict[str, type[SlotStore] | type[NativeStore] | type[NoStore]] = {
    "slots": SlotStore,
    "own": NativeStore,
    "none": NoStore,
}
