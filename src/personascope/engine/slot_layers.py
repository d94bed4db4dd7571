"""One layer's keys and values, as a model's cache holds them: in slots, in slots of a fixed shape, or as they come."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


@dataclass
class Columns:
    """The columns of the slots in use: [begin, end), for `rows` rows. Rows end together, at `end`. is_exposed: whether slots
    and columns that are not in use are run too, under a mask, and so must hold numbers."""

    begin: int = 0
    end: int = 0
    rows: int = 0
    is_exposed: bool = False


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values [slots, heads, columns, size], written in place."""

    is_sliding = False

    keys: Tensor | None
    values: Tensor | None

    def __init__(self, columns: Columns) -> None:
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
        return self.get_seq_length() + _count(query_length), 0

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
            if pattern is None:
                raise ValueError("the model keeps no keys and values of a layer")
            make = pattern.new_zeros if now.is_exposed else pattern.new_empty
            new = make((slots, pattern.shape[1], columns, pattern.shape[3]))
            if old is not None and now.rows:
                new[: now.rows, :, : now.begin - shift] = 0
                new[: now.rows, :, now.begin - shift : now.end - shift] = old[: now.rows, :, now.begin : now.end]
            grown.append(new)
        self.keys, self.values = grown

    def slide(self, shift: int) -> None:
        """Move the columns in use left by `shift`, where they are."""
        assert self.keys is not None and self.values is not None
        now = self.columns
        begin, end = now.begin - shift, now.end - shift
        for held in (self.keys, self.values):
            held[: now.rows, :, begin:end] = held[: now.rows, :, now.begin : now.end].clone()
            # What a row that moves far to the right leaves between: of the columns in use none was written there.
            held[: now.rows, :, now.end : begin] = 0
            if now.is_exposed:
                # What a row that is gone left there need not be numbers.
                held[:, :, end : now.end] = 0

    def clear(self, slots: slice) -> None:
        """Zeros, since a masked column still meets a weight of zero, and zero times what was there must be zero."""
        assert self.keys is not None and self.values is not None
        for held in (self.keys, self.values):
            held[slots, :, : self.columns.end] = 0

    def place(self, slots: slice, keys: Tensor, values: Tensor) -> None:
        """Rows' keys and values [rows, heads, tokens, size] into slots that are clear, ending where all rows end. A single
        row goes into each of them."""
        assert self.keys is not None and self.values is not None
        for held, new in ((self.keys, keys), (self.values, values)):
            held[slots, :, self.columns.end - keys.shape[2] : self.columns.end] = new

    def move(self, source: int, target: int) -> None:
        assert self.keys is not None and self.values is not None
        now = self.columns
        for held in (self.keys, self.values):
            held[target, :, : now.end] = held[source, :, : now.end]


class FixedLayer(CacheLayerMixin):
    """A layer's slots with a shape that stays from step to step: `rows` slots, `width` columns, the next token at `end`."""

    is_sliding = False

    def __init__(self, slots: SlotLayer, rows: int, width: int, end: Tensor) -> None:
        super().__init__()
        assert slots.keys is not None and slots.values is not None
        self.keys, self.values = slots.keys[:rows, :, :width], slots.values[:rows, :, :width]
        self.width, self.end = width, end
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None
        place = self.end.to(self.keys.device)[None]
        self.keys.index_copy_(2, place, key_states)
        self.values.index_copy_(2, place, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        return self.width, 0

    def get_seq_length(self) -> Any:
        # A tensor, as transformers' own caches of a fixed shape have it.
        return self.end

    def get_max_length(self) -> int:
        return self.width

    def get_max_cache_shape(self) -> int:
        return self.width


class FreshLayer(CacheLayerMixin):
    """A layer of a pass that begins: it holds the keys and values of that pass as they are."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        return _count(query_length), 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        return -1


def _count(query_length: Any) -> int:
    # transformers has passed the query's length, and before that its positions.
    return query_length if isinstance(query_length, int) else query_length.shape[0]


def held(layer: Any) -> tuple[Tensor, Tensor]:
    """A layer's keys and values, once it has some."""
    return layer.keys, layer.values
