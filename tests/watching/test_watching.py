"""Watching: calibration, decision points, their verification, and text that already exists."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import personascope as ps
from personascope.cli.watch_tables import _counted, _plain, _strength
from personascope.corpora import Record
from personascope.engine.forward import Passage, projections_of
from personascope.engine.rows import Generation
from personascope.extraction.extract import extract_all
from personascope.organisms.conversation import Conversation, Response, Sampler
from personascope.organisms.switches import neutral_texts
from personascope.statistics.change_points import fit_rule
from personascope.subject import Prompt, Subject
from personascope.watching import verify, watch
from personascope.watching.calibration import Calibration, calibrate, scales_of
from personascope.watching.decision_points import DecisionPoint, DecisionRule, steering_edges

PROMPTS = ["What should I know about tea?", "Who are you?"]


@pytest.fixture(scope="module")
def traits(llama: Subject) -> list[ps.DirectionSet]:
    return extract_all(llama, ["formal", "pirate", "evil"], samples=1, questions=5, alphas=())


def test_neutral_runs_have_mean_zero_and_unit_spread(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    watched = [one.best for one in traits]
    found = calibrate(llama, watched, max_new_tokens=40)
    for direction in watched:
        z = [
            found.z(direction.key, run.projections[direction.key], run.prompt_length)[run.prompt_length :]
            for run in found.runs
        ]
        whole = np.concatenate(z)
        assert whole.mean() == pytest.approx(0, abs=1e-3)
        assert whole.std() == pytest.approx(1, abs=1e-3)


def test_z_does_not_depend_on_the_length_or_origin_of_the_direction(llama: Subject) -> None:
    vector = torch.randn(llama.hidden_size, generator=torch.Generator().manual_seed(0))
    pair = [ps.Direction(vector, 3, "one"), ps.Direction(10 * vector, 3, "ten")]
    found = calibrate(llama, pair, max_new_tokens=20)
    run = found.runs[0]
    one, ten = (found.z(direction.key, run.projections[direction.key], run.prompt_length) for direction in pair)
    np.testing.assert_allclose(one, ten, atol=1e-3)


def test_what_watching_shows_is_what_a_pass_over_the_same_tokens_reads(
    llama: Subject, traits: list[ps.DirectionSet]
) -> None:
    seen = watch(llama, traits, PROMPTS, max_new_tokens=30)
    for row in seen.rows:
        generation = row.generation
        for key, values in generation.projections.items():
            assert len(values) == len(generation.token_ids) == len(generation.tokens), key
        again = projections_of(llama, [Passage(Prompt(tuple(generation.token_ids), (), ""))], [t.best for t in traits])[
            0
        ]
        for key, values in again.projections.items():
            np.testing.assert_allclose(generation.projections[key], values, atol=2e-3, rtol=1e-3)
            assert (np.abs(generation.cosines[key]) <= 1 + 1e-5).all()


def test_text_that_exists_is_read_as_if_it_had_been_generated(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    sampled = watch(llama, traits, PROMPTS, max_new_tokens=150)
    records = [Record(row.prompt, row.generation.text) for row in sampled.rows if row.generation.finish == "end"]
    assert records
    given = watch(llama, traits, records, calibration=sampled.calibration)
    by_text = {row.generation.text: row for row in sampled.rows}
    for row in given.rows:
        before = by_text[row.generation.text]
        # A given text has no end token of its own.
        length = len(row.generation.token_ids)
        assert row.generation.token_ids == before.generation.token_ids[:length]
        assert row.generation.prompt_length == before.generation.prompt_length
        for key, values in row.generation.projections.items():
            np.testing.assert_allclose(values, before.generation.projections[key][:length], atol=2e-3, rtol=1e-3)


def test_the_false_alarm_rate_is_the_one_asked_for(llama: Subject) -> None:
    draw = np.random.default_rng(0)

    def still(texts: int) -> list[np.ndarray]:
        """Correlated noise, as projections of a response are."""
        noise = draw.normal(size=(texts, 204, 5))
        return [series[:-4] + series[1:-3] + series[2:-2] + series[3:-1] for series in noise]

    for rate in (2.0, 10.0):
        rule = fit_rule(still(60), rate)
        alarms = sum(len(rule.points(series)) for series in still(100))
        assert alarms / 20 == pytest.approx(rate, rel=0.5)


def test_a_step_is_found_where_it_is(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    found = calibrate(llama, [one.best for one in traits], max_new_tokens=60)
    rule = DecisionRule.fit(found, [one.best.key for one in traits])
    run = max(found.runs, key=lambda each: len(each.response_ids))
    key = traits[0].best.key
    at = run.prompt_length + len(run.response_ids) // 2
    moved = run.projections[key].copy()
    moved[at:] += 12 * found.scales["response"][key].unit
    stepped = Generation(**{**vars(run), "projections": {**run.projections, key: moved}})
    points = rule.points(found, stepped)
    nearest = min(points, key=lambda point: abs(point.token - at))
    assert abs(nearest.token - at) <= 1
    assert next(iter(nearest.moved)) == key
    assert nearest.moved[key] > 6
    assert nearest.gain == max(point.gain for point in points)


def test_what_may_be_chance_never_moves_first(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    formal = traits[0]
    chance = {"auroc": 0.48, "auroc_interval": [0.3, 0.7], "auroc_null": 0.65}
    doubtful = replace(formal, quality={**formal.quality, formal.best_layer: chance})
    prompts = ["What should I know about tea?"]
    steer = [ps.add(formal[formal.best_layer - 1], 3.0, tokens="sampling[20:]")]
    found = {
        name: watch(llama, sets, prompts, steer=steer, max_new_tokens=60, suppress_eos=True)
        for name, sets in (("sure", traits), ("doubtful", [doubtful, *traits[1:]]))
    }
    key = formal.best.key
    sure, doubted = (one.rows[0].points for one in found.values())
    assert any(next(iter(point.moved)) == key for point in sure)
    assert not any(next(iter(point.moved)) == key for point in doubted)
    assert [dict(point.moved) for point in sure] == [dict(point.moved) for point in doubted], "the numbers stay"
    said = {name: _strength(one, one.rows[0]) for name, one in found.items()}
    assert said["sure"].startswith(key) and not said["doubtful"].startswith(key)
    alone = watch(llama, [doubtful], prompts, steer=steer, max_new_tokens=60, suppress_eos=True)
    assert _strength(alone, alone.rows[0]).startswith(key) and "(not surely)" in _strength(alone, alone.rows[0])
    plain = _plain(alone, alone.rows[0])
    assert plain is not None and plain["trait"] == key and plain["is_doubted"] and plain["z"] >= 1
    quiet = replace(alone, rows=(replace(alone.rows[0], generation=replace(alone.rows[0].generation, error="NaN")),))
    assert _plain(quiet, quiet.rows[0]) is None and _strength(quiet, quiet.rows[0]) == "failed"


@pytest.mark.parametrize(
    ("tokens", "edges"),
    [
        ("sampling[:8]", [(9, "starts"), (17, "ends")]),
        ("response[5:8]", [(15, "starts"), (18, "ends")]),
        ("sampling", [(9, "starts")]),
        ("all", []),
        ("prompt", [(10, "ends")]),
        ("sampling[:4] + sampling[12:]", [(9, "starts"), (13, "ends"), (21, "starts")]),
        ("response[::2]", [(10, "starts")]),
    ],
)
def test_where_steering_starts_and_ends_among_the_states_that_choose(tokens: str, edges: list[tuple[int, str]]) -> None:
    row = Generation("", [0] * 30, [0] * 40, [""] * 40, 10, (), 0, "length", writes=[{"tokens": tokens}])
    assert steering_edges(row) == edges


def test_a_change_that_steering_made_says_so(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    formal = traits[0]
    steer = [ps.add(formal[formal.best_layer - 1], 3.0, tokens="sampling[20:]")]
    (row,) = watch(llama, traits, PROMPTS[:1], steer=steer, max_new_tokens=60, suppress_eos=True).rows
    start = row.generation.prompt_length - 1 + 20
    assert [point.steering for point in row.points if abs(point.token - start) <= 2] == ["starts"]
    assert not any(point.steering for point in row.points if abs(point.token - start) > 2)
    assert _counted(row.points).endswith("(1 where steering starts)")
    assert "starts" in [point.describe()["steering"] for point in row.points]


def test_verification_confirms_a_planted_switch_and_not_a_place_where_nothing_happens(
    llama: Subject, traits: list[ps.DirectionSet]
) -> None:
    truth = llama.truth
    assert truth is not None
    sampler = Sampler(truth.grammar, 5)
    sentences = (*sampler.stretch("neutral", 5), *sampler.stretch("evil", 6))
    text = truth.label(Conversation(None, (sampler.question(),), (Response(sentences, {}),)))
    response = np.flatnonzero(text.persona >= 0)
    switch = int(np.flatnonzero(text.persona == truth.personas.index("evil"))[0])
    quiet = int(response[0]) + 12
    start = int(response[0])
    prompt = Prompt(tuple(text.ids[:start]), (), "")
    given = tuple(text.ids[start : int(response[-1]) + 1])
    generation = Generation("", list(given), text.ids[: int(response[-1]) + 1], [], start, (), 0, "given")
    key = next(one for one in traits if one.name == "evil").best.key
    points = [DecisionPoint(place, 1.0, {key: 1.0}) for place in (quiet, switch)]
    calibration = calibrate(llama, [one.best for one in traits], max_new_tokens=60)
    nothing, moved = verify(llama, prompt, generation, points, traits, calibration, n=24)
    assert moved.changed and moved.after > moved.before + 0.3
    assert not nothing.changed
    assert (nothing.token, moved.token) == (quiet, switch)


def test_neutral_text_really_is_neutral(llama: Subject) -> None:
    assert llama.truth is not None
    for one in neutral_texts(llama.truth, 5):
        assert set(one.persona[one.persona >= 0]) == {0}


def test_a_row_is_called_by_its_prompt_its_system_prompt_and_its_steering(
    llama: Subject, traits: list[ps.DirectionSet]
) -> None:
    chat = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "Who are you?"}]
    found = watch(llama, traits[:1], [chat, "Who are you?"], steer=[ps.add(traits[0][3], 1.0)], max_new_tokens=2)
    labels = [row.label for row in found.rows]
    assert labels == [
        "Who are you? (system prompt: You are a pirate., add formal@3)",
        "Who are you? (add formal@3)",
    ]


def test_nothing_to_watch_is_refused(llama: Subject, traits: list[ps.DirectionSet]) -> None:
    with pytest.raises(ps.UserError, match="no prompts"):
        watch(llama, traits, [])
    with pytest.raises(ps.UserError, match="nothing to watch"):
        watch(llama, [], PROMPTS)
    with pytest.raises(ps.UserError, match="nothing to watch"):
        watch(llama, [traits[0].best], PROMPTS)  # type: ignore[list-item]
    with pytest.raises(ps.UserError, match="layer 99 is out of range"):
        watch(llama, traits, PROMPTS, layers=[99])
    with pytest.raises(ps.UserError, match="1 labels for 2 prompts"):
        watch(llama, traits, PROMPTS, labels=["one"])
    with pytest.raises(ps.UserError, match="alarms_per_1000=nan"):
        watch(llama, traits, PROMPTS, alarms_per_1000=float("nan"))
    with pytest.raises(ps.UserError, match="a prompt is text or a chat"):
        watch(llama, traits, {"role": "user", "content": "hi"})  # type: ignore[arg-type]
    with pytest.raises(ps.UserError, match="at least 4"):
        verify(llama, Prompt((1,), (), ""), None, [], traits, None, n=3)  # type: ignore[arg-type]


def test_alarms_on_other_runs_are_as_many_as_asked() -> None:
    draw, keys = np.random.default_rng(0), tuple(f"trait{number}@1" for number in range(11))

    def run() -> Any:
        noise = draw.standard_normal((50, len(keys)))
        for token in range(1, len(noise)):
            noise[token] = 0.7 * (noise[token - 1] + noise[token])
        values = np.vstack([np.zeros((4, len(keys))), noise])
        read = {key: values[:, column] for column, key in enumerate(keys)}
        tokens = [0] * len(values)
        return SimpleNamespace(prompt_length=4, token_ids=tokens, projections=read, turns=(), writes=[])

    alarms = tokens = 0
    for _ in range(12):
        runs = [run() for _ in range(24)]
        calibration = Calibration({"prompt": {}, "response": scales_of(runs, "response")}, runs)
        rule = DecisionRule.fit(calibration, keys, alarms_per_1000=3.0)
        others = [run() for _ in range(40)]
        alarms += sum(len(rule.points(calibration, one)) for one in others)
        tokens += 50 * len(others)
    assert 1.5 < 1000 * alarms / tokens < 3.3
