"""Counter-based Gumbel noise: a function of (row seed, response index, token id) and of nothing else."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
# Numbers that stay in a core's cache through the twenty-odd passes over them.
_NEAR = 2**17


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from anything with a stable text form."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al., 2014) of uint64 numbers."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _scramble(bits: Tensor, spare: Tensor) -> None:
    """A 32-bit integer hash, in place (Wellons' two-round multiply-xorshift). bits, spare: int32, of one shape."""
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97), (15, 1)):
        torch.bitwise_right_shift(bits, shift, out=spare)
        spare &= (1 << (32 - shift)) - 1
        bits ^= spare
        if factor != 1:
            bits *= _signed32(factor)


def gumbel(seeds: Sequence[int], indices: Sequence[int], vocabulary: int, device: torch.device) -> Tensor:
    """[rows, vocabulary] float32: standard Gumbel noise for choosing response token `indices[r]` of row r."""
    mixed = np.array([seed & _MASK64 for seed in seeds], dtype=np.uint64)
    keys = _mix64(_mix64(mixed) ^ np.array(indices, dtype=np.uint64))
    # The lower half first, whatever the machine's own order is.
    halves = keys.astype("<u8").view("<i4").astype(np.int32).reshape(-1, 2)
    key = torch.from_numpy(halves).to(device)
    tokens = torch.arange(vocabulary, dtype=torch.int32, device=device)[None]
    rows = max(1, _NEAR // vocabulary) if device.type == "cpu" else len(keys)
    noise = torch.empty(len(keys), vocabulary, device=device)
    bits, spare = (torch.empty(min(rows, len(keys)), vocabulary, dtype=torch.int32, device=device) for _ in range(2))
    for part, out in zip(key.split(rows), noise.split(rows), strict=True):
        _fill(out, tokens, part, bits[: len(part)], spare[: len(part)])
    return noise


def _fill(noise: Tensor, tokens: Tensor, key: Tensor, bits: Tensor, spare: Tensor) -> None:
    """Some rows of noise [rows, vocabulary], from the two halves of each row's key."""
    torch.bitwise_xor(tokens, key[:, :1], out=bits)
    _scramble(bits, spare)
    bits ^= key[:, 1:]
    _scramble(bits, spare)
    bits &= 0x7FFFFFFF
    # Of the uniform's 31 bits the small values keep their resolution, and those make the large noise.
    noise.copy_(bits)
    # −(bits + ½) / 2³¹, in one pass: a power of two changes no digit.
    torch.add(noise.new_full((), -(2.0**-32)), noise, alpha=-(2.0**-31), out=noise)
    noise.clamp_(min=2.0**-24 - 1)
    noise.log1p_().neg_().log_().neg_()
