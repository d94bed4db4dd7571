"""Whether the recommended layers and doses are near the best there are, found by brute force on other questions."""

from collections.abc import Sequence
from dataclasses import dataclass

from personascope.directions import DirectionSet
from personascope.errors import UserError
from personascope.extraction.steering import ALPHAS, Dose, dose_response, trials_for
from personascope.judging import judge_for
from personascope.personas import load_persona
from personascope.subject import Subject

# Answers to each question when the two doses that are compared are measured again.
_AGAIN = 8


@dataclass(frozen=True)
class Recommended:
    """A persona's recommendation beside the best of all layers and doses. value: trait × coherence / 100, 0–100, on
    questions that neither was chosen on. read: single-token AUROC at the layer to read at, and the best of any layer,
    on the report split."""

    persona: str
    layer: int
    alpha: float
    value: float
    best_layer: int
    best_alpha: float
    best_value: float
    read: float
    best_read: float

    @property
    def reached(self) -> float:
        """The share of the best value that the recommendation has."""
        return self.value / self.best_value if self.best_value > 0 else 1.0

    @property
    def read_reached(self) -> float:
        """The same of what the best layer's AUROC is above chance."""
        return (self.read - 0.5) / (self.best_read - 0.5) if self.best_read > 0.5 else 1.0


def check_recommendation(
    subject: Subject,
    directions: Sequence[DirectionSet],
    questions: Sequence[str],
    alphas: Sequence[float] = ALPHAS,
    max_new_tokens: int = 130,
    seed: int = 0,
) -> list[Recommended]:
    """Try every layer and α on questions that were not used to choose. The grid holds the recommended doses too.

    The winner of many noisy doses is flattered by its noise, so it is measured again with another seed, as the
    recommended one is.
    """
    judge = judge_for(subject, "auto")
    if judge is None:
        raise UserError("every dose can be tried only where a judge costs nothing; use an organism")
    grids = [
        trials_for(load_persona(one.name), one, one.layers, sorted({*alphas, one.choices["alpha"]}), questions)[1:]
        for one in directions
    ]
    doses = iter(
        dose_response(subject, [t for grid in grids for t in grid], judge, max_new_tokens=max_new_tokens, seed=seed)
    )
    tried = [[next(doses) for _ in grid] for grid in grids]
    best = [max(one, key=_value) for one in tried]
    again = []
    for one, grid, dose in zip(directions, grids, best, strict=True):
        wanted = {(dose.layer, dose.alpha), (one.steer_layer, one.choices["alpha"])}
        again += [trial for trial in grid if (trial.direction.layer, trial.alpha) in wanted]
    fresh = {
        (dose.persona, dose.layer, dose.alpha): _value(dose)
        for dose in dose_response(subject, again, judge, samples=_AGAIN, max_new_tokens=max_new_tokens, seed=seed + 1)
    }
    found = []
    for one, dose in zip(directions, best, strict=True):
        areas = {layer: figures["token_auroc"] for layer, figures in one.quality.items()}
        found.append(
            Recommended(
                one.name,
                one.steer_layer,
                one.choices["alpha"],
                fresh[one.name, one.steer_layer, one.choices["alpha"]],
                dose.layer,
                dose.alpha,
                fresh[one.name, dose.layer, dose.alpha],
                areas[one.best_layer],
                max(areas.values()),
            )
        )
    return found


def _value(dose: Dose) -> float:
    return dose.trait * dose.coherence / 100
