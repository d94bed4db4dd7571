"""Reading the residual stream during a forward pass: projections, means and activations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.subject import Subject

# Rows of activations that are turned to float32 at once, so that reading never doubles a long pass's memory.
_CHUNK = 4096

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
        for start in range(0, len(flat), _CHUNK):
            rows = flat[start : start + _CHUNK].float()
            torch.matmul(rows, units, out=out[start : start + _CHUNK, :-1])
            torch.linalg.vector_norm(rows, dim=1, out=out[start : start + _CHUNK, -1])
        self._read[layer] = out.view(*stream.shape[:-1], -1)

    def columns_for(self, directions: Sequence[Direction]) -> list[int]:
        """The columns of some of the directions, and of the norms at their layers."""
        layers = {one.layer for one in directions}
        norms = [column for column, (layer, name) in enumerate(self.columns) if not name and layer in layers]
        return [self.column_of[id(one)] for one in directions] + norms

    def collect(self) -> np.ndarray:
        """[rows, tokens, columns]: what the last pass read, on the CPU."""
        parts = [self._read[layer] for layer in self._units]
        whole = torch.cat([part.to(parts[-1].device) for part in parts], dim=2).cpu().numpy()
        self._read.clear()
        return np.asarray(whole)


# A row's tokens to add up: its slot, their places in the flattened batch, and for each whether the mean leaves it out if it
# is a sink.
Entry = tuple[int, Sequence[int], Sequence[bool]]


@dataclass(frozen=True)
class Places:
    """Tokens to add up for one selection: their places in the flattened batch, the slot each belongs to, and whether
    it is left out where its norm is a sink's, None if none ever is. ones: what each counts for."""

    flat: Tensor
    slots: Tensor
    may_sink: Tensor | None
    ones: Tensor
    _copies: dict[torch.device, "Places"] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Places":
        flat = torch.tensor([place for _, places, _ in entries for place in places], dtype=torch.long)
        slots = torch.tensor([slot for slot, places, _ in entries for _ in places], dtype=torch.long)
        may_sink = torch.tensor([sink for _, _, sinks in entries for sink in sinks], dtype=torch.bool)
        return cls(flat, slots, may_sink if may_sink.any() else None, torch.ones(len(flat)))

    def on(self, device: torch.device) -> "Places":
        """The same on a device, copied there once for all layers and passes."""
        if self.flat.device == device:
            return self
        if device not in self._copies:
            may_sink = None if self.may_sink is None else self.may_sink.to(device)
            self._copies[device] = Places(self.flat.to(device), self.slots.to(device), may_sink, self.ones.to(device))
        return self._copies[device]


@dataclass
class Means:
    """Mean activations over selected tokens, summed on the device while rows grow: nothing is kept per token.

    Every row has a slot from `open` to `take`. Give `places` before each pass, one per selection. BOS and attention
    sinks in the prompt are left out: they have many times the median norm and would drown the rest.
    """

    chosen: tuple[int, ...]
    selections: int
    subject: Subject
    when: When = "before"
    places: Sequence[Places] = ()
    _sums: dict[int, Tensor] = field(default_factory=dict)
    _counts: dict[int, Tensor] = field(default_factory=dict)
    _limits: dict[int, float] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _slots: int = 0

    @property
    def layers(self) -> Sequence[int]:
        return self.chosen if any(len(one.flat) for one in self.places) else ()

    def open(self) -> int:
        """A slot for a row, its sums zero."""
        if not self._limits:
            # Measured here and not while reading: a pass cannot run inside another pass's hook.
            self._limits = {layer: SINK_RATIO * median_norm(self.subject, layer) for layer in self.chosen}
        if not self._free:
            self._grow(max(16, 2 * self._slots))
        return self._free.pop()

    def _grow(self, slots: int) -> None:
        for layer in self.chosen:
            device = self.subject.layer_device(layer)
            # Each selection's slots in one block: adding to rows that lie apart takes twice as long.
            sums = torch.zeros(self.selections, slots, self.subject.hidden_size, device=device)
            counts = torch.zeros(self.selections, slots, device=device)
            if self._slots:
                sums[:, : self._slots], counts[:, : self._slots] = self._sums[layer], self._counts[layer]
            self._sums[layer], self._counts[layer] = sums, counts
        self._free += range(slots - 1, self._slots - 1, -1)
        self._slots = slots

    def read(self, layer: int, stream: Tensor) -> None:
        flat = stream.reshape(-1, stream.shape[-1])
        for selection, told in enumerate(self.places):
            places = told.on(flat.device)
            for start in range(0, len(places.flat), _CHUNK):
                part = slice(start, start + _CHUNK)
                rows = flat.index_select(0, places.flat[part]).float()
                slots, weights = places.slots[part], places.ones[part]
                if places.may_sink is not None:
                    is_sink = places.may_sink[part] & (rows.norm(dim=1) > self._limits[layer])
                    weights = weights.masked_fill(is_sink, 0.0)
                    rows = rows * weights[:, None]
                self._sums[layer][selection].index_add_(0, slots, rows)
                self._counts[layer][selection].index_add_(0, slots, weights)

    def take(self, slots: Sequence[int]) -> list[Tensor]:
        """Each row's means [layers, selections, hidden] on the CPU, NaN where a selection had no token; frees the slots."""
        means = []
        for layer in self.chosen:
            held = torch.tensor(slots, dtype=torch.long, device=self._sums[layer].device)
            means.append((self._sums[layer][:, held] / self._counts[layer][:, held, None]).transpose(0, 1).cpu())
            self._sums[layer][:, held] = 0.0
            self._counts[layer][:, held] = 0.0
        self._free += slots
        # Copies, so that no row keeps the others' alive.
        return [row.clone() for row in torch.stack(means, dim=1)]


@dataclass
class Activations:
    """The stream itself at selected tokens. Give `places` before each pass: the flattened tokens to keep."""

    chosen: tuple[int, ...]
    when: When = "before"
    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _read: dict[int, Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> Sequence[int]:
        return self.chosen

    def read(self, layer: int, stream: Tensor) -> None:
        flat = stream.reshape(-1, stream.shape[-1])
        self._read[layer] = flat.index_select(0, self.places.to(flat.device)).float().cpu()

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
            self.function(flat[places[start : start + _CHUNK]]) for start in range(0, max(1, len(places)), _CHUNK)
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
