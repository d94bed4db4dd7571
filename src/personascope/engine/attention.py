"""Attention of rows of very different lengths, each over about as many columns as it has."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

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
    rows = len(counts)
    if counts.sum() >= (1 - _WASTE) * rows * longest:
        return [Part(slice(0, rows), 0)]
    call = _CALL_BYTES / column_bytes
    # best[j]: the least cost of the first j rows; a part of rows i … j − 1 costs its rows times its longest.
    best, cut, most = np.zeros(rows + 1), np.zeros(rows + 1, dtype=int), np.zeros(rows)
    for stop in range(1, rows + 1):
        np.maximum(most[:stop], counts[stop - 1], out=most[:stop])
        costs = best[:stop] + call + np.arange(stop, 0, -1) * most[:stop]
        cut[stop] = costs.argmin()
        best[stop] = costs[cut[stop]]
    found, stop = [], rows
    while stop:
        start = int(cut[stop])
        found.append(Part(slice(start, stop), longest - int(counts[start:stop].max())))
        stop = start
    return found[::-1]


@contextmanager
def attending(cut: Sequence[Part]) -> Iterator[None]:
    """While it lasts, PyTorch's attention of a step is asked part by part, in this thread. Models with another attention
    run as they do."""
    if len(cut) < 2:
        yield
        return
    real, ours = ALL_ATTENTION_FUNCTIONS["sdpa"], threading.get_ident()

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
    ) -> tuple[Tensor, Any]:
        rows, _, tokens, _ = query.shape
        is_step = attention_mask is not None and tokens == 1 and len(attention_mask) == rows == cut[-1].rows.stop
        if not is_step or settings.get("position_bias") is not None or threading.get_ident() != ours:
            return real(module, query, key, value, attention_mask, **settings)
        assert attention_mask is not None
        out = [
            real(
                module,
                query[part.rows],
                key[part.rows, :, part.start :],
                value[part.rows, :, part.start :],
                attention_mask[part.rows, ..., part.start :],
                **settings,
            )[0]
            for part in cut
        ]
        return torch.cat(out), None

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = real
