"""Attention of rows of very different lengths, each over about as many columns as it has."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from personascope.engine.batches import cuts
from personascope.engine.swap import Swap

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


def attending(cut: Sequence[Part], columns: int) -> AbstractContextManager[None]:
    """While it lasts, PyTorch's attention of a step over so many columns is asked part by part, in this thread. Models with
    another attention run as they do."""
    return nullcontext() if len(cut) < 2 else _SDPA.on(_Cut(cut, columns))


@dataclass(frozen=True)
class _Cut:
    parts: Sequence[Part]
    columns: int


def _attend(
    real: Callable[..., tuple[Tensor, Any]],
    cut: _Cut,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, Any]:
    """What transformers' function for PyTorch's attention gives, in parts."""
    rows, _, tokens, _ = query.shape
    is_step = tokens == 1 and rows == cut.parts[-1].rows.stop
    if (
        not is_step
        or attention_mask is None
        or len(attention_mask) != rows
        or settings.get("position_bias") is not None
    ):
        return real(module, query, key, value, attention_mask, **settings)
    # A model may have left out the oldest columns, which no row of a window sees.
    gone, out = cut.columns - key.shape[2], []
    for part in cut.parts:
        rest = slice(max(0, part.start - gone), None)
        seen = attention_mask[part.rows, ..., rest]
        out.append(
            real(module, query[part.rows], key[part.rows, :, rest], value[part.rows, :, rest], seen, **settings)[0]
        )
    return torch.cat(out), None


_SDPA = Swap[_Cut](ALL_ATTENTION_FUNCTIONS, "sdpa", _attend)
