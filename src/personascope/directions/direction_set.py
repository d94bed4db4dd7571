"""One persona's directions at several layers, with how good each is, and their file."""

import hashlib
import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from personascope.directions.direction import Direction, real_numbers
from personascope.errors import NonFinite, UserError
from personascope.runs.files import aside

FORMAT = "personascope.directions.v1"


@dataclass(frozen=True, eq=False)
class DirectionSet:
    """Directions of one name, one per layer.

    layers: the layers, ascending. vectors: [layers, hidden] float32. quality: per layer, named figures, as the
    extraction measured them. choices: what was chosen on the middle split (`read_layer`, `steer_layer`, `alpha`).
    provenance: model, method, tokens, prompts, counts, as plain values.
    """

    name: str
    layers: tuple[int, ...]
    vectors: Tensor
    quality: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    choices: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vectors = real_numbers(self.vectors, f"direction set {self.name!r}")
        if vectors.ndim != 2 or len(vectors) != len(self.layers):
            raise UserError(
                f"direction set {self.name!r} needs vectors of shape [{len(self.layers)}, hidden], "
                f"not {list(vectors.shape)}"
            )
        if list(self.layers) != sorted(set(self.layers)):
            raise UserError(f"direction set {self.name!r} needs its layers once each and ascending, not {self.layers}")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "layers", tuple(self.layers))
        for direction in self:
            assert isinstance(direction, Direction)

    @cached_property
    def digest(self) -> str:
        """A hash of the vectors and their layers, hex."""
        parts = f"{self.layers}".encode() + self.vectors.contiguous().numpy().tobytes()
        return hashlib.blake2b(parts, digest_size=16).hexdigest()

    @classmethod
    def from_directions(cls, directions: Sequence[Direction], **fields: Any) -> "DirectionSet":
        """Directions of one name at different layers as a set."""
        if not directions or len({(one.name, one.hidden_size) for one in directions}) > 1:
            raise UserError("a direction set is made of directions of one name and width, and of at least one")
        ordered = sorted(directions, key=lambda direction: direction.layer)
        vectors = torch.stack([direction.vector for direction in ordered])
        return cls(ordered[0].name, tuple(direction.layer for direction in ordered), vectors, **fields)

    def __getitem__(self, layer: int) -> Direction:
        if layer not in self.layers:
            held = f"{self.layers[0]} to {self.layers[-1]}" if len(self.layers) > 1 else str(self.layers[0])
            raise UserError(f"{self.name!r} has no direction at layer {layer}; its layers are {held}")
        return Direction(self.vectors[self.layers.index(layer)], layer, self.name, self.provenance)

    def __iter__(self) -> Iterator[Direction]:
        return (self[layer] for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def best_layer(self) -> int:
        """The layer to read at: the one chosen on the middle split, the middle one where nothing was chosen."""
        return int(self.choices.get("read_layer", self.layers[len(self.layers) // 2]))

    @property
    def steer_layer(self) -> int:
        """The layer to steer at, chosen apart from the one to read at; that one where nothing was chosen."""
        return int(self.choices.get("steer_layer", self.best_layer))

    @property
    def best(self) -> Direction:
        """The direction at the layer to read at."""
        return self[self.best_layer]

    def percentile(self, layer: int, q: float) -> float:
        """The q-th percentile (0–100) of the projections that the set was saved with, in residual-stream units: a bound
        for `ps.cap`.

        Whole percentiles are kept, as numpy gives them; between two that follow each other the line is straight, so that
        p2.5 is half-way from p2 to p3. Raises `UserError` where the ones beside q were not kept.
        """
        if not 0 <= q <= 100:
            raise UserError(f"percentile {q:g} must be from 0 to 100")
        self[layer]
        held = {
            float(one): float(value) for one, value in self.choices.get("percentiles", {}).get(str(layer), {}).items()
        }
        low, high = float(math.floor(q)), float(math.ceil(q))
        if q in held:
            return held[q]
        if low in held and high in held:
            return held[low] + (q - low) * (held[high] - held[low])
        known = ", ".join(f"p{one:g}" for one in sorted(held))
        raise UserError(
            f"{self.name!r} has no percentile {q:g} at layer {layer}; "
            + (f"it knows {known}, and `personascope axis` keeps them all" if held else "it knows none; write a number")
        )

    def only(self, layers: Sequence[int]) -> "DirectionSet":
        """The set cut down to some of its layers."""
        rows = torch.stack([self[layer].vector for layer in sorted(layers)])
        quality = {layer: figures for layer, figures in self.quality.items() if layer in layers}
        return DirectionSet(self.name, tuple(sorted(layers)), rows, quality, self.choices, self.provenance)

    def named(self, name: str) -> "DirectionSet":
        """The same directions under another name."""
        return replace(self, name=name)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file: tensor `vectors` [layers, hidden], everything else as JSON in the header."""
        path = Path(path)
        metadata = {
            "format": FORMAT,
            "name": self.name,
            "layers": json.dumps(self.layers),
            "quality": _json(self, {str(layer): dict(figures) for layer, figures in self.quality.items()}),
            "choices": _json(self, dict(self.choices)),
            "provenance": _json(self, dict(self.provenance)),
        }
        with aside(path) as part:
            # Written by us, since the library makes files that only their owner can read.
            part.write_bytes(save({"vectors": self.vectors.contiguous()}, metadata))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "DirectionSet":
        """Read a file that `save` wrote. Raises `UserError` on any other."""
        path = Path(path)
        if path.suffix == ".pt":
            raise UserError(f"{path} is a PyTorch file; `personascope import {path}` turns it into directions")
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise UserError(f"{path} is not a Personascope directions file; `personascope import` reads others")
                vectors = file.get_tensor("vectors")
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist; give a directions file") from error
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not a readable safetensors file: {error}") from error
        try:
            return cls(
                header["name"],
                tuple(json.loads(header["layers"])),
                vectors,
                {int(layer): figures for layer, figures in json.loads(header["quality"]).items()},
                json.loads(header["choices"]),
                json.loads(header["provenance"]),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} has a damaged header ({error}); extract the directions again") from error

    def __repr__(self) -> str:
        return f"DirectionSet({self.name!r}, layers={list(self.layers)}, hidden={self.vectors.shape[1]})"

    def _repr_html_(self) -> str:
        columns = sorted(
            {name for figures in self.quality.values() for name, value in figures.items() if _is_number(value)}
        )
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("layer", "norm", *columns))
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{cell}</td>"
                for cell in (direction.layer, f"{direction.norm:.3g}", *self._cells(direction.layer, columns))
            )
            + "</tr>"
            for direction in self
        )
        return f"<b>{html.escape(self.name)}</b><table><tr>{head}</tr>{rows}</table>"

    def _cells(self, layer: int, columns: list[str]) -> list[str]:
        figures = self.quality.get(layer, {})
        return [f"{figures[name]:.3g}" if name in figures else "" for name in columns]


def _json(directions: DirectionSet, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise NonFinite(f"the figures of {directions.name!r} hold NaN or infinity in place of a number") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
