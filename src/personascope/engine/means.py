"""Mean activations over selected tokens, added up while passes run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.engine.readers import CHUNK, When
from personascope.subject import Subject

# Rows whose means leave the device together.
_TAKEN = 64

# A row's tokens to add up: its slot, their places in the flattened batch, and for each whether the mean leaves it out if it
# is a sink.
Entry = tuple[int, Sequence[int], Sequence[bool]]


@dataclass(frozen=True)
class Places:
    """Tokens to add up for one selection: their places in the flattened batch, the slot each belongs to, and whether
    it is left out where its norm is a sink's, None if none ever is. ones: what each counts for. is_whole: whether they are
    the batch's first tokens, each of the slot of its own number."""

    flat: Tensor
    slots: Tensor
    may_sink: Tensor | None
    ones: Tensor
    is_whole: bool
    _copies: dict[torch.device, "Places"] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Places":
        flat = torch.tensor([place for _, places, _ in entries for place in places], dtype=torch.long)
        slots = torch.tensor([slot for slot, places, _ in entries for _ in places], dtype=torch.long)
        may_sink = torch.tensor([sink for _, _, sinks in entries for sink in sinks], dtype=torch.bool)
        numbers = torch.arange(len(flat))
        is_whole = torch.equal(flat, numbers) and torch.equal(slots, numbers)
        return cls(flat, slots, may_sink if may_sink.any() else None, torch.ones(len(flat)), is_whole)

    def on(self, device: torch.device) -> "Places":
        """The same on a device, copied there once for all layers and passes."""
        if self.flat.device == device:
            return self
        if device not in self._copies:
            flat, slots, ones = (one.to(device) for one in (self.flat, self.slots, self.ones))
            may_sink = None if self.may_sink is None else self.may_sink.to(device)
            self._copies[device] = Places(flat, slots, may_sink, ones, self.is_whole)
        return self._copies[device]


@dataclass
class _Sums:
    """What the layers of one device have added up. layers: their numbers; sums: [layers, selections, slots, hidden];
    counts: [layers, selections, slots]."""

    layers: list[int]
    sums: Tensor
    counts: Tensor

    def grown(self, slots: int) -> "_Sums":
        """With more slots, the new ones zero."""
        *lead, old, hidden = self.sums.shape
        # Each selection's slots in one block: adding to rows that lie apart takes twice as long.
        sums, counts = self.sums.new_zeros(*lead, slots, hidden), self.counts.new_zeros(*lead, slots)
        sums[:, :, :old], counts[:, :, :old] = self.sums, self.counts
        return _Sums(self.layers, sums, counts)

    def take(self, slots: Sequence[int]) -> Tensor:
        """[slots, layers, selections, hidden] on the CPU: the means, NaN of nothing. The slots are zero again."""
        taken = []
        # A few at a time, so that rows that end together do not take as much memory again.
        for held in torch.tensor(slots, dtype=torch.long, device=self.sums.device).split(_TAKEN):
            means = self.sums[:, :, held] / self.counts[:, :, held, None]
            taken.append(means.permute(2, 0, 1, 3).cpu())
            self._clear(held)
        return torch.cat(taken)

    def move(self, slots: Sequence[int], targets: Sequence[int]) -> None:
        """What some slots hold is in others from now on, and they are zero."""
        old, new = (torch.tensor(one, dtype=torch.long, device=self.sums.device) for one in (slots, targets))
        self.sums[:, :, new], self.counts[:, :, new] = self.sums[:, :, old], self.counts[:, :, old]
        self._clear(old)

    def _clear(self, slots: Tensor) -> None:
        self.sums[:, :, slots] = 0.0
        self.counts[:, :, slots] = 0.0


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
    _held: list[_Sums] = field(default_factory=list)
    # By layer, where in which of them it is.
    _at: dict[int, tuple[int, int]] = field(default_factory=dict)
    _limits: dict[int, float] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _slots: int = 0

    @property
    def layers(self) -> Sequence[int]:
        return self.chosen if any(len(one.flat) for one in self.places) else ()

    def open(self) -> int:
        """A slot for a row, its sums zero: the lowest that is free."""
        if not self._limits:
            # Measured here and not while reading: a pass cannot run inside another pass's hook.
            self._limits = {layer: SINK_RATIO * median_norm(self.subject, layer) for layer in self.chosen}
            self._begin()
        if not self._free:
            slots = max(16, 2 * self._slots)
            self._held = [held.grown(slots) for held in self._held]
            self._free = list(range(slots - 1, self._slots - 1, -1))
            self._slots = slots
        return self._free.pop()

    def _begin(self) -> None:
        by_device: dict[torch.device, list[int]] = {}
        for layer in self.chosen:
            by_device.setdefault(self.subject.layer_device(layer), []).append(layer)
        for device, layers in by_device.items():
            self._at |= {layer: (len(self._held), index) for index, layer in enumerate(layers)}
            shape = len(layers), self.selections, 0
            sums = torch.zeros(*shape, self.subject.hidden_size, device=device)
            self._held.append(_Sums(layers, sums, torch.zeros(*shape, device=device)))

    def settle(self, slots: Sequence[int]) -> list[int]:
        """Where the sums of some slots are held from now on: each in the slot of its place among these, if that was free."""
        free = set(self._free)
        moves = {place: slot for place, slot in enumerate(slots) if slot != place and place in free}
        if moves:
            for held in self._held:
                held.move([*moves.values()], [*moves])
            self._free = sorted((free - moves.keys()) | {*moves.values()}, reverse=True)
        return [place if place in moves else slot for place, slot in enumerate(slots)]

    def read(self, layer: int, stream: Tensor) -> None:
        flat = stream.reshape(-1, stream.shape[-1])
        part, index = self._at[layer]
        all_sums, all_counts = self._held[part].sums[index], self._held[part].counts[index]
        for told, sums, counts in zip(self.places, all_sums, all_counts, strict=True):
            places = told.on(flat.device)
            if places.is_whole and places.may_sink is None:
                # No row is looked up, which takes four times as long.
                sums[: len(places.flat)] += flat[: len(places.flat)]
                counts[: len(places.flat)] += 1.0
            else:
                self._add(places, flat, self._limits[layer], sums, counts)

    def _add(self, places: Places, flat: Tensor, limit: float, sums: Tensor, counts: Tensor) -> None:
        for start in range(0, len(places.flat), CHUNK):
            part = slice(start, start + CHUNK)
            rows = flat.index_select(0, places.flat[part]).float()
            slots, weights = places.slots[part], places.ones[part]
            if places.may_sink is not None:
                is_sink = places.may_sink[part] & (rows.norm(dim=1) > limit)
                weights = weights.masked_fill(is_sink, 0.0)
                rows = rows * weights[:, None]
            sums.index_add_(0, slots, rows)
            counts.index_add_(0, slots, weights)

    def take(self, slots: Sequence[int]) -> list[Tensor]:
        """Each row's means [layers, selections, hidden] on the CPU, NaN where a selection had no token; frees the slots."""
        taken = [held.take(slots) for held in self._held]
        self._free = sorted([*self._free, *slots], reverse=True)
        means = torch.stack(
            [taken[part][:, index] for part, index in (self._at[layer] for layer in self.chosen)], dim=1
        )
        # Copies, so that no row keeps the others' alive.
        return [row.clone() for row in means]
