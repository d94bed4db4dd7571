"""Attention of rows of very different lengths, each over about as many columns as it has."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from personascope.engine.batches import cuts

# What another call costs, in bytes of keys and values that could be read meanwhile: 40 µs at 16 GB/s, as measured.
_CALL_BYTES = 640_000
# The least share of a step's columns that must be nobody's before it is worth to think about.
_WASTE = 0.1


@dataclass(frozen=True)
class Part:
    """Rows beside each other, and the first column that any of them has."""

    rows: slice
    start: int


def parts(lengths: Sequence[int], column_bytes: int) -> list[Part]:
    """How to cut a batch whose rows end together into parts, so that reading keys and values takes least.

    lengths: how many columns each row has; column_bytes: of one row's keys and values in one column of one layer.
    """
    counts, longest = np.array(lengths), max(lengths)
    if counts.sum() >= (1 - _WASTE) * len(counts) * longest:
        return [Part(slice(0, len(counts)), 0)]
    return [Part(rows, longest - int(counts[rows].max())) for rows in cuts(lengths, _CALL_BYTES / column_bytes)]


_lock, _here = threading.Lock(), threading.local()
_inside: list[Any] = []


@contextmanager
def attending(cut: Sequence[Part], columns: int) -> Iterator[None]:
    """While it lasts, PyTorch's attention of a step over so many columns is asked part by part, in this thread. Models with
    another attention run as they do."""
    if len(cut) < 2:
        yield
        return
    before = getattr(_here, "cut", ((), 0))
    with _lock:
        # Threads may be inside together: the first puts ours in place, the last puts back what was there.
        _inside.append(_inside[0] if _inside else ALL_ATTENTION_FUNCTIONS["sdpa"])
        ALL_ATTENTION_FUNCTIONS["sdpa"] = _attend
    _here.cut = cut, columns
    try:
        yield
    finally:
        _here.cut = before
        with _lock:
            real = _inside.pop()
            if not _inside:
                ALL_ATTENTION_FUNCTIONS["sdpa"] = real


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, Any]:
    """What transformers' function for PyTorch's attention gives, in the parts that this thread has set."""
    with _lock:
        real = _inside[0] if _inside else sdpa_attention_forward
    cut: Sequence[Part]
    cut, columns = getattr(_here, "cut", ((), 0))
    rows, _, tokens, _ = query.shape
    is_step = cut and attention_mask is not None and tokens == 1 and len(attention_mask) == rows == cut[-1].rows.stop
    if not is_step or settings.get("position_bias") is not None:
        return real(module, query, key, value, attention_mask, **settings)
    assert attention_mask is not None
    # A model may have left out the oldest columns, which no row of a window sees.
    gone, out = columns - key.shape[2], []
    for part in cut:
        rest = slice(max(0, part.start - gone), None)
        seen = attention_mask[part.rows, ..., rest]
        out.append(
            real(module, query[part.rows], key[part.rows, :, rest], value[part.rows, :, rest], seen, **settings)[0]
        )
    return torch.cat(out), None
