"""How much of what the oracle does another way of carrying a persona does."""

import math
from collections.abc import Sequence

import numpy as np

from personascope.statistics import bootstrap, finite, mean_interval
from personascope.transfer.evaluation import Evaluation
from personascope.transfer.figures import by_prompt


def is_raised(
    method: Sequence[Sequence[Evaluation]], baseline: Sequence[Sequence[Evaluation]], column: str
) -> bool | None:
    """Whether a method raises a column surely above the baseline: the 95 % interval of Σ (method − baseline) over personas
    is above 0, prompts resampled; of a single prompt, the difference is. None where no prompt is told of all."""
    held = [[by_prompt(one, column) for one in each] for each in (method, baseline)]
    shared = [prompt for prompt in held[0][0] if all(prompt in one for each in held for one in each)] if held[0] else []
    if not shared:
        return None
    ours, none = (np.array([[one[prompt] for prompt in shared] for one in each]).sum(axis=0) for each in held)
    found = mean_interval(ours - none, shared)
    return found.estimate > 0 and found.low > 0


def ratio(
    method: Sequence[Sequence[Evaluation]],
    oracle: Sequence[Sequence[Evaluation]],
    baseline: Sequence[Sequence[Evaluation]],
    column: str,
) -> dict[str, float | None]:
    """Σ (method − baseline) / Σ (oracle − baseline) over personas, of each persona's responses; prompts are resampled.

    None where the oracle raises nothing, bounds also where it does not in more than a fifth of the resamples; the others
    of those are left out.
    """
    held = [[by_prompt(one, column) for one in each] for each in (method, oracle, baseline)]
    shared = [prompt for prompt in held[0][0] if all(prompt in one for each in held for one in each)] if held[0] else []
    nothing: dict[str, float | None] = {"estimate": None, "low": None, "high": None}
    if not shared:
        return nothing
    ours, theirs, none = (np.array([[one[prompt] for prompt in shared] for one in each]) for each in held)

    def raised(chosen: np.ndarray) -> tuple[float, float]:
        return float((ours - none)[:, chosen].mean(axis=1).sum()), float((theirs - none)[:, chosen].mean(axis=1).sum())

    def statistic(chosen: np.ndarray) -> float:
        by_method, by_oracle = raised(chosen)
        return by_method / by_oracle if by_oracle > 0 else math.nan

    whole = np.arange(len(shared))
    if raised(whole)[1] <= 0:
        return nothing
    if len(shared) < 2:
        return {**nothing, "estimate": statistic(whole)}
    return dict(zip(nothing, finite(bootstrap(shared, statistic)), strict=True))
