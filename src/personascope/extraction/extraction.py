"""What an extraction found: directions, how they relate to each other, and the rollouts that show it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from personascope.directions import DirectionSet
from personascope.extraction.given import Given
from personascope.extraction.quality import mean_projections
from personascope.extraction.rollouts import Rollout

_SHOWN = 4


@dataclass(frozen=True)
class Example:
    """A rollout as a report shows it. projection: its mean on the direction, at the layer to read at."""

    pole: str
    split: str
    question: str
    answer: str
    projection: float
    trait: float | None
    coherence: float | None
    kept: bool

    def describe(self) -> dict[str, Any]:
        return vars(self).copy()


@dataclass(frozen=True)
class Relations:
    """How the personas of an extraction relate, layer by layer; rows and columns in the order of `names`.

    cosines[layer]: of every two directions. selectivity[layer]: AUROC of the row's direction between positive rollouts of
    its own persona and of the column's, none of which it was made from; on the diagonal, against its own negative ones.
    A direction that only knows that some persona speaks has 0.5 off the diagonal.
    """

    names: tuple[str, ...]
    cosines: Mapping[int, np.ndarray]
    selectivity: Mapping[int, np.ndarray]

    def describe(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "cosines": {str(layer): table.round(4).tolist() for layer, table in self.cosines.items()},
            "selectivity": {str(layer): table.round(4).tolist() for layer, table in self.selectivity.items()},
        }


@dataclass(frozen=True, eq=False)
class Extraction(Sequence[DirectionSet]):
    """The direction sets of an extraction, in the order they were asked for, as a sequence; and what stands beside them.

    examples: by persona, the rollouts with the highest and the lowest projections of either pole. relations: None for
    a single persona. rollouts: by persona, all that were sampled or given, with their scores; also of personas that gave
    no direction.
    """

    sets: tuple[DirectionSet, ...]
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    relations: Relations | None = None
    rollouts: Mapping[str, Sequence[Given]] = field(default_factory=dict)

    @overload
    def __getitem__(self, index: int) -> DirectionSet: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[DirectionSet, ...]: ...
    def __getitem__(self, index: int | slice) -> DirectionSet | tuple[DirectionSet, ...]:
        return self.sets[index]

    def __len__(self) -> int:
        return len(self.sets)

    def __iter__(self) -> Iterator[DirectionSet]:
        return iter(self.sets)


def examples(
    directions: DirectionSet, rollouts: Sequence[Rollout], kept: Sequence[Rollout], selection: int
) -> list[Example]:
    """The rollouts with the highest and the lowest mean projection of either pole, kept or not; highest first."""
    row = directions.layers.index(directions.best_layer)
    values = mean_projections(directions.vectors[row], rollouts, row, selection)
    kept_ones = {id(one) for one in kept}
    shown: set[int] = set()
    for pole in ("pos", "neg"):
        order = sorted((at for at, one in enumerate(rollouts) if one.cell.pole == pole), key=lambda at: values[at])
        shown |= {*order[:_SHOWN], *order[-_SHOWN:]}
    return [
        Example(
            pole=one.cell.pole,
            split=one.cell.split,
            question=one.cell.question,
            answer=one.answer,
            projection=float(values[at]),
            trait=one.judgement.trait if one.judgement else None,
            coherence=one.judgement.coherence if one.judgement else None,
            kept=id(one) in kept_ones,
        )
        for at in sorted(shown, key=lambda at: -values[at])
        for one in (rollouts[at],)
    ]
