"""How an SAE's input is scaled token by token. Constant factors are folded into the weights when an SAE is loaded."""

import math
from dataclasses import dataclass

from torch import Tensor

# As SAELens adds it to the standard deviation.
_EPSILON = 1e-5
# Keeps a row of zeros at zero.
_TINY = 1e-30


@dataclass(frozen=True)
class ConstantNorm:
    """x·√D / ‖x‖: every token at the length √D."""

    def apply(self, x: Tensor) -> Tensor:
        """[..., D] in residual-stream units: [..., D] as the encoder takes it."""
        return x * (math.sqrt(x.shape[-1]) / _norm(x))

    def undo(self, decoded: Tensor, of: Tensor) -> Tensor:
        """[..., D] as the decoder gives it, in the units of the activations `of` it stands for."""
        return decoded * (_norm(of) / math.sqrt(of.shape[-1]))


@dataclass(frozen=True)
class LayerNorm:
    """(x − μ) / (σ + 1e-5), with the unbiased σ; undone as y·σ + μ."""

    def apply(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + _EPSILON)

    def undo(self, decoded: Tensor, of: Tensor) -> Tensor:
        return decoded * of.std(-1, keepdim=True) + of.mean(-1, keepdim=True)


Scaling = ConstantNorm | LayerNorm


def _norm(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True).clamp_min(_TINY)
