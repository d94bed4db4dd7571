"""Rows of unlike length cut into groups that are padded to their longest, so that all of them together cost least."""

import math
from collections.abc import Sequence

import numpy as np

# What another pass costs, as a share of a full one: on two cores between a twentieth and an eighth, as measured.
_PASS = 1 / 10


def cuts(lengths: Sequence[int], each: float, size: float = math.inf, rows: int | None = None) -> list[slice]:
    """Groups of rows beside each other. A group costs `each` and its rows times its longest; all of them together cost the
    least that is possible. None has more than `rows` rows, or, unless it is one row, more than `size` in rows times longest.
    """
    counts = np.array(lengths)
    n = len(counts)
    # best[j]: the least cost of the first j rows; a group of rows i … j − 1 costs its rows times longest[i].
    best, cut, longest = np.zeros(n + 1), np.zeros(n + 1, dtype=int), np.zeros(n)
    first = 0
    for stop in range(1, n + 1):
        if rows is not None:
            first = max(first, stop - max(1, rows))
        np.maximum(longest[first:stop], counts[stop - 1], out=longest[first:stop])
        padded = np.arange(stop - first, 0, -1) * longest[first:stop]
        # Groups that begin later are smaller, and none that is too large gets smaller with another row.
        over = min(int((padded > size).sum()), stop - first - 1)
        first += over
        cut[stop] = first + (best[first:stop] + padded[over:]).argmin()
        best[stop] = best[cut[stop]] + padded[cut[stop] - first + over] + each
    found, stop = [], n
    while stop:
        found.append(slice(int(cut[stop]), stop))
        stop = int(cut[stop])
    return found[::-1]


def batches(lengths: Sequence[int], tokens: int, rows: int | None = None) -> list[list[int]]:
    """Indices of texts that run together, the longest first: in passes of at most `tokens`, padding included, and `rows`
    texts. Another pass is had only where it saves more padding than it costs."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[part] for part in cuts([lengths[index] for index in order], tokens * _PASS, tokens, rows)]


def padded(rows: Sequence[Sequence[int]], width: int) -> list[list[int]]:
    """Token ids right-padded to `width`: what comes after a row's end is nothing to it. It is a token that every model has,
    which a tokenizer's own for padding need not be."""
    return [[*row, *[0] * (width - len(row))] for row in rows]
