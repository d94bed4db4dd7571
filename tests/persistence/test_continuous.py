"""Continuous sampling: paired arms, two caches, and personas that stay as long as they were planted to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import personascope as ps
from personascope.engine.cells import Cells
from personascope.extraction.extract import extract_all
from personascope.persistence import Persistence, persistence
from personascope.persistence.crossing import cross
from personascope.persistence.pairing import Pairing
from personascope.personas import load_persona
from personascope.runs import Config, RunFolder
from personascope.statistics import Interval
from personascope.subject import Subject

PROMPTS = [
    "What is tea?",
    "Who walks there?",
    "Tell me about rain.",
    "How do I bake bread?",
    "Why do cats sleep?",
    "Hello",
]


@pytest.fixture(scope="module")
def directions(llama: Subject) -> dict[str, ps.DirectionSet]:
    found = extract_all(llama, ["evil", "detective"], samples=1, questions=8, alphas=())
    return {one.name: one for one in found}


@pytest.fixture(scope="module")
def curve(llama: Subject, directions: dict[str, ps.DirectionSet]) -> Persistence:
    steered = [directions["evil"][3], directions["detective"][3]]
    return persistence(llama, steered, PROMPTS, n_steer=32, n_sample=200, cache="both", samples=2)


def test_a_sticky_persona_stays_longer_than_one_that_is_not(curve: Persistence) -> None:
    """Planted: evil keeps the next sentence with .95, detective with .3."""
    assert curve.half_life["evil@3"] > 3 * curve.half_life["detective@3"]
    assert curve.ranking()[0][0] == "evil@3"
    assert curve.projections["evil@3"].shape == curve.baseline["evil@3"].shape == (12, 200)


def test_arms_are_paired_and_all_there(curve: Persistence, llama: Subject) -> None:
    kinds = {(arm.kind, arm.direction, arm.cache) for arm in curve.arms}
    for key in ("evil@3", "detective@3"):
        for kind in ("random", "prompted", "steered"):
            assert (kind, key, "natural") in kinds
        for kind in ("random", "steered"):
            assert (kind, key, "carried") in kinds
    natural, carried = (curve.arm("steered", "evil@3", cache) for cache in ("natural", "carried"))
    assert natural.steered == carried.steered, "the caches go on from the same text"
    unsteered = persistence(
        llama, [ps.Direction(torch.ones(llama.hidden_size), 3, "ones")], PROMPTS[:2], alpha=0.0, n_steer=32, n_sample=96
    )
    # Rows of no steering are the same whatever they stand beside, and α = 0 is no steering.
    still, zero = unsteered.arm("baseline"), unsteered.arm("steered", "ones@3")
    assert still.after == zero.after
    np.testing.assert_allclose(zero.projections["ones@3"], still.projections["ones@3"], atol=2e-3)


def test_a_random_direction_leaves_no_persona_and_a_prompt_does(curve: Persistence) -> None:
    steered = np.nanmean(curve.lifted(curve.arm("steered", "evil@3"), "evil@3"))
    random = np.nanmean(curve.lifted(curve.arm("random", "evil@3"), "evil@3"))
    prompted = np.nanmean(curve.lifted(curve.arm("prompted", "evil@3"), "evil@3"))
    assert steered > 3 * abs(random)
    assert prompted > 0


def test_results_are_plain_and_say_what_loops(curve: Persistence) -> None:
    plain = curve.describe()
    assert plain["rows"] == 12
    assert {one["direction"] for one in plain["ranking"]} <= {"evil@3", "detective@3"}
    arm = next(one for one in plain["arms"] if one["kind"] == "steered" and one["direction"] == "evil@3")
    curve_of = arm["curves"]["evil@3"]
    assert len(curve_of["mean"]) == 200 and all(
        low <= mean <= high for low, mean, high in zip(curve_of["low"], curve_of["mean"], curve_of["high"], strict=True)
    )


def test_rows_that_loop_are_left_out(curve: Persistence) -> None:
    looping = curve.arm("steered", "evil@3")
    before = looping.loops.copy()
    looping.loops[:] = True
    try:
        assert np.isnan(curve.lifted(looping, "evil@3")).all()
        assert "evil@3" not in [key for key, _ in curve.ranking()]
    finally:
        looping.loops[:] = before


def test_a_dose_that_breaks_the_model_costs_only_its_own_arms(llama: Subject) -> None:
    """Rows that fail while they are steered are said to; the others are whole, and so are the results."""
    good = ps.Direction(torch.randn(llama.hidden_size, generator=torch.Generator().manual_seed(0)), 3, "good")
    found = persistence(llama, [good, good.named("huge")], PROMPTS[:2], {"good@3": 0.5, "huge@3": 3e38}, 4, 16)
    assert all(found.arm("steered", "huge@3").errors) and not any(found.arm("steered", "good@3").errors)
    assert not found.arm("steered", "huge@3").loops.any(), "what failed is no loop"
    assert found.decay("huge@3").verdict == "loops" and np.isnan(found.half_life["huge@3"])
    assert "huge@3" not in [key for key, _ in found.ranking()]
    assert {arm.projections["good@3"].shape for arm in found.arms} == {(2, 16)}
    assert found.describe()["rows"] == 2
    with pytest.raises(ps.UserError, match="steer less"):
        cross(llama, good, PROMPTS[:2], alpha=3e38, n_steer=4, n_sample=8)


def test_a_value_that_cannot_be_read_fails_its_row_alone(
    llama: Subject, directions: dict[str, ps.DirectionSet]
) -> None:
    """The model goes on where a stream is too large to be measured; a row without its projections is no row."""
    evil = directions["evil"]
    huge = evil[2].named("huge")
    found = persistence(
        llama,
        [evil[2], huge],
        PROMPTS[:2],
        {"evil@2": 1.0, "huge@2": 1e20},
        4,
        16,
        "both",
        watch=list(evil),
        controls=(),
    )
    assert all("not finite" in (error or "") for error in found.arm("steered", "huge@2", "carried").errors)
    assert not any(found.arm("steered", "evil@2", "carried").errors)
    assert found.verdicts()[-1]["left_out"] == "rows loop or failed"
    with pytest.raises(ps.UserError, match="2 rows failed"):
        cross(llama, huge, PROMPTS[:2], alpha=1e20, n_steer=4, n_sample=8, watch=list(evil))


def test_a_row_that_fails_is_left_out_of_the_crossing(
    llama: Subject, directions: dict[str, ps.DirectionSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cross(llama, directions["evil"][3], PROMPTS[:3], n_steer=4, n_sample=8)
    real = Pairing.run

    def broken(self: Pairing, arms: dict, what: str, *rest: object) -> dict:
        found = real(self, arms, what, *rest)  # type: ignore[arg-type]
        if what == "four arms":
            arm = found["forced", "steered", "clean"]
            arm[1] = replace(arm[1], error="not finite", projections={})
        return found

    monkeypatch.setattr(Pairing, "run", broken)
    found = cross(llama, directions["evil"][3], PROMPTS[:3], n_steer=4, n_sample=8)
    assert found.errors == (None, "not finite", None) and found.describe()["failed"] == 1
    for arms, others in ((found.forced, whole.forced), (found.sampled, whole.sampled)):
        for name, held in arms.items():
            assert np.isnan(held["evil@3"][1]).all()
            np.testing.assert_allclose(held["evil@3"][::2], others[name]["evil@3"][::2], atol=1e-4)
    assert np.isfinite(found.effect("text", "evil@3")).all()


def test_a_steered_prompt_is_in_the_crossed_caches(llama: Subject, directions: dict[str, ps.DirectionSet]) -> None:
    evil = directions["evil"]
    some = {"alpha": 1.0, "n_steer": 4, "n_sample": 8, "watch": list(evil)}
    without, found = (cross(llama, evil[2], PROMPTS[:2], steer_prompt=also, **some) for also in (False, True))  # type: ignore[arg-type]
    for layer in evil.layers:
        warm, clean = (found.forced["baseline", cache][f"evil@{layer}"] for cache in ("steered", "clean"))
        if layer <= 2:
            np.testing.assert_allclose(warm, clean, atol=2e-3)
        else:
            assert abs(warm - without.forced["baseline", "steered"][f"evil@{layer}"]).max() > 0.1


def test_the_prompted_control_is_run_or_refused(llama: Subject, directions: dict[str, ps.DirectionSet]) -> None:
    mine = directions["evil"][3].named("mine")
    few = {"n_steer": 4, "n_sample": 8}
    found = persistence(llama, [mine], PROMPTS[:2], **few)  # type: ignore[arg-type]
    assert found.verdicts()[0]["controls"] == ["random"]
    with pytest.raises(ps.UserError, match="'mine' is no shipped persona"):
        persistence(llama, [mine], PROMPTS[:2], controls=("prompted",), **few)  # type: ignore[arg-type]
    with pytest.raises(ps.UserError, match="none without a chat template"):
        persistence(llama, [directions["evil"][3]], PROMPTS[:2], controls=("prompted",), chat=False, **few)  # type: ignore[arg-type]
    own = load_persona("evil").model_copy(update={"name": "mine"})
    found = persistence(llama, [mine], PROMPTS[:2], controls=("prompted",), personas={"mine": own}, **few)  # type: ignore[arg-type]
    assert found.verdicts()[0]["controls"] == ["prompted"]


def test_of_few_prompts_what_was_not_seen_to_fall_is_not_first(curve: Persistence) -> None:
    decays = {key: curve.decay(key) for key in curve.alphas}
    flat = replace(decays["detective@3"], verdict="does not decay", half_life=Interval(np.inf, np.inf, np.inf))
    falls = replace(decays["evil@3"], verdict="decays", half_life=Interval(50.0, 40.0, 60.0))
    for prompts, first in ((3, "evil@3"), (6, "detective@3")):
        found = replace(curve, units=tuple(row % prompts for row in range(len(curve.units))))
        found._decays.update(
            {
                ("steered", key, found.arm("steered", key).cache, key): one
                for key, one in (("evil@3", falls), ("detective@3", flat))
            }
        )
        assert found.ranking()[0][0] == first


def test_a_negative_dose_has_a_lift_of_its_own(llama: Subject, directions: dict[str, ps.DirectionSet]) -> None:
    evil = directions["evil"][3]
    found = persistence(llama, [evil], PROMPTS[:3], -1.5, 16, 24, controls=(), samples=2, steer_prompt=True)
    lifted = found.lifted(found.arm("steered", "evil@3"), "evil@3")
    down = found.arm("baseline").projections["evil@3"] - found.arm("steered", "evil@3").projections["evil@3"]
    np.testing.assert_allclose(lifted, down)


def test_one_prompt_says_nothing_of_others(llama: Subject, directions: dict[str, ps.DirectionSet]) -> None:
    found = persistence(llama, [directions["evil"][3]], "What is tea?", 1.0, 16, 24, controls=(), samples=4)
    assert found.decay("evil@3").verdict == "one prompt" and np.isnan(found.decay("evil@3").half_life.low)
    assert found.ranking() == [] and found.describe()["ranking"] == []
    assert found.verdicts()[0]["left_out"] == "one prompt"
    shown = found.describe()["arms"][-1]["curves"]["evil@3"]
    assert len(shown["mean"]) == 24 and shown["low"] is None and shown["high"] is None, "a band of no width is none"


def test_text_and_cache_are_told_apart_above_the_layer_only(
    llama: Subject, directions: dict[str, ps.DirectionSet]
) -> None:
    evil = directions["evil"]
    found = cross(llama, evil[2], PROMPTS, alpha=1.5, n_steer=24, n_sample=32, watch=list(evil))
    for layer in evil.layers:
        for text in ("steered", "baseline"):
            warm, clean = (found.forced[text, cache][f"evil@{layer}"] for cache in ("steered", "clean"))
            if layer <= 2:
                np.testing.assert_allclose(warm, clean, atol=2e-3)
            else:
                assert abs(warm - clean).max() > 0.1
    assert found.effect("text", "evil@5").low > 0
    assert abs(found.effect("cache", "evil@1").estimate) < 1e-3


def test_an_interrupted_run_goes_on_where_it_stopped(
    llama: Subject, directions: dict[str, ps.DirectionSet], tmp_path: Path
) -> None:
    folder = RunFolder.open(tmp_path / "r", "persist", Config({}), llama.describe(), 0)
    cells = Cells(folder.path, folder.journal, {})
    settings = {"n_steer": 8, "n_sample": 16, "cells": cells}
    first = persistence(llama, [directions["evil"][3]], PROMPTS[:2], **settings)  # type: ignore[arg-type]
    count = len(folder.journal)
    again = persistence(llama, [directions["evil"][3]], PROMPTS[:2], **settings)  # type: ignore[arg-type]
    # Two prompts: both phases of no steering, of steering, of a random direction and of a system prompt; arms whose texts
    # came out alike go on as one row.
    assert len(folder.journal) == count and 2 * 5 <= count <= 2 * 8
    np.testing.assert_allclose(first.projections["evil@3"], again.projections["evil@3"], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 0}, "samples=0 must be 1"),
        ({"alpha": float("nan")}, "alpha"),
        ({"n_sample": 0}, "n_sample=0 must be 8 or more"),
        ({"n_steer": 0}, "n_steer=0 must be 1"),
        ({"cache": "warm"}, "use 'natural', 'carried' or 'both'"),
        ({"controls": ("placebo",)}, "'placebo' is not known"),
        ({"n_sample": 100_000}, "ask for fewer"),
        ({"alpha": {"good@3": 1.0}}, "alpha says nothing of 'evil@3'"),
    ],
)
def test_what_cannot_be_asked_is_said(
    llama: Subject, directions: dict[str, ps.DirectionSet], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ps.UserError, match=said):
        persistence(llama, [directions["evil"][3]], PROMPTS, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (" ", "prompt 1 is empty"),
        ([{"role": "user", "content": ""}], "prompt 1: message 0 is empty"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "prompt 1 does not end on a user turn",
        ),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(llama: Subject, prompt: object, said: str) -> None:
    with pytest.raises(ps.UserError, match=said):
        persistence(llama, [ps.Direction(torch.ones(llama.hidden_size), 3, "ones")], ["Hello", prompt])  # type: ignore[list-item]


def test_what_cannot_be_crossed_is_said(llama: Subject) -> None:
    good = ps.Direction(torch.ones(llama.hidden_size), 3, "good")
    with pytest.raises(ps.UserError, match="ask for fewer"):
        cross(llama, good, PROMPTS, n_sample=100_000)
    with pytest.raises(ps.UserError, match="n_steer=0"):
        cross(llama, good, PROMPTS, n_steer=0)
    with pytest.raises(ps.PersonascopeError, match="narrow"):
        cross(llama, good, PROMPTS, watch=[ps.Direction(torch.ones(7), 3, "narrow")])


def test_the_package_and_the_job_have_one_name(llama: Subject) -> None:
    import personascope.persistence.decay as decay

    assert decay.fit_decay is ps.persistence.fit_decay  # type: ignore[attr-defined]
    assert isinstance(
        ps.persistence(llama, [ps.Direction(torch.ones(llama.hidden_size), 3, "ones")], "Hello", n_steer=2, n_sample=8),
        Persistence,
    )


def test_a_vector_of_zeros_is_refused(llama: Subject) -> None:
    with pytest.raises(ps.PersonascopeError, match="zero"):
        persistence(llama, [ps.Direction(torch.zeros(llama.hidden_size), 3, "none")], PROMPTS)
