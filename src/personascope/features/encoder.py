"""The encoder of chosen features on one device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from personascope.errors import UserError
from personascope.features.activation import Activation
from personascope.features.scaling import Scaling

# How many pre-activations are held at once where codes come in chunks: 64 MiB of float32.
_CHUNK = 2**24


@dataclass(frozen=True, eq=False)
class FeatureEncoder:
    """Some features' rows of an SAE on one device, called with activations.

    weight: [K, D], bias: [K], centre: [D] or None, float32. features: the K indices. is_exact: whether the codes are the
    SAE's own, or what they cannot exceed (TopK, where a feature's code depends on all others).
    """

    weight: Tensor
    bias: Tensor
    centre: Tensor | None
    activation: Activation
    scaling: Scaling | None
    features: tuple[int, ...]
    is_exact: bool

    def __call__(self, activations: Tensor) -> Tensor:
        """[..., D] in any dtype, residual-stream units: float32 codes [..., K] on the encoder's device.

        Raises `UserError` on activations of another width.
        """
        width = self.weight.shape[1]
        if not activations.ndim or activations.shape[-1] != width:
            raise UserError(
                f"this SAE reads activations of width {width}, and was given {list(activations.shape)}; they come from "
                "another model"
            )
        x = activations.to(self.weight.device, torch.float32)
        if self.scaling is not None:
            x = self.scaling.apply(x)
        if self.centre is not None:
            x = x - self.centre
        return self.activation(torch.nn.functional.linear(x, self.weight, self.bias))

    def in_chunks(self, activations: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Activations [n, D] with their codes, so many rows at a time that memory stays bounded."""
        for rows in activations.split(max(1, _CHUNK // max(1, len(self.weight)))):
            yield rows, self(rows)
