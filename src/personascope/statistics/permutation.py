"""Tests that need nothing but a symmetry."""

from itertools import product

import numpy as np

_EXACT = 12
_DRAWS = 9_999


def sign_flip_test(values: np.ndarray, seed: int = 0) -> float:
    """Two-sided p that independent values are symmetric about 0, by flipping their signs.

    All flips of up to 12 values, 9,999 drawn ones of more; the smallest p is 2 / 2ⁿ of n values. Source: Fisher's
    randomization test for one sample (1935), with the count of Phipson & Smyth (2010).
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) <= _EXACT:
        flips = np.array(list(product((1.0, -1.0), repeat=len(values))))
    else:
        flips = np.random.default_rng(seed).choice((1.0, -1.0), size=(_DRAWS, len(values)))
        flips = np.concatenate([np.ones((1, len(values))), flips])
    sums = np.abs(flips @ values)
    return float(np.mean(sums >= sums[0] * (1 - 1e-12)))


def least_p(count: int) -> float:
    """The smallest p that `sign_flip_test` can give of so many values."""
    return 2.0 / 2**count if count <= _EXACT else 1.0 / (1 + _DRAWS)


def label_test(one: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """Two-sided p that two samples are exchangeable, by the difference of their means under 9,999 drawn exchanges.

    Source: Fisher's randomization test for two samples (1935), with the count of Phipson & Smyth (2010).
    """
    values = np.concatenate([np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)])
    draw = np.random.default_rng(seed)
    seen = abs(values[: len(one)].mean() - values[len(one) :].mean())
    shuffled = draw.permuted(np.tile(values, (_DRAWS, 1)), axis=1)
    drawn = np.abs(shuffled[:, : len(one)].mean(axis=1) - shuffled[:, len(one) :].mean(axis=1))
    return float((1 + np.sum(drawn >= seen * (1 - 1e-12))) / (1 + _DRAWS))
