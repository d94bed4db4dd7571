"""Ways of carrying every persona's vector from one organism to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from personascope.directions import random_like
from personascope.transfer.conditions import interpolate, random_proj, zero_pad
from personascope.transfer.contrast import Contrast
from personascope.transfer.gathering import gather
from personascope.transfer.map import LinearMap
from personascope.transfer.procrustes import procrustes
from personascope.transfer.ridge import fit_map

# How often what is left to chance is drawn: one draw says as much of the draw as of the way.
DRAWS = 5
# How many times as many texts `ridge, all texts` is fitted on.
MORE = 4

_LAMBDAS = (0.01, 1.0, 100.0, 1e4, 1e6)

Layers = tuple[int, int]
# X, Y and the text of each row.
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Way:
    """vectors: of each persona its vector in the target, at any length, of each draw where chance has a part in the way.
    corpus: what the map was fitted on."""

    corpus: str
    way: str
    layers: Layers
    vectors: dict[str, list[Tensor]] = field(default_factory=dict)


def unfitted(ours: Sequence[Contrast], theirs: Sequence[Contrast], layers: Layers, seed: int) -> list[Way]:
    """Those that know nothing of any text."""
    ways = [Way("", way, layers) for way in ("zero_pad", "interpolate", "random_proj", "random")]
    for one, other in zip(ours, theirs, strict=True):
        oracle = other.directions[layers[1]]
        vector, width = one.directions[layers[0]].vector, oracle.hidden_size
        seeds = range(seed, seed + DRAWS)
        made = [
            [zero_pad(vector, width)],
            [interpolate(vector, width)],
            [random_proj(vector, width, each) for each in seeds],
            [random_like(oracle, each).vector for each in seeds],
        ]
        for way, drawn in zip(ways, made, strict=True):
            way.vectors[one.name] = drawn
    return ways


def by_differences(ours: Sequence[Contrast], theirs: Sequence[Contrast], layers: Layers) -> list[Way]:
    """Ridge fitted on no text, but on the contrast differences of all the other personas."""
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for one, other in zip(ours, theirs, strict=True):
        place = {match: row for row, match in enumerate(other.matches)}
        shared = [row for row, match in enumerate(one.matches) if match in place]
        places = [place[one.matches[row]] for row in shared]
        rows[one.name] = one.differences[shared, layers[0]].numpy(), other.differences[places, layers[1]].numpy()
    way = Way("differences of the other personas", "ridge", layers)
    for one in ours:
        rest = [name for name in rows if name != one.name]
        groups = np.repeat(rest, [len(rows[name][0]) for name in rest])
        x, y = (np.concatenate([rows[name][side] for name in rest]) for side in (0, 1))
        fitted = fit_map(x, y, _LAMBDAS, min(5, len(rest)), groups, center=False, controls=False)
        way.vectors[one.name] = [_through(fitted, one, layers)]
    return [way]


def fitted(
    corpus: str, read: Mapping[Layers, Columns], personas: Sequence[Contrast], texts: int, main: Layers
) -> list[Way]:
    """At the main layers maps of the first `texts` texts by every means and by ridge of all texts, at the others by ridge."""
    ways = []

    def add(way: str, layers: Layers, *drawn: LinearMap) -> None:
        vectors = {one.name: [_through(each, one, layers) for each in drawn] for one in personas}
        ways.append(Way(corpus, way, layers, vectors))

    for layers, columns in read.items():
        first = columns[2] < texts
        x, y, groups = (each[first] for each in columns)
        ridge = fit_map(x, y, _LAMBDAS, groups=groups, controls=False)
        add("ridge", layers, ridge)
        if layers != main:
            continue
        gram = gather([(x, y, groups)], has_shuffled=False)
        add("procrustes", layers, procrustes(gram))
        add("procrustes, whitened", layers, procrustes(gram, whitened=True))
        more = fit_map(*columns[:2], _LAMBDAS, groups=columns[2], controls=False)
        add("ridge, all texts", layers, more)
        if corpus == "mixed":
            penalty = [ridge.best_lambda or 0.0]
            # Every x with the y of some part of the corpus on.
            steps = [len(y) * (draw + 1) // (DRAWS + 1) for draw in range(DRAWS)]
            turned = [np.roll(y, step, axis=0) for step in steps]
            add("shuffled", layers, *(fit_map(x, one, penalty, groups=groups, controls=False) for one in turned))
    return ways


def _through(fitted: LinearMap, one: Contrast, layers: Layers) -> Tensor:
    return (one.directions[layers[0]].vector.double() @ fitted.weight.double()).float()
