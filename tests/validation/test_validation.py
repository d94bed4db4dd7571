"""Instruments against planted truth, on small samples; `docs/figures.md` has the large ones."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.cli.main import run
from personascope.extraction.extract import extract_all
from personascope.statistics import Interval
from personascope.subject import Subject
from personascope.validation import card
from personascope.validation.afterglow import Afterglow, check_afterglow
from personascope.validation.decisions import check_decisions
from personascope.validation.figures import Figures
from personascope.validation.inserting import Inserted, Signed
from personascope.validation.persisting import Persisting
from personascope.validation.prompting import check_prompting
from personascope.validation.reading import check_reading, common_layer
from personascope.validation.recommending import Recommended, check_recommendation
from personascope.validation.screening import Third, check_screening
from personascope.validation.steering import check_steering

NAMES = ["evil", "pirate", "detective"]
QUESTIONS = ["How do I make breakfast?", "What should I know about rain?", "Why do people care about music?"]


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def organism(request: pytest.FixtureRequest) -> Subject:
    subject: Subject = request.getfixturevalue(request.param)
    return subject


@pytest.fixture(scope="module")
def directions(organism: Subject) -> list[ps.DirectionSet]:
    return extract_all(organism, NAMES, samples=1, questions=6, alphas=())


def test_projections_read_the_planted_persona_nearly_as_well_as_can_be(
    organism: Subject, directions: list[ps.DirectionSet]
) -> None:
    assert organism.truth is not None
    found = check_reading(organism, directions, organism.truth.sample(60, seed=1))
    for one in found:
        assert one.posterior > 0.9
        assert one.projection > one.posterior - 0.06
        assert one.projection > one.embedding + 0.05
        assert one.projection > one.words - 0.02
    assert np.mean([one.posterior - one.projection for one in found]) < 0.04


def test_all_personas_are_read_at_one_layer_where_that_is_asked(
    organism: Subject, directions: list[ps.DirectionSet]
) -> None:
    assert organism.truth is not None
    texts, layer = organism.truth.sample(30, seed=2), common_layer(directions)
    areas = {at: np.mean([one.quality[at]["token_auroc"] for one in directions]) for at in directions[0].layers}
    assert areas[layer] == max(areas.values()) > areas[0] + 0.05
    for one, own in zip(
        check_reading(organism, directions, texts, layer), check_reading(organism, directions, texts), strict=True
    ):
        assert one.layer == layer and own.layer == own.chosen_layer == one.chosen_layer
        assert one.chosen == pytest.approx(own.projection) and one.embedding == pytest.approx(own.embedding)


def test_steering_brings_out_the_persona_it_is_named_after(
    organism: Subject, directions: list[ps.DirectionSet]
) -> None:
    layer = organism.n_layers // 2
    doses = [(one[layer], alpha) for one in directions for alpha in (1.0, -1.0)]
    found = check_steering(organism, doses, QUESTIONS, samples=4)
    for forward, backward in zip(found[::2], found[1::2], strict=True):
        assert forward.share > forward.unsteered_share + 0.2
        assert backward.share <= forward.unsteered_share + 0.05
        assert forward.unsteered_well_formed > 0.9


def test_a_sticky_persona_stays_longer_and_the_chain_says_how_long(
    organism: Subject, directions: list[ps.DirectionSet]
) -> None:
    layer = organism.n_layers // 2
    found = {one.persona: one for one in check_afterglow(organism, [(d[layer], 1.0) for d in directions], QUESTIONS, 6)}
    assert found["evil"].stickiness > found["pirate"].stickiness > found["detective"].stickiness
    assert found["evil"].predicted > found["detective"].predicted
    assert found["evil"].measured > found["detective"].measured
    for one in found.values():
        assert one.difference.estimate == pytest.approx(one.measured - one.predicted)
        assert abs(one.difference.estimate) < 0.2 and one.difference.low < one.difference.high


def test_system_prompts_are_obeyed_in_degrees(organism: Subject) -> None:
    found = check_prompting(organism, questions=6)
    words = [one for one in found if one.persona in organism.truth.personas]  # type: ignore[union-attr]
    shown, planted = np.mean([one.shown for one in words], axis=0), np.mean([one.planted for one in words], axis=0)
    assert (np.diff(shown) > 0).all()
    assert np.abs(shown - planted).max() < 0.2
    assert np.mean([one.negated for one in words]) < 0.1
    assert np.mean([one.well_formed for one in found]) > 0.85


def test_decision_points_beat_simpler_rules(organism: Subject, directions: list[ps.DirectionSet]) -> None:
    found = check_decisions(organism, directions, texts=24)
    assert found.switches > 30
    assert found.projections > found.random
    assert found.projections > found.full_stops
    assert found.posterior > found.projections - 0.05


def test_a_card_names_what_falls_short(
    llama: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directions = extract_all(llama, NAMES, samples=1, questions=5, alphas=())
    assert llama.truth is not None
    good = check_reading(llama, directions, llama.truth.sample(10, seed=1))
    steered = check_steering(llama, [(one[3], 0.01) for one in directions], QUESTIONS[:1])
    figures = Figures(
        "llama",
        directions,
        held=[dataclasses.replace(one, projection=0.5, posterior=0.99) for one in good],
        free=[dataclasses.replace(one, projection=0.99, posterior=0.99) for one in good],
        steered=steered,
        afterglow=[],
        prompted=[],
        decisions=check_decisions(llama, directions, texts=4),
        recommended=[Recommended("pirate", 4, 1.0, 60.0, 3, 1.5, 80.0, 0.9, 0.95)],
        thirds=[Third("pirate", rank, -rank, 0.5 - 0.1 * rank, 0.0) for rank in range(3)],
        persisting=[
            Persisting(
                name,
                stays,
                Interval(stays, stays, stays),
                Interval(life, 0.8 * life, 1.2 * life),
                Interval(life, life, life),
                16.0,
                128,
            )
            for name, stays, life in (("pirate", 0.85, 70.0), ("evil", 0.95, 220.0), ("chef", 0.5, 16.0))
        ],
        inserted=Inserted(
            Interval(0.9, 0.8, 1.0), Interval(0.97, 0.9, 1.0), 0.93, (Signed("pirate", 0.1, 0.9, 0.3, 0.05),)
        ),
    )
    text = card.card(figures)
    assert "| reading without a system prompt: within 0.02 of the posterior | 3 of 3 | – |" in text
    assert "| reading under system prompts: within 0.02 of the posterior | 0 of 3 | pirate 0.470" in text
    monkeypatch.setattr("personascope.validation.figures.measure", lambda *_: figures)
    assert run(["organisms", "figures", "llama", "--json", "--out", str(tmp_path / "page.md")]) == 0
    told = json.loads(capsys.readouterr().out)["organisms"]["llama"]
    assert {"to reach": told[1]["to reach"], "reached": "0 of 3"}.items() <= told[1].items()
    why = text[text.index("Why some fall short:") : text.index("### Reading")]
    assert "names the role at 0.930 of the points" in why and "reading without" not in why, "only of what falls short"
    assert "steering: share ≥ 0.6 at well-formed ≥ 0.75 | 0 of 3" in text
    assert "recommended dose: at least 0.9 of the best found by brute force | no | 0.150 |" in text
    assert "| pirate | 4, 1 | 60.0 | 3, 1.5 | 80.0 | 0.75 | 0.900 | 0.950 | 0.89 |" in text
    assert "screening: rank correlation with what fine-tuning brings at least 0.9 | yes | – |" in text
    assert "half-lives: slope on what the chain predicts has 1 in its interval | yes | – |" in text
    assert "told apart without their instruction, by single states: at least 0.95 | no | 0.050 |" in text
    assert "a signature brings at least 0.5 of what the role's own direction brings | no | 0.250 |" in text
    assert "personascope organisms train llama" in text

    nothing = Interval(math.nan, math.nan, math.nan)
    # They fade after the square root of what the chain says.
    about = [(one, one.predicted.estimate**0.5) for one in figures.persisting]
    lives = [dataclasses.replace(one, half_life=Interval(life, life * 0.95, life * 1.05)) for one, life in about]
    quick = dataclasses.replace(lives[0], predicted=Interval(8, 8, 8), half_life=Interval(2.8, 2.7, 2.9))
    unknown = dataclasses.replace(lives[0], persona="x", learned=nothing, predicted=nothing)
    missed = Afterglow("pirate", 0.85, 0.9, 0.5, 0.6, Interval(-0.1, -0.15, -0.04), 480)
    text = card.card(dataclasses.replace(figures, afterglow=[missed], persisting=[unknown, *lives, quick]))
    assert "half-lives: slope on what the chain predicts has 1 in its interval | no |" in text
    assert "evil is to halve in 220 tokens by the chain, and does in 14 to 16" in text
    assert "the difference of pirate lies between -0.150 and -0.040" in text
    text = card.card(dataclasses.replace(figures, persisting=[unknown, lives[0]]))
    assert "has 1 in its interval | no | inf |" in text, "what is not known is not reached"


def test_what_is_recommended_is_near_the_best_of_a_grid(llama: Subject) -> None:
    directions = extract_all(llama, ["pirate", "formal"], samples=1, questions=6, alphas=(0.5, 1.0))
    by_name = {one.name: one for one in directions}
    for one in check_recommendation(llama, directions, QUESTIONS[:4], alphas=(0.5, 1.0), max_new_tokens=60):
        assert (one.layer, one.alpha) == (by_name[one.persona].steer_layer, by_name[one.persona].choices["alpha"])
        assert one.reached >= 0.6, "six questions choose roughly"
        assert one.read_reached >= 0.9


def test_only_organisms_have_a_truth_to_compare_with(subject: Subject) -> None:
    for check in (
        lambda: check_reading(subject, [], []),
        lambda: check_steering(subject, [], []),
        lambda: check_afterglow(subject, [], []),
        lambda: check_prompting(subject),
        lambda: check_decisions(subject, []),
        lambda: check_recommendation(subject, [], []),
        lambda: check_screening(subject, []),
    ):
        with pytest.raises(ps.UserError, match="use an organism"):
            check()
