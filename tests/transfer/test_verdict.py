"""Efficacy and choice from responses that are made up, and the four readings."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from personascope.transfer.evaluation import Evaluation, likert
from personascope.transfer.grid import Row
from personascope.transfer.maps import Setting
from personascope.transfer.markdown import between
from personascope.transfer.summary import Summary
from personascope.transfer.verdict import Outcome, outcome_of, verdict, verdict_of

AT = Setting(1, 2, 50)
PROMPTS = tuple(f"What is {thing}?" for thing in ("rain", "tea", "bread", "snow"))


def outcome(method: str, trait: float, coherence: float = 4.5, collapse: float = 0.0, efficacy: float | None = None):
    return Outcome(method, trait, coherence, collapse, efficacy)


@pytest.mark.parametrize(
    ("mapped", "oracle", "reading", "criteria"),
    [
        (outcome("ridge_mapped", 4.4, efficacy=0.97), outcome("oracle", 4.5), "shared", "strong"),
        (outcome("ridge_mapped", 3.0, efficacy=0.6), outcome("oracle", 4.5), "partial", "minimum"),
        (outcome("ridge_mapped", 3.0, 3.4, efficacy=0.6), outcome("oracle", 4.5), "not linear", "none"),
        (outcome("ridge_mapped", 1.1, efficacy=0.1), outcome("oracle", 4.5), "not linear", "none"),
        (outcome("ridge_mapped", 4.4, collapse=0.3, efficacy=1.0), outcome("oracle", 4.5), "not linear", "none"),
        (outcome("ridge_mapped", 4.4, collapse=0.2, efficacy=1.0), outcome("oracle", 4.5), "shared", "minimum"),
        (outcome("ridge_mapped", 1.0), outcome("oracle", 1.2), "steering fails", "none"),
        (outcome("ridge_mapped", 1.0), outcome("oracle", 4.5, 2.0), "steering fails", "none"),
        (outcome("ridge_mapped", 4.4), None, "not compared", "strong"),
        (None, None, "not judged", None),
    ],
)
def test_readings(mapped: Outcome, oracle: Outcome, reading: str, criteria: str | None) -> None:
    found = verdict_of(mapped, oracle, None)
    assert (found.reading, found.criteria) == (reading, criteria)
    assert found.sentence


def test_what_needs_no_map_is_remarked_on() -> None:
    mapped, oracle = outcome("ridge_mapped", 4.4, efficacy=0.9), outcome("oracle", 4.5)
    naive = outcome("zero_pad", 4.4, efficacy=0.95)
    assert "zero_pad does as well without a map" in verdict_of(mapped, oracle, None, [naive]).remarks[0]
    assert "zero_pad" not in str(verdict_of(mapped, oracle, None, [outcome("zero_pad", 4.4, 2.0, efficacy=0.95)]))
    assert "zero_pad" not in str(verdict_of(mapped, oracle, None, [outcome("zero_pad", 4.4, collapse=0.5, efficacy=1)]))
    unknown = outcome("ridge_mapped", 4.4), outcome("zero_pad", 4.4)
    assert not verdict_of(unknown[0], oracle, None, [unknown[1]]).remarks
    there, same = outcome("baseline", 4.4), outcome("random", 4.4, efficacy=0.95)
    assert "random" not in str(verdict_of(mapped, oracle, there, (), [same]).remarks), "it raises nothing"
    hazy = outcome("oracle", 4.5, 2.0)
    assert verdict_of(mapped, hazy, None).reading == "not compared", "an incoherent oracle is nothing to compare with"
    for control in ("random", "shuffled", "wrong_persona"):
        found = verdict_of(mapped, oracle, None, (), [outcome(control, 4.4, efficacy=0.9)])
        assert found.remarks[0].startswith(f"{control} does as well and carries something else")
    assert "without any steering" in verdict_of(mapped, oracle, outcome("baseline", 3.0)).remarks[0]


def test_scores_of_a_hundred_stand_on_the_scale_of_five() -> None:
    assert [likert(value) for value in (0, 62.5, 100)] == [1, 3.5, 5]


def made(
    scores: Mapping[tuple[str, float], tuple[float | None, float]], persona: str = "evil", gain: float = 1.0
) -> list[Evaluation]:
    """Responses to four prompts in both parts; every prompt a little above the one before, by `gain` for each."""
    return [
        Evaluation(
            Row(None if method == "baseline" else persona, method, alpha, part, prompt, 0, AT),  # type: ignore[arg-type]
            persona,
            "text",
            "end",
            9,
            None if trait is None else trait + gain * place,
            coherence,
            8.0,
            0.0,
            None if trait is None else (trait + place) / 100,
            coherence / 100,
        )
        for (method, alpha), (trait, coherence) in scores.items()
        for part in ("development", "test")
        for place, prompt in enumerate(PROMPTS)
    ]


SCORES = {
    ("baseline", 0.0): (10.0, 100.0),
    ("oracle", 1.0): (40.0, 95.0),
    ("oracle", 2.0): (80.0, 80.0),
    ("oracle", 3.0): (95.0, 30.0),
    ("ridge_mapped", 1.0): (20.0, 95.0),
    ("ridge_mapped", 2.0): (66.0, 90.0),
    ("ridge_mapped", 3.0): (90.0, 10.0),
    ("zero_pad", 1.0): (10.0, 50.0),
    ("zero_pad", 2.0): (11.0, 20.0),
}


def test_the_strongest_coherent_dose_is_chosen_and_efficacy_is_its_formula() -> None:
    summary = Summary(made(SCORES), ("evil",), AT)
    assert summary.chosen["evil", "oracle"] == 2.0 == summary.chosen["evil", "ridge_mapped"]
    assert summary.chosen["evil", "zero_pad"] == 1.0, "the most coherent where none is coherent enough"
    found = summary.efficacy("ridge_mapped")
    assert found["estimate"] == pytest.approx((66 - 10) / (80 - 10))
    assert found["low"] == pytest.approx(found["estimate"]) == found["high"], "all prompts gain the same"
    assert summary.efficacy("zero_pad")["estimate"] == pytest.approx(0.0)
    truth = summary.truth()
    assert truth is not None and truth["alphas"] == {"evil": 2.0}
    assert truth["spread"]["ridge_mapped"]["median"] == pytest.approx(0.8)
    assert verdict(summary).reading == "partial"
    tests = {(one["method"], one["against"]): one for one in summary.tests()}
    assert tests["ridge_mapped", "baseline"]["difference"] == pytest.approx(56)
    assert all(one["corrected"] >= one["p"] for one in tests.values())


def test_over_personas_it_is_a_ratio_of_sums() -> None:
    weak = {**SCORES, ("oracle", 2.0): (20.0, 80.0), ("oracle", 1.0): (15.0, 95.0), ("ridge_mapped", 2.0): (20.0, 90.0)}
    summary = Summary([*made(SCORES), *made(weak, "pirate")], ("evil", "pirate"), AT)
    assert summary.efficacy("ridge_mapped")["estimate"] == pytest.approx((56 + 10) / (70 + 10))
    assert summary.efficacy("ridge_mapped", ["pirate"])["estimate"] == pytest.approx(1.0)


def test_an_oracle_that_moves_nothing_has_no_efficacy() -> None:
    still = {**SCORES, **{("oracle", alpha): (10.0, 95.0) for alpha in (1.0, 2.0, 3.0)}}
    assert Summary(made(still), ("evil",), AT).efficacy("ridge_mapped")["estimate"] is None


def test_without_a_judge_nothing_is_chosen() -> None:
    blind = [
        Evaluation(one.row, one.persona, one.text, one.finish, one.tokens, None, None, 8.0, 0.0) for one in made(SCORES)
    ]
    summary = Summary(blind, ("evil",), AT)
    assert set(summary.chosen.values()) == {None}
    assert outcome_of(summary, "oracle") is None and verdict(summary).reading == "not judged"
    assert summary.describe()["truth"] is None


def test_too_few_prompts_and_too_small_doses_are_remarked_on() -> None:
    found = verdict(Summary(made(SCORES), ("evil",), AT))
    few, *others = found.remarks
    assert few.startswith("4 test prompts are few") and "than 8" in few and not others
    assert found.sentence.startswith("As far as 4 test prompts can tell, which is not far: The mapped vector works")
    # Five comparisons: 2 / 2⁸ times five is below 0.05, and 2 / 2⁷ times five is not.
    more = [
        replace(one, row=replace(one.row, prompt=f"{one.row.prompt} {copy}")) for copy in "ab" for one in made(SCORES)
    ]
    assert not verdict(Summary(more, ("evil",), AT)).remarks
    gentle = {key: (trait, 95.0) for key, (trait, _) in SCORES.items()}
    assert "For evil the oracle's α is the largest" in verdict(Summary(made(gentle), ("evil",), AT)).remarks[-1]


def test_without_the_oracle_the_criteria_are_still_judged() -> None:
    alone = {key: scores for key, scores in SCORES.items() if key[0] != "oracle"}
    found = verdict(Summary(made(alone), ("evil",), AT))
    assert (found.reading, found.criteria) == ("not compared", "strong")
    rest = {key: scores for key, scores in alone.items() if key[0] != "ridge_mapped"}
    assert verdict(Summary(made(rest), ("evil",), AT)).criteria is None


def test_a_dose_that_is_never_coherent_is_said_to_be_so() -> None:
    found = Summary(made(SCORES), ("evil",), AT)
    assert found.efficacy("ridge_mapped")["incoherent"] == []
    assert "matched coherence" not in " ".join(verdict(found).remarks)
    assert found.efficacy("zero_pad")["incoherent"] == ["evil"]
    for method in ("ridge_mapped", "oracle"):
        broken = SCORES | {(method, alpha): (80.0, 30.0 - alpha) for alpha in (1.0, 2.0, 3.0)}
        found = Summary([*made(broken), *made(SCORES, "pirate")], ("evil", "pirate"), AT)
        assert found.efficacy("ridge_mapped")["incoherent"] == ["evil"]
        assert "not at matched coherence for evil" in verdict(found).remarks[-1]
        assert [between(found.efficacy("ridge_mapped", [one]))[-1] for one in found.personas] == ["†", "]"]
        assert not verdict(found, ["pirate"]).remarks


def test_a_persona_that_nobody_could_tell_counts_for_nothing() -> None:
    untold = made({key: (None, coherence) for key, (_, coherence) in SCORES.items()}, "sycophantic")
    alone, both = Summary(made(SCORES), ("evil",), AT), Summary([*made(SCORES), *untold], ("evil", "sycophantic"), AT)
    assert verdict(both, ["sycophantic"]).reading == "not judged"
    assert outcome_of(both, "oracle", ["sycophantic"]) is None
    assert outcome_of(both, "oracle") == outcome_of(alone, "oracle")
    assert both.efficacy("ridge_mapped") == alone.efficacy("ridge_mapped")
    assert verdict(both).reading == verdict(alone).reading == "partial"
    assert "leaves out sycophantic" in verdict(both).remarks[-1]
    rows = {(one["persona"], one["method"], one["alpha"], one["part"]): one for one in both.table()}
    assert [rows[name, "oracle", 2.0, "test"]["told"] for name in ("evil", "sycophantic")] == [4, 0]


def test_few_that_could_be_told_are_no_verdict() -> None:
    found = made(SCORES)
    for told, reading in ((2, "partial"), (1, "not judged")):
        some = [one if one.row.prompt in PROMPTS[:told] else replace(one, trait=None) for one in found]
        assert verdict(Summary(some, ("evil",), AT)).reading == reading


@pytest.mark.parametrize("method", ["oracle", "ridge_mapped"])
def test_without_what_is_compared_there_is_no_verdict(method: str) -> None:
    kept = [one for one in made(SCORES) if one.row.method != method]
    found = verdict(Summary(kept, ("evil",), AT))
    assert found.reading == "not compared" and "add both to methods" in found.sentence


def test_an_oracle_that_hardly_raises_the_trait_gives_no_interval() -> None:
    """All gain 3 times what the oracle gains, prompt by prompt: wherever there is a ratio it is 3."""
    gains = {"baseline": 0.0, "oracle": 1.0, "ridge_mapped": 3.0}
    for start, has_interval in ((-1.3, False), (-0.8, True)):
        rows = [
            one
            for method, gain in gains.items()
            for one in made({(method, float(method != "baseline")): (10.0 + start * gain, 90.0)}, gain=gain)
        ]
        found = Summary(rows, ("evil",), AT).efficacy("ridge_mapped")
        assert found["estimate"] == pytest.approx(3)
        assert (found["low"] is None, found["high"] is None) == (not has_interval, not has_interval)
        assert not has_interval or found["low"] == pytest.approx(3) == found["high"]


@pytest.mark.parametrize(
    ("mapped", "oracle", "baseline", "reading"),
    [
        (2.6, 2.55, 3.4, "steering fails"),
        (3.0, 3.0, 3.0, "steering fails"),
        (3.0, 4.0, 3.2, "not linear"),
        (3.4, 3.0, 3.2, "not compared"),
        (2.6, 2.4, 2.0, "not compared"),
        (3.9, 4.0, 3.2, "partial"),
        (4.0, 4.0, 3.2, "shared"),
    ],
)
def test_a_trait_that_is_there_without_steering_is_no_one_s_work(
    mapped: float, oracle: float, baseline: float, reading: str
) -> None:
    found = verdict_of(outcome("ridge_mapped", mapped), outcome("oracle", oracle), outcome("baseline", baseline))
    assert found.reading == reading
    assert reading != "not compared" or "does not surely raise the trait" in found.sentence


def test_an_oracle_must_surely_raise_the_trait() -> None:
    """A judge that always says the same, and one whose scores of the oracle scatter about the baseline's."""
    constant = dict.fromkeys(SCORES, (60.0, 90.0))
    assert verdict(Summary(made(constant, gain=0.0), ("evil",), AT)).reading == "steering fails"
    found = made({**SCORES, ("ridge_mapped", 2.0): (80.0, 90.0)})
    assert verdict(Summary(found, ("evil",), AT)).reading == "shared"
    unsure = [
        replace(one, trait=(one.trait or 0) + (-90, 90, 0, 1)[PROMPTS.index(one.row.prompt)])
        if one.row.method == "baseline" and one.row.part == "test"
        else replace(one, trait=11.0 + PROMPTS.index(one.row.prompt))
        if one.row.method == "oracle"
        else one
        for one in found
    ]
    summary = Summary(unsure, ("evil",), AT)
    assert (summary.is_raised("oracle"), summary.is_raised("zero_pad")) == (False, False)
    assert verdict(summary).reading in ("not compared", "steering fails")


def test_a_method_without_a_vector_is_not_said_to_be_missing_from_methods() -> None:
    asked = ("ridge_mapped", "oracle")
    for lost, criteria in ((asked, None), (("oracle",), "strong"), (("ridge_mapped",), None)):
        kept = [one for one in made(SCORES) if one.row.method not in lost]
        found = verdict(Summary([*kept, *made(SCORES, "pirate")], ("evil", "pirate"), AT), ["evil"], asked)
        assert (found.reading, found.criteria) == ("not compared", criteria)
        assert f"{' and '.join(lost)} came out without a vector" in found.sentence
        assert "add both" not in found.sentence
