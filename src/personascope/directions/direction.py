"""A direction of the residual stream at one layer."""

import hashlib
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from personascope.errors import NonFinite, UserError


class ZeroDirection(UserError):
    """A direction without length has no unit vector, no cosine and no projection."""


class Vocabulary(Protocol):
    """What the logit lens needs of a subject."""

    def unembed(self, vector: Tensor) -> Tensor: ...

    def pieces(self, ids: Sequence[int]) -> list[str]: ...


class TokenLens(NamedTuple):
    """(token, effect on its logit), strongest first: what a direction promotes, and what it suppresses."""

    promoted: tuple[tuple[str, float], ...]
    suppressed: tuple[tuple[str, float], ...]


def real_numbers(value: Any, whose: str) -> Tensor:
    """Numbers as a float32 tensor on the CPU. Raises `UserError` naming `whose` they are where they are not real, or not
    one by one in memory."""
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{whose} needs a vector of numbers") from error
    if tensor.is_complex():
        raise UserError(f"{whose} holds complex numbers; directions are real, so say which part is meant and save that")
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        raise UserError(
            f"{whose} holds a sparse or packed tensor; save it dense, as .to_dense() or .dequantize() make it"
        )
    return tensor.to(device="cpu", dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector of the residual stream after one decoder block.

    vector: [hidden], kept as float32 on the CPU. layer: the block whose output it belongs to, from 0. name: what it
    stands for. provenance: where it came from, as plain values. Arithmetic makes new directions and raises `UserError`
    across layers or widths. Raises `NonFinite` on NaN or infinity.
    """

    vector: Tensor
    layer: int
    name: str = "direction"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vector = real_numbers(self.vector, f"direction {self.name!r}").clone()
        if vector.ndim != 1 or not len(vector):
            raise UserError(f"direction {self.name!r} needs a vector of shape [hidden], not {list(vector.shape)}")
        if not torch.isfinite(vector).all():
            raise NonFinite(f"direction {self.name!r} at layer {self.layer} holds NaN or infinity; extract it again")
        if not isinstance(self.layer, int) or self.layer < 0:
            raise UserError(f"direction {self.name!r} needs a layer from 0 up, not {self.layer!r}")
        if not self.name:
            raise UserError("a direction needs a name; results are listed under it")
        object.__setattr__(self, "vector", vector)

    @property
    def key(self) -> str:
        """`name@layer`, the name of its column in every result."""
        return f"{self.name}@{self.layer}"

    @property
    def hidden_size(self) -> int:
        return len(self.vector)

    @cached_property
    def digest(self) -> str:
        """A hash of the vector, hex: equal for equal numbers, whatever they are called."""
        return hashlib.blake2b(self.vector.numpy().tobytes(), digest_size=16).hexdigest()

    @property
    def norm(self) -> float:
        """Euclidean length, in residual-stream units."""
        return float(self.vector.double().norm())

    def unit(self) -> Tensor:
        """[hidden]: the vector at length 1. Raises `ZeroDirection` if it has none."""
        if self.norm == 0.0:
            raise ZeroDirection(f"direction {self.key!r} is all zeros; extract it again or leave it out")
        return (self.vector.double() / self.norm).float()

    def project(self, activations: Tensor) -> Tensor:
        """(h·v)/‖v‖ for activations [..., hidden]: float32 [...], in residual-stream units."""
        return activations.float() @ self.unit().to(activations.device)

    def cosine(self, other: "Direction") -> float:
        """Cosine of the angle to another direction of the same layer and width."""
        self._check_same_space(other)
        return float(self.unit().double() @ other.unit().double())

    def tokens(self, subject: "Vocabulary", k: int = 10) -> "TokenLens":
        """The k tokens that the direction promotes most and those it suppresses most, with its effect on their logits.

        What the model's last norm and output matrix make of the direction at length 1, as if no block came between.
        Raises `UserError` where the subject has another width, `ZeroDirection`. Source: the logit lens
        (nostalgebraist, 2020).
        """
        if k < 1:
            raise UserError(f"k={k} must be 1 or more")
        effects = subject.unembed(self.unit())
        k = min(k, len(effects))
        high, low = effects.topk(k), (-effects).topk(k)
        name = [subject.pieces([int(token)])[0] for token in (*high.indices, *low.indices)]
        return TokenLens(
            tuple(zip(name[:k], high.values.tolist(), strict=True)),
            tuple(zip(name[k:], (-low.values).tolist(), strict=True)),
        )

    def at(self, layer: int) -> "Direction":
        """The same vector, taken to belong to another layer."""
        return replace(self, layer=layer)

    def named(self, name: str) -> "Direction":
        """The same vector under another name."""
        return replace(self, name=name)

    def _check_same_space(self, other: "Direction") -> None:
        if self.layer != other.layer:
            raise UserError(
                f"{self.key!r} and {other.key!r} belong to different layers; move one with .at({self.layer})"
            )
        if self.hidden_size != other.hidden_size:
            raise UserError(
                f"{self.key!r} has width {self.hidden_size} and {other.key!r} has {other.hidden_size}: "
                "they come from different models"
            )

    def __add__(self, other: "Direction") -> "Direction":
        self._check_same_space(other)
        return Direction(self.vector + other.vector, self.layer, f"{self.name}+{other.name}")

    def __sub__(self, other: "Direction") -> "Direction":
        self._check_same_space(other)
        return Direction(self.vector - other.vector, self.layer, f"{self.name}-{other.name}")

    def __mul__(self, factor: float) -> "Direction":
        if not math.isfinite(factor):
            raise UserError(f"direction {self.key!r} cannot be multiplied by {factor}; use a finite number")
        return Direction(self.vector * factor, self.layer, f"{factor:g}*{self.name}", self.provenance)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Direction":
        if divisor == 0:
            raise UserError(f"direction {self.key!r} cannot be divided by zero")
        return self * (1 / divisor)

    def __neg__(self) -> "Direction":
        return Direction(-self.vector, self.layer, f"-{self.name}", self.provenance)

    def __repr__(self) -> str:
        return f"Direction({self.key!r}, hidden={self.hidden_size}, norm={self.norm:.4g})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"
