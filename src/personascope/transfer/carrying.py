"""The vectors of an experiment: every persona by every method, in the target, at its length."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction, random_like
from personascope.runs import Journal, cell_key
from personascope.statistics import cosine
from personascope.transfer.conditions import FEW, Method, interpolate, random_proj, zero_pad
from personascope.transfer.config import TransferConfig
from personascope.transfer.contrast import Contrast
from personascope.transfer.map import LinearMap
from personascope.transfer.maps import MAPPED, Setting
from personascope.transfer.normalizing import scaled
from personascope.transfer.settled import Settled


@dataclass(frozen=True, eq=False)
class Carried:
    """A persona's vector in the target. direction: at its length for α = 1. native: its length before that."""

    persona: str
    method: Method
    setting: Setting
    direction: Direction
    native: float


def carry(
    source: Sequence[Contrast],
    target: Sequence[Contrast],
    maps: Mapping[str, Mapping[str, LinearMap]],
    corpora: Mapping[str, str],
    setting: Setting,
    methods: Sequence[Method],
    residual_norm: float,
    config: TransferConfig,
    journal: Journal,
    identities: list[str],
) -> tuple[list[Carried], list[str]]:
    """Every persona by every method that has a vector, and of each that comes out without one a sentence that says why.

    maps: by persona and kind; corpora: by persona what they were fitted on, in a hash. residual_norm: the target's median
    at its layer. identities: of the personas; a vector that was carried before is taken from the journal, since another
    number of threads would make another last digit, and all its responses anew.
    """
    carried, left_out, settled = [], [], Settled(journal)
    for place, (one, other) in enumerate(zip(source, target, strict=True)):
        for method in methods:
            if method in ("baseline", "system_prompt"):
                continue
            of = settled.wrong_persona(place, identities) if method == "wrong_persona" else place
            if method in FEW and FEW[method] > len(other.matches):
                left_out.append(
                    f"{method} of {one.name!r} is left out: {len(other.matches)} contrast pairs of it were there to take."
                )
                continue
            key = cell_key(
                vector=method,
                persona=[identities[place], identities[of]],
                setting=vars(setting) if method in MAPPED else [setting.source_layer, setting.target_layer],
                corpus=corpora[one.name] if method in MAPPED else None,
            )
            known = journal.get(key)
            if known is None:
                vector = _vector(source[of], other, maps.get(one.name, {}), setting, method, config)
                journal.put(key, "vector", base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode())
            else:
                vector = torch.from_numpy(np.frombuffer(base64.b64decode(known), dtype="<f4").copy())
            if not float(vector.norm()) > 0:
                left_out.append(
                    f"{method} of {one.name!r} is left out: its vector at layer {setting.target_layer} is all zeros."
                )
                continue
            native = Direction(vector, setting.target_layer, one.name, {"method": method, "experiment": "transfer"})
            direction = scaled(native, config.normalize, residual_norm, config.residual_fraction)
            carried.append(Carried(one.name, method, setting, direction, native.norm))
    return carried, left_out


def _vector(
    source: Contrast,
    target: Contrast,
    maps: Mapping[str, LinearMap],
    setting: Setting,
    method: Method,
    config: TransferConfig,
) -> Tensor:
    """[hidden of the target]: the vector as it comes."""
    ours, theirs = source.directions[setting.source_layer], target.directions[setting.target_layer]
    width = theirs.hidden_size
    if method in MAPPED:
        return maps[MAPPED[method]].apply(ours).vector
    if method in FEW:
        return target.few(FEW[method], setting.target_layer, config.seed)
    if method == "random":
        return random_like(theirs, config.seed).vector
    if method == "zero_pad":
        return zero_pad(ours.vector, width)
    if method == "interpolate":
        return interpolate(ours.vector, width)
    if method == "random_proj":
        return random_proj(ours.vector, width, config.seed)
    return theirs.vector


def geometry(carried: Sequence[Carried], target: Sequence[Contrast]) -> list[dict[str, Any]]:
    """Of each vector its cosine to the oracle, the ceiling of that (the cosine of the oracle's own halves), the oracle it
    is nearest to, and whether that is its own persona's."""
    rows = []
    for one in carried:
        layer = one.setting.target_layer
        oracles = {each.name: each.directions[layer].vector.numpy() for each in target}
        cosines = {name: cosine(one.direction.vector.numpy(), vector) for name, vector in oracles.items()}
        own = next(each for each in target if each.name == one.persona)
        ceiling = float(own.ceilings[own.directions.layers.index(layer)])
        nearest = max(cosines, key=lambda name: cosines[name])
        rows.append(
            {
                "persona": one.persona,
                "method": one.method,
                **vars(one.setting),
                "native_norm": one.native,
                "norm": one.direction.norm,
                "cosine": cosines[one.persona],
                "ceiling": ceiling if np.isfinite(ceiling) else None,
                "nearest": nearest,
                "is_retrieved": nearest == one.persona if len(oracles) > 1 else None,
            }
        )
    return rows
