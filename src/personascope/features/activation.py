"""What an SAE makes of a feature's pre-activation: ReLU, threshold, gate, or the k largest of a token."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relu:
    """max(p, 0)."""

    is_per_feature: ClassVar[bool] = True

    def __call__(self, preactivations: Tensor) -> Tensor:
        """[..., K] of pre-activations: [..., K] of codes."""
        return preactivations.relu()

    def at(self, features: Tensor) -> "Relu":
        """For these features only."""
        return self

    def to(self, device: torch.device) -> "Relu":
        return self


@dataclass(frozen=True, eq=False)
class Threshold:
    """max(p, 0) where p is above a threshold, else 0. threshold: [] for all features, or [F].

    JumpReLU (2407.14435), and BatchTopK as it is used after training (2412.06410).
    """

    threshold: Tensor
    is_per_feature: ClassVar[bool] = True

    def __call__(self, preactivations: Tensor) -> Tensor:
        return preactivations.relu() * (preactivations > self.threshold)

    def at(self, features: Tensor) -> "Threshold":
        return self if self.threshold.ndim == 0 else Threshold(self.threshold.index_select(0, features))

    def to(self, device: torch.device) -> "Threshold":
        return Threshold(self.threshold.to(device))


@dataclass(frozen=True, eq=False)
class Gated:
    """max(s·p + m, 0) where p + g is above 0, else 0. scale s, magnitude_bias m, gate_bias g: [F] each. 2404.16014."""

    scale: Tensor
    magnitude_bias: Tensor
    gate_bias: Tensor
    is_per_feature: ClassVar[bool] = True

    def __call__(self, preactivations: Tensor) -> Tensor:
        return (self.scale * preactivations + self.magnitude_bias).relu() * (preactivations + self.gate_bias > 0)

    def at(self, features: Tensor) -> "Gated":
        return Gated(*(part.index_select(0, features) for part in self._parts()))

    def to(self, device: torch.device) -> "Gated":
        return Gated(*(part.to(device) for part in self._parts()))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.scale, self.magnitude_bias, self.gate_bias


@dataclass(frozen=True)
class TopK:
    """max(p, 0) of the k features with the largest p, else 0. 2406.04093.

    What a feature becomes depends on all others of the token, so there is no exact choice of some: `at` gives ReLU, which
    is never below.
    """

    k: int
    is_per_feature: ClassVar[bool] = False

    def __call__(self, preactivations: Tensor) -> Tensor:
        largest = preactivations.topk(self.k, dim=-1, sorted=False)
        return torch.zeros_like(preactivations).scatter_(-1, largest.indices, largest.values.relu())

    def at(self, features: Tensor) -> Relu:
        return Relu()

    def to(self, device: torch.device) -> "TopK":
        return self


Activation = Relu | Threshold | Gated | TopK


def tensors(activation: Activation) -> dict[str, Tensor]:
    """What the activation holds, by name."""
    return {name: value for name, value in vars(activation).items() if isinstance(value, Tensor)}
