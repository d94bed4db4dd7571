"""A linear map from one model's residual stream to another's, with how well it does, and its file."""

import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from personascope.directions import Direction
from personascope.errors import NonFinite, UserError
from personascope.runs.files import aside
from personascope.statistics import finite
from personascope.transfer.held_out import Band, HeldOut

_FORMAT = "personascope.map.v1"


@dataclass(frozen=True, eq=False)
class LinearMap:
    """An affine map of states, y ≈ xW + b; a direction moves by W alone.

    weight: [d_source, d_target] float32. bias: [d_target] float32. method: `ridge`, `procrustes`, `whitened procrustes`
    or `reduced-rank ridge`. held_out: scores on rows that a map was not fitted on. rows, texts: what it was fitted to.
    lambdas: the penalties tried, best_lambda the one with the least held-out error; with is_relative both in units of
    tr(G)/d_source, where G is the Gram matrix of x; penalty: the one applied, in G's own units. ranks, rank: likewise
    where the rank was chosen. scale: of an orthogonal map, what it is multiplied by. spectrum: singular values of W,
    falling. degrees_of_freedom: Σ σ²/(σ² + λ) over the singular values σ of x. condition_number: of G + λ.
    Covectors (probes, encoder rows) do not move by W but by the transpose of the map fitted the other way round.
    """

    weight: Tensor
    bias: Tensor
    method: str
    held_out: HeldOut
    rows: int
    texts: int
    is_centered: bool
    source_layer: int | None = None
    target_layer: int | None = None
    lambdas: tuple[float, ...] = ()
    best_lambda: float | None = None
    is_relative: bool = False
    penalty: float = 0.0
    ranks: tuple[int, ...] = ()
    rank: int | None = None
    scale: float | None = None
    spectrum: np.ndarray = field(default_factory=lambda: np.empty(0))
    degrees_of_freedom: float = math.nan
    condition_number: float = math.nan

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            value = torch.as_tensor(getattr(self, name)).detach().to(device="cpu", dtype=torch.float32).contiguous()
            if not torch.isfinite(value).all():
                raise NonFinite(f"the map's {name} holds NaN or infinity; fit it with a larger lambda")
            object.__setattr__(self, name, value)

    @property
    def cv_error(self) -> np.ndarray:
        """[choices]: the held-out mean squared error of a row and dimension, for each of the lambdas or ranks."""
        return self.held_out.cv_error

    @property
    def r2(self) -> float:
        """Held-out R², all dimensions together."""
        return self.held_out.r2

    @property
    def bands(self) -> tuple[Band, ...]:
        """Held-out R² by principal components of the target."""
        return self.held_out.bands

    @property
    def effective_rank(self) -> int:
        """How many singular values are more than a hundredth of the largest."""
        return int((self.spectrum > 0.01 * self.spectrum.max(initial=0.0)).sum())

    @cached_property
    def digest(self) -> str:
        """A hash of weight and bias, hex."""
        parts = self.weight.numpy().tobytes() + self.bias.numpy().tobytes()
        return hashlib.blake2b(parts, digest_size=16).hexdigest()

    def apply(self, direction: Direction) -> Direction:
        """The direction in the target model: vW, unscaled, at the target layer.

        Raises `UserError` on a direction of another layer or width, and where the map was fitted without its layers.
        """
        if not isinstance(direction, Direction):
            raise UserError(f"a map takes one direction, such as evil[{self.source_layer}], not {direction!r}")
        if self.source_layer is None or self.target_layer is None:
            raise UserError("this map does not know its layers; fit it with source_layer= and target_layer=")
        if direction.layer != self.source_layer:
            raise UserError(
                f"{direction.key!r} is of layer {direction.layer} and this map takes layer {self.source_layer}; "
                f"take the direction of that layer, or fit a map at layer {direction.layer}"
            )
        if direction.hidden_size != len(self.weight):
            raise UserError(
                f"{direction.key!r} has width {direction.hidden_size} and this map takes {len(self.weight)}: "
                "it belongs to another model"
            )
        vector = (direction.vector.double() @ self.weight.double()).float()
        provenance = {
            "mapped_from": direction.key,
            "mapped_by": self.method,
            "map": self.digest,
            "lambda": self.best_lambda,
            "source": dict(direction.provenance),
        }
        return Direction(vector, self.target_layer, direction.name, provenance)

    def predict(self, states: Tensor) -> Tensor:
        """The target's states for the source's, [..., d_source] to float32 [..., d_target], means included."""
        if states.shape[-1] != len(self.weight):
            raise UserError(f"states of width {states.shape[-1]} do not fit this map, which takes {len(self.weight)}")
        return states.detach().cpu().float() @ self.weight + self.bias

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader of the figures should know, in plain sentences."""
        found = []
        if len(self.lambdas) > 1 and self.best_lambda in (min(self.lambdas), max(self.lambdas)):
            end, way = ("smallest", "smaller") if self.best_lambda == min(self.lambdas) else ("largest", "larger")
            found.append(f"the best lambda, {self.best_lambda:g}, is the {end} that was tried; try {way} lambdas")
        if self.r2 <= 0:
            found.append("on held-out texts the map does no better than the target's mean")
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Plain values, without weight and bias; None for what is not a number."""
        held = self.held_out
        return {
            "method": self.method,
            "source_layer": self.source_layer,
            "target_layer": self.target_layer,
            "shape": list(self.weight.shape),
            "rows": self.rows,
            "texts": self.texts,
            "is_centered": self.is_centered,
            "lambdas": list(self.lambdas),
            "best_lambda": self.best_lambda,
            "is_relative": self.is_relative,
            "penalty": self.penalty,
            "ranks": list(self.ranks),
            "rank": self.rank,
            "scale": self.scale,
            "cv_error": finite(held.cv_error.tolist()),
            "fold_errors": [finite(row) for row in held.errors.tolist()],
            "r2": held.r2,
            "fold_r2": finite(held.fold_r2),
            "choice_r2": finite(held.choice_r2.tolist()),
            "shuffled_r2": held.shuffled_r2,
            "random_r2": held.random_r2,
            "bands": [band.describe() for band in held.bands],
            "spectrum": self.spectrum.tolist(),
            "effective_rank": self.effective_rank,
            "degrees_of_freedom": finite([self.degrees_of_freedom])[0],
            "condition_number": finite([self.condition_number])[0],
            "doubts": list(self.doubts),
        }

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file: tensors `weight` and `bias`, everything else as JSON in the header."""
        path = Path(path)
        metadata = {"format": _FORMAT, "map": json.dumps(self.describe(), allow_nan=False)}
        with aside(path) as part:
            part.write_bytes(save({"weight": self.weight, "bias": self.bias}, metadata))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "LinearMap":
        """Read a file that `save` wrote. Raises `UserError` on any other."""
        try:
            with safe_open(Path(path), framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != _FORMAT:
                    raise UserError(f"{path} is not a Personascope map; `LinearMap.save` writes them")
                weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist; give a map's file") from error
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not a readable safetensors file: {error}") from error
        try:
            return cls(weight=weight, bias=bias, **_fields(json.loads(header["map"])))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} has a damaged header ({error}); fit the map again") from error

    def __repr__(self) -> str:
        width = " → ".join(map(str, self.weight.shape))
        layers = "" if self.source_layer is None else f", layers {self.source_layer} → {self.target_layer}"
        return f"LinearMap({self.method}, {width}{layers}, rows={self.rows}, R²={self.r2:.3f})"

    def _repr_html_(self) -> str:
        head = "<tr><th>components</th><th>share</th><th>R²</th><th>shuffled</th><th>random</th></tr>"
        rows = "".join(
            f"<tr><td>{band.first}–{band.last}</td><td>{band.share:.3f}</td>"
            + "".join(f"<td>{_cell(value)}</td>" for value in (band.r2, band.shuffled_r2, band.random_r2))
            + "</tr>"
            for band in self.bands
        )
        return f"<b>{html.escape(repr(self))}</b><table>{head}{rows}</table>"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([_number(value) for value in values])


def _fields(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A map's fields from what `describe` made of them."""
    held = HeldOut(
        errors=np.array([_numbers(row) for row in plain["fold_errors"]]),
        cv_error=_numbers(plain["cv_error"]),
        r2=float(plain["r2"]),
        fold_r2=tuple(map(_number, plain["fold_r2"])),
        bands=tuple(Band(**band) for band in plain["bands"]),
        shuffled_r2=plain["shuffled_r2"],
        random_r2=plain["random_r2"],
        choice_r2=_numbers(plain.get("choice_r2", [])),
    )
    kept = ("method", "rows", "texts", "is_centered", "source_layer", "target_layer", "best_lambda", "is_relative")
    return {
        **{name: plain[name] for name in (*kept, "penalty", "rank", "scale")},
        "held_out": held,
        "lambdas": tuple(plain["lambdas"]),
        "ranks": tuple(plain["ranks"]),
        "spectrum": np.array(plain["spectrum"]),
        "degrees_of_freedom": _number(plain["degrees_of_freedom"]),
        "condition_number": _number(plain["condition_number"]),
    }
