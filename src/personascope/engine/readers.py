"""Reading the residual stream during a forward pass: projections, activations, and what is made of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.subject import Subject

# Rows of activations that are turned to float32 at once, so that reading never doubles a long pass's memory.
CHUNK = 4096

When = Literal["before", "after"]


class Reader(Protocol):
    """Something that looks at the stream at some layers; `when`: before or after the writes of the same layer."""

    when: When

    @property
    def layers(self) -> Sequence[int]: ...

    def read(self, layer: int, stream: Tensor) -> None:
        """stream: [rows, tokens, hidden]."""


@dataclass
class Projections:
    """Projections on directions, and the norms they are cosines by: K + 1 floats per token and layer.

    `columns`: which number stands where, one (layer, name) each; the name is "" for the norm. `column_of`: by the
    direction's id.
    """

    directions: tuple[Direction, ...]
    subject: Subject
    when: When = "before"
    columns: list[tuple[int, str]] = field(init=False)
    column_of: dict[int, int] = field(init=False)
    _units: dict[int, Tensor] = field(init=False)
    _read: dict[int, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        by_layer: dict[int, list[Direction]] = {}
        for direction in self.directions:
            by_layer.setdefault(direction.layer, []).append(direction)
        self._units = {
            layer: torch.stack([one.unit() for one in by_layer[layer]], dim=1).to(self.subject.layer_device(layer))
            for layer in sorted(by_layer)
        }
        self.columns = []
        self.column_of = {}
        for layer in self._units:
            for one in by_layer[layer]:
                self.column_of[id(one)] = len(self.columns)
                self.columns.append((layer, one.name))
            self.columns.append((layer, ""))

    @property
    def layers(self) -> Sequence[int]:
        return tuple(self._units)

    def read(self, layer: int, stream: Tensor) -> None:
        units = self._units[layer]
        flat = stream.reshape(-1, stream.shape[-1])
        out = torch.empty(len(flat), units.shape[1] + 1, device=stream.device)
        for start in range(0, len(flat), CHUNK):
            rows = flat[start : start + CHUNK].float()
            torch.matmul(rows, units, out=out[start : start + CHUNK, :-1])
            torch.linalg.vector_norm(rows, dim=1, out=out[start : start + CHUNK, -1])
        self._read[layer] = out.view(*stream.shape[:-1], -1)

    def columns_for(self, directions: Sequence[Direction]) -> list[int]:
        """The columns of some of the directions, and of the norms at their layers."""
        layers = {one.layer for one in directions}
        norms = [column for column, (layer, name) in enumerate(self.columns) if not name and layer in layers]
        return [self.column_of[id(one)] for one in directions] + norms

    def gathered(self) -> Tensor:
        """[rows, tokens, columns]: what the last pass read, on the device of the deepest layer."""
        parts = [self._read.pop(layer) for layer in self._units]
        return torch.cat([part.to(parts[-1].device) for part in parts], dim=2)

    def collect(self) -> np.ndarray:
        """The same on the CPU."""
        return np.asarray(self.gathered().cpu().numpy())


@dataclass
class Activations:
    """The stream itself at selected tokens. Give `places` before each pass: the flattened tokens to keep."""

    chosen: tuple[int, ...]
    when: When = "before"
    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _read: dict[int, Tensor] = field(default_factory=dict)
    _is_finite: dict[int, bool] = field(default_factory=dict)

    @property
    def layers(self) -> Sequence[int]:
        return self.chosen

    def read(self, layer: int, stream: Tensor) -> None:
        flat = stream.reshape(-1, stream.shape[-1])
        kept = flat.index_select(0, self.places.to(flat.device))
        # Asked where the numbers are: one that is none makes no finite sum.
        self._is_finite[layer] = math.isfinite(kept.sum(dtype=torch.float32))
        # In this order, since what leaves a GPU does so slowly.
        self._read[layer] = kept.cpu().float()

    @property
    def is_finite(self) -> bool:
        """Whether all that the last pass read are surely numbers; if not, look."""
        return all(self._is_finite.values())

    def collect(self) -> Tensor:
        """[tokens, layers, hidden] float32 on the CPU."""
        read = [self._read.pop(layer) for layer in self.chosen]
        return read[0][:, None] if len(read) == 1 else torch.stack(read, dim=1)


@dataclass
class Mapped:
    """What a function makes of the stream at one layer's selected tokens: only its results leave the device.

    function: [tokens, hidden] in the model's dtype to [tokens, K]. Give `places` before each pass.
    """

    layer: int
    function: Callable[[Tensor], Tensor]
    when: When = "before"
    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _read: list[Tensor] = field(default_factory=list)

    @property
    def layers(self) -> Sequence[int]:
        return (self.layer,)

    def read(self, layer: int, stream: Tensor) -> None:
        flat = stream.reshape(-1, stream.shape[-1])
        places = self.places.to(flat.device)
        self._read = [
            self.function(flat[places[start : start + CHUNK]]) for start in range(0, max(1, len(places)), CHUNK)
        ]

    def collect(self) -> Tensor:
        """[tokens, K] on the CPU."""
        parts, self._read = self._read, []
        return torch.cat(parts).cpu()


def visit(readers: Sequence[Reader], layer: int, when: When, stream: Tensor) -> None:
    """Let the readers of this moment look at a layer's stream."""
    for reader in readers:
        if reader.when == when and layer in reader.layers:
            reader.read(layer, stream)
