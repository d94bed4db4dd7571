"""What an experiment says: the methodology's success criteria, and which of its four readings holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from personascope.statistics import least_p
from personascope.transfer.conditions import CONTROLS, NAIVE
from personascope.transfer.evaluation import likert
from personascope.transfer.figures import counts, figures, mean
from personascope.transfer.summary import PRIMARY, Summary

Reading = Literal["shared", "partial", "not linear", "steering fails", "not compared", "not judged"]

_SIGNIFICANT = 0.05
_ORACLE_FAILS = (
    "The mapped vector works and the model's own does not: it misses the minimum, or does not surely raise the trait, so "
    "that there is nothing to hold the mapped one against. Give more test prompts, or other alpha_values."
)
# From this efficacy on the mapped vector does what the oracle does.
EQUAL = 0.9
_SAID: dict[Reading, str] = {
    "shared": "The mapped vector works as the model's own does: persona geometry is shared by the two models.",
    "partial": "The mapped vector works, below the model's own: persona geometry is shared in part.",
    "not linear": "Only the model's own vector works: the persona does not carry over by a linear map fitted on these texts.",
    "steering fails": "Nothing works, the model's own vector included: steering itself fails here, and nothing is said about "
    "transfer.",
    "not compared": "There is no verdict without ridge_mapped and the oracle: add both to methods.",
    "not judged": "Of too few responses it could be told whether they show the persona: give a judge that can tell, or "
    "prompts that leave room for it.",
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
    the trait; how many responses were judged, and of how many the trait could be told. is_raised: whether the trait is
    surely above the baseline's, None where that is not known."""

    method: str
    trait: float
    coherence: float
    collapse: float
    efficacy: float | None = None
    judged: int = 0
    told: int = 0
    is_raised: bool | None = None

    def raises(self, baseline: "Outcome | None") -> bool:
        """Whether it does more than no steering at all: a trait that is there anyway is no one's work."""
        return self.is_raised is not False and (baseline is None or self.trait > baseline.trait)

    def is_as_good(self, other: "Outcome") -> bool:
        """Whether it works, and raises the trait no less than another."""
        if self.efficacy is None or other.efficacy is None:
            return False
        return MINIMUM.are_met(self) and self.efficacy >= other.efficacy


@dataclass(frozen=True)
class Verdict:
    """reading: which of the four holds. criteria: the strictest that the mapped vector meets, `strong`, `minimum` or `none`;
    None where it was not judged. remarks: what else a reader should know. reason: said in place of the reading's own
    sentence, where there is more to say."""

    reading: Reading
    criteria: str | None
    remarks: tuple[str, ...] = ()
    reason: str = ""

    @property
    def sentence(self) -> str:
        return self.reason or _SAID[self.reading]

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
    """A method's mean on test prompts, each persona at its chosen α, over those that were told; None where none was."""
    held = [summary.at_choice(name, method) for name in personas or summary.personas]
    scored = [(mean(one, "trait"), mean(one, "coherence"), figures(one, False)["collapse"]) for one in held if one]
    told = [
        (trait, coherence, lost) for trait, coherence, lost in scored if trait is not None and coherence is not None
    ]
    if not told:
        return None
    traits, coherences, collapses = zip(*told, strict=True)
    return Outcome(
        method,
        likert(float(np.mean(traits))),
        likert(float(np.mean(coherences))),
        float(np.mean(collapses)),
        summary.efficacy(method, personas)["estimate"] if method != "baseline" else None,
        **counts([one for each in held for one in each]),
        is_raised=summary.is_raised(method, personas) if method != "baseline" else None,
    )


def verdict_of(
    mapped: Outcome | None,
    oracle: Outcome | None,
    baseline: Outcome | None,
    naive: Sequence[Outcome] = (),
    controls: Sequence[Outcome] = (),
) -> Verdict:
    """The reading of some outcomes. A vector works that meets the minimum and raises the trait above the baseline; mapped:
    by ridge."""
    if mapped is None:
        return Verdict("not judged", None)
    met = next((one.name for one in (STRONG, MINIMUM) if one.are_met(mapped)), "none")
    remarks = []
    if baseline is not None and MINIMUM.are_met(baseline):
        remarks.append(
            "Responses show the persona without any steering, so that meeting the criteria says little here."
        )
    for kind, why in (
        (naive, "does as well without a map, so that the map is not what carries the persona."),
        (controls, "does as well and carries something else, so that it is not the persona that arrives."),
    ):
        equal = [one.method for one in kind if one.is_as_good(mapped) and one.raises(baseline)]
        if met != "none" and equal:
            remarks.append(f"{equal[0]} {why}")
    if oracle is None:
        return Verdict("not compared", met, tuple(remarks))
    does_steer = MINIMUM.are_met(oracle) and oracle.raises(baseline)
    if met == "none" or not mapped.raises(baseline):
        return Verdict("not linear" if does_steer else "steering fails", met, tuple(remarks))
    if not does_steer:
        return Verdict("not compared", met, tuple(remarks), _ORACLE_FAILS)
    is_equal = mapped.trait >= oracle.trait or (mapped.efficacy is not None and mapped.efficacy >= EQUAL)
    return Verdict("shared" if is_equal else "partial", met, tuple(remarks))


def verdict(summary: Summary, personas: Sequence[str] | None = None, asked: Sequence[str] = ()) -> Verdict:
    """The verdict of an experiment, or of some of its personas: over those of which enough responses could be told. asked:
    the methods that were asked for; one that came out without a vector was not run."""
    names = personas or summary.personas
    lost = [one for one in (PRIMARY, "oracle") if one in asked and not any(summary.alphas(name, one) for name in names)]
    if PRIMARY in lost or PRIMARY not in summary.methods:
        return Verdict("not compared", None, reason=_without(lost))
    needed = [one for one in (PRIMARY, "oracle", "baseline") if one in summary.methods and one not in lost]
    told = [name for name in names if all(summary.is_told(name, one) for one in needed)]
    if not told:
        return Verdict("not judged", None)
    of = {one: outcome for one in summary.methods if (outcome := outcome_of(summary, one, told))}
    naive, controls = ([of[one] for one in kind if one in of] for kind in (NAIVE, CONTROLS))
    found = verdict_of(of[PRIMARY], of.get("oracle"), of.get("baseline"), naive, controls)
    if lost:
        found = replace(found, reason=_without(lost))
    few = () if personas else _too_few(summary)
    if few and found.reading in ("shared", "partial", "not linear"):
        prompts = len(summary.test_prompts)
        found = replace(found, reason=f"As far as {prompts} test prompts can tell, which is not far: {found.sentence}")
    remarks = [*found.remarks, *few, *_at_the_end(summary, told)]
    if untold := [name for name in names if name not in told and summary.alphas(name, PRIMARY)]:
        remarks.append(f"The verdict leaves out {', '.join(untold)}: of too few responses it could be told.")
    if "oracle" in of and (below := summary.efficacy(PRIMARY, told)["incoherent"]):
        remarks.append(
            f"Efficacy is not at matched coherence for {', '.join(below)}: the mapped vector or the oracle stays below "
            f"{MINIMUM.coherence:g} of 5 at every α."
        )
    return replace(found, remarks=tuple(remarks))


def _without(methods: Sequence[str]) -> str:
    """Why there is no verdict where methods that were asked for came out without a vector."""
    if not methods:
        return ""
    return (
        f"There is no verdict: {' and '.join(methods)} came out without a vector. Give texts or personas whose two poles "
        "differ."
    )


def _too_few(summary: Summary) -> list[str]:
    """What so few prompts cannot tell."""
    prompts, comparisons = len(summary.test_prompts), len(summary.comparisons)
    enough = next(count for count in range(2, 100) if least_p(count) * comparisons <= _SIGNIFICANT)
    if prompts >= enough:
        return []
    return [
        f"{prompts} test prompts are few: corrected over {comparisons} comparisons no p comes down to {_SIGNIFICANT:g} with "
        f"fewer than {enough}, and an interval over so few says little. Raise n_test_prompts."
    ]


def _at_the_end(summary: Summary, personas: Sequence[str]) -> list[str]:
    """Where more might have been chosen, had it been tried."""
    tried = {name: summary.alphas(name, "oracle") for name in personas}
    highest = [name for name, each in tried.items() if len(each) > 1 and summary.chosen[name, "oracle"] == each[-1]]
    if not highest:
        return []
    return [f"For {', '.join(highest)} the oracle's α is the largest that was tried: larger alpha_values may do more."]
