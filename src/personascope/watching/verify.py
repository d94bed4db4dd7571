"""Whether the outcome really changed at a decision point: continuations from before and after it, sampled anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import permutation_test

from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import Write
from personascope.errors import UserError
from personascope.subject import Prompt, Subject
from personascope.watching.calibration import Calibration
from personascope.watching.decision_points import DecisionPoint

_PERMUTATIONS = 2_000
# Of three on either side the least p there is, two of twenty orders, is above 0.05.
_FEWEST = 4


@dataclass(frozen=True)
class Verdict:
    """A decision point put to the test.

    outcome: the `name@layer` that moved most there; its mean z over the tokens of a continuation is what is compared.
    before, after: means over N continuations from just before the point, and from some tokens behind it. p: two-sided, by
    permutation; `changed`: whether p survives Holm's correction over the row's points at 0.05.
    """

    token: int
    outcome: str
    before: float
    after: float
    n: int
    p: float
    changed: bool

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self).copy()


def verify(
    subject: Subject,
    prompt: Prompt,
    generation: Generation,
    points: Sequence[DecisionPoint],
    traits: Sequence[DirectionSet],
    calibration: Calibration,
    n: int,
    writes: Sequence[Write] = (),
    kept: int = 12,
    max_new_tokens: int = 40,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    on_done: Callable[[], None] = lambda: None,
    cells: Cells | None = None,
) -> list[Verdict]:
    """Resample `n` continuations before and after each point and compare the outcome.

    Before: what the row says up to the point is kept, and the rest sampled. After: `kept` more tokens are kept too. The
    outcome is measured in the continuations alone, at the layer the trait is read at.
    """
    check_continuations(n)
    by_key = {direction.key: direction for trait in traits for direction in trait}
    requests = []
    for point in points:
        outcome = by_key[next(iter(point.moved))]
        start = point.token - generation.prompt_length
        for side, keep in (("before", start), ("after", min(start + kept, len(generation.response_ids) - 1))):
            for draw in range(n):
                requests.append(
                    Request(
                        prompt=prompt,
                        seed=derive_seed("verify", seed, point.token, side, draw),
                        max_new_tokens=max_new_tokens,
                        sampling=Sampling(temperature),
                        writes=tuple(writes),
                        watch=(outcome,),
                        suppress_eos=True,
                        forced=tuple(generation.response_ids[:keep]),
                    )
                )
    done = iter(run_requests(subject, requests, batch_size, on_done=lambda *_: on_done(), cells=cells))
    asked = iter(requests)
    raw = []
    for point in points:
        key = next(iter(point.moved))
        sides = []
        for _ in ("before", "after"):
            sides.append([_outcome(next(done), next(asked), key, calibration) for _ in range(n)])
        test = permutation_test(
            sides,
            lambda one, other, axis: other.mean(axis=axis) - one.mean(axis=axis),
            n_resamples=_PERMUTATIONS,
            rng=derive_seed("permute", seed, point.token),
        )
        raw.append((point.token, key, float(np.mean(sides[0])), float(np.mean(sides[1])), float(test.pvalue)))
    return [
        Verdict(token, key, before, after, n, p, changed)
        for (token, key, before, after, p), changed in zip(raw, holm([row[4] for row in raw]), strict=True)
    ]


def check_continuations(n: int) -> None:
    """Raises `UserError` on so few continuations that no point can ever be confirmed."""
    if n < _FEWEST:
        raise UserError(f"{n} continuations on either side can confirm nothing; verify with at least {_FEWEST}")


def _outcome(generation: Generation, request: Request, key: str, calibration: Calibration) -> float:
    """Mean z of the sampled tokens."""
    given = len(request.prompt) + len(request.forced)
    return float(calibration.z(key, generation.projections[key], generation.prompt_length)[given:].mean())


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects (Holm, 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
