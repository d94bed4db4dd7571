"""Keys and values of a running batch: rows join and leave while it runs, where the model's layers allow it."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from personascope.engine.attention import Part
from personascope.engine.slots import SlotStore
from personascope.subject import Subject

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

    def parts(self) -> Sequence[Part]:
        """Rows of like length, whose attention is asked part by part; none where it is asked as the model does."""

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

    def parts(self) -> Sequence[Part]:
        return ()

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

    def parts(self) -> Sequence[Part]:
        return ()

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
