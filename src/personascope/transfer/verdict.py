"""What an experiment says: the methodology's success criteria, and which of its four readings holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from personascope.transfer.conditions import NAIVE
from personascope.transfer.evaluation import likert
from personascope.transfer.summary import PRIMARY, Summary, mean

Reading = Literal["shared", "partial", "not linear", "steering fails", "not judged"]

# From this efficacy on the mapped vector does what the oracle does.
EQUAL = 0.9
_SAID: dict[Reading, str] = {
    "shared": "The mapped vector works as the model's own does: persona geometry is shared by the two models.",
    "partial": "The mapped vector works, below the model's own: persona geometry is shared in part.",
    "not linear": "Only the model's own vector works: the persona does not carry over by a linear map fitted on these texts.",
    "steering fails": "Nothing works, the model's own vector included: steering itself fails here, and nothing is said about "
    "transfer.",
    "not judged": "Nobody judged the responses: give a judge to have a verdict.",
}


@dataclass(frozen=True)
class Criteria:
    """Bounds on 1–5 scores and the share of collapsed responses. Source: persona transfer by ridge regression."""

    name: str
    coherence: float
    trait: float
    collapse: float

    def are_met(self, outcome: "Outcome | None") -> bool:
        if outcome is None:
            return False
        is_good = outcome.coherence >= self.coherence and outcome.trait >= self.trait
        return is_good and outcome.collapse < self.collapse


MINIMUM, STRONG = Criteria("minimum", 3.5, 2.5, 0.30), Criteria("strong", 4.0, 3.5, 0.15)


@dataclass(frozen=True)
class Outcome:
    """A method over personas: trait and coherence on 1–5, share of collapsed responses, efficacy where the oracle raises
    the trait."""

    method: str
    trait: float
    coherence: float
    collapse: float
    efficacy: float | None = None


@dataclass(frozen=True)
class Verdict:
    """reading: which of the four holds. criteria: the strictest that the mapped vector meets, `strong`, `minimum` or None.
    remarks: what else a reader should know."""

    reading: Reading
    criteria: str | None
    remarks: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        return _SAID[self.reading]

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "reading": self.reading,
            "sentence": self.sentence,
            "criteria_met": self.criteria,
            "criteria": [vars(one) for one in (MINIMUM, STRONG)],
            "remarks": list(self.remarks),
        }


def outcome_of(summary: Summary, method: str, personas: Sequence[str] | None = None) -> Outcome | None:
    """A method's mean over personas on test prompts, each at its chosen α; None where nobody judged."""
    held = [summary.at_choice(name, method) for name in personas or summary.personas]
    traits = [mean(one, "trait") for one in held]
    coherences = [mean(one, "coherence") for one in held]
    if any(one is None for one in coherences) or not held:
        return None
    return Outcome(
        method,
        likert(float(np.mean([one or 0.0 for one in traits]))),
        likert(float(np.mean([one or 0.0 for one in coherences]))),
        float(np.mean([one.is_collapsed for each in held for one in each])),
        summary.efficacy(method, personas)["estimate"] if method != "baseline" else None,
    )


def verdict_of(
    mapped: Outcome | None, oracle: Outcome | None, baseline: Outcome | None, naive: Sequence[Outcome] = ()
) -> Verdict:
    """The reading of some outcomes. A vector works that meets the minimum; mapped: by ridge."""
    if mapped is None or oracle is None:
        return Verdict("not judged", None)
    met = next((one.name for one in (STRONG, MINIMUM) if one.are_met(mapped)), None)
    remarks = []
    if baseline is not None and MINIMUM.are_met(baseline):
        remarks.append(
            "Responses show the persona without any steering, so that meeting the criteria says little here."
        )
    better = [one for one in naive if (one.efficacy or 0.0) >= (mapped.efficacy or 0.0)]
    if met and better:
        remarks.append(
            f"{better[0].method} does as well without a map, so that the map is not what carries the persona."
        )
    if met is None:
        reading: Reading = "not linear" if MINIMUM.are_met(oracle) else "steering fails"
        return Verdict(reading, None, tuple(remarks))
    is_equal = mapped.trait >= oracle.trait or (mapped.efficacy or 0.0) >= EQUAL
    return Verdict("shared" if is_equal else "partial", met, tuple(remarks))


def verdict(summary: Summary, personas: Sequence[str] | None = None) -> Verdict:
    """The verdict of an experiment, or of some of its personas."""
    return verdict_of(
        outcome_of(summary, PRIMARY, personas),
        outcome_of(summary, "oracle", personas),
        outcome_of(summary, "baseline", personas),
        [found for one in NAIVE if one in summary.methods and (found := outcome_of(summary, one, personas))],
    )
