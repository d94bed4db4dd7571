"""Question insertion: the states of whole runs, what is made of them, and roles told apart without their instruction."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import personascope as ps
from personascope.corpora import Record, Transcript, neutral_questions
from personascope.persistence import Insertion, classify, insertion
from personascope.persistence.inserting import Inserting, insert_all
from personascope.persistence.nearest import _halves
from personascope.persistence.simulate import scripts_from, simulate
from personascope.personas import load_persona
from personascope.runs import Config, RunFolder, Shards
from personascope.statistics import sign_flip_test
from personascope.subject import Subject

QUESTIONS = ["Who are you?", "What is tea?", "How do I bake bread?", "What do you want?"]
ROLES = ["evil", "pirate", "chef"]


@pytest.fixture(scope="module")
def held(llama: Subject) -> dict[str | None, list[Transcript]]:
    scripts = scripts_from([Record(text) for text in neutral_questions()], transcripts=4, turns=3)
    found = simulate(llama, [None, *map(load_persona, ROLES)], scripts, degree="very", max_new_tokens=40)
    return {role: [one for one in found if one.role == role] for role in (None, *ROLES)}


def planted(
    transcripts: int = 6, points: int = 5, slope: float = 0.0, seed: int = 0, controls: int = 0, paired: bool = False
) -> Insertion:
    """States with one planted axis, that grows with the point; every conversation has a trend of its own."""
    draw = np.random.default_rng(seed)
    axis, times = np.eye(32)[0], np.arange(1, points + 1)

    def some(count: int, rise: np.ndarray, own: np.ndarray) -> np.ndarray:
        noise = draw.normal(size=(count, points, 4, 32)) * 0.5
        trends = own[:, None] * times + rise
        return np.asarray(noise + trends[:, :, None, None] * axis)

    scripts = draw.normal(size=max(transcripts, controls)) * 0.3
    states = some(transcripts, 3.0 + slope * times, scripts[:transcripts] + draw.normal(size=transcripts) * 0.1)
    reference = np.zeros((1, points, 4, 32))
    if controls:
        reference = some(controls, np.zeros(points), scripts[:controls] if paired else draw.normal(size=controls) * 0.3)
    partners = tuple(range(transcripts)) if paired else None if controls else (0,) * transcripts
    return Insertion(3, tuple(times.tolist()), tuple("abcd"), ("x",) * transcripts, states, reference, partners, "")


def test_states_are_those_of_whole_runs(
    llama: Subject, gemma2: Subject, held: dict[str | None, list[Transcript]]
) -> None:
    for subject in (llama, gemma2):
        found = insertion(subject, held["pirate"][:2], QUESTIONS, points=[0, 2], layer=2)
        assert found.states.shape == (2, 2, 4, subject.hidden_size)
        prompts = [
            [*transcript.messages(point), {"role": "user", "content": question}]
            for transcript in held["pirate"][:2]
            for point in (0, 2)
            for question in QUESTIONS
        ]
        whole = [
            subject.model(torch.tensor([subject.chat.prompt(prompt).ids]), output_hidden_states=True).hidden_states[3][
                0, -1
            ]
            for prompt in prompts
        ]
        expected = np.stack([one.detach().numpy() for one in whole]).reshape(found.states.shape)
        np.testing.assert_allclose(found.states, expected, atol=1e-4 * max(1, abs(expected).max()))
        alone = ps.activations(
            subject, [[{"role": "user", "content": q}] for q in QUESTIONS], layers=[2], tokens="prompt[-1]"
        )
        assert found.control == "each question on its own"
        assert found.reference.shape == (1, 2, 4, subject.hidden_size)
        np.testing.assert_allclose(found.reference[0, 0], alone[:, 0], atol=1e-3)


def test_roles_are_told_apart_with_their_instruction_removed(
    llama: Subject, held: dict[str | None, list[Transcript]]
) -> None:
    bare = [one.without_instruction() for role in ROLES for one in held[role]]
    found = insertion(llama, bare, QUESTIONS, points=[2, 3], layer=3, control=held[None])
    told = classify(found)
    assert told.roles == tuple(ROLES) and told.counts.sum() == 12 * 2 * 4
    assert told.accuracy.estimate > 0.85 and told.by_conversation.estimate >= 0.95
    assert found.of("pirate").consistency().estimate > 0.6
    mixed = classify(replace(found, roles=tuple(ROLES * 4)))
    assert mixed.accuracy.estimate < 0.6, "labels that mean nothing are not found"


def test_a_planted_axis_is_the_signature() -> None:
    found = planted()
    assert abs(float(found.signature.vector[0])) > 0.98 and float(found.signature.vector.norm()) == pytest.approx(1)
    assert found.lift == pytest.approx(3, abs=0.2)
    assert found.explained[0] > 0.9 and found.explained.sum() == pytest.approx(1)
    assert found.cosine.shape == (5, 5) and found.singular_values.shape == (5,)
    np.testing.assert_allclose(np.diag(found.centred_cosine), 1)
    interval = found.consistency()
    assert interval.low <= interval.estimate <= interval.high and interval.estimate > 0.8


def test_a_planted_drift_is_found() -> None:
    drift = planted(slope=2.0).drift()
    assert drift.slope.low < 2.0 < drift.slope.high and drift.p == pytest.approx(2 / 2**6)
    paired = planted(slope=1.0, controls=6, paired=True).drift()
    assert paired.slope.low < 1.0 < paired.slope.high and paired.p == pytest.approx(2 / 2**6)
    apart = planted(transcripts=8, slope=2.0, controls=8).drift()
    assert apart.slope.low < 2.0 < apart.slope.high and apart.p < 0.01
    alone = planted(transcripts=1, slope=2.0).drift()
    assert math.isnan(alone.p) and alone.slope.estimate == pytest.approx(2.0, abs=1)


@pytest.mark.parametrize(("controls", "paired"), [(0, False), (8, True), (4, False)])
def test_a_drift_that_is_none_is_found_as_often_as_it_should_be(controls: int, paired: bool) -> None:
    """Also where every slope has the control's own trend taken off it."""
    alarms = sum(planted(8, seed=seed, controls=controls, paired=paired).drift().p < 0.1 for seed in range(100))
    assert binomtest(alarms, 100, 0.1).pvalue > 0.01


def test_an_unpaired_controls_error_is_in_the_interval() -> None:
    few, many = planted(8, controls=3).consistency(), planted(8, controls=40).consistency()
    assert few.high - few.low > many.high - many.low


def test_controls_with_the_same_user_turns_are_partners(
    llama: Subject, held: dict[str | None, list[Transcript]]
) -> None:
    asked = {"questions": QUESTIONS[:1], "points": [1], "layer": 1}
    paired = insertion(llama, held["pirate"], control=held[None][::-1], **asked)  # type: ignore[arg-type]
    assert paired.partners == (3, 2, 1, 0)
    for changed in (lambda one: one.shuffled(), lambda one: one.spoken_by_user()):
        again = insertion(llama, list(map(changed, held["pirate"])), control=held[None][::-1], **asked)  # type: ignore[arg-type]
        assert again.partners == paired.partners
    assert insertion(llama, held["pirate"], control=held[None][:3], **asked).partners is None  # type: ignore[arg-type]


def chat(order: str, role: str | None = None, tag: str = "") -> Transcript:
    return Transcript(tuple((f"say {word}", f"{word} {tag}") for word in order), role)


def test_the_partner_has_the_same_order_where_there_is_one(llama: Subject) -> None:
    """Also of scripts that are all one set of turns; and no control serves two of a role while another serves none."""
    orders = ["abc", "bca", "cab"]
    control = [chat(order, tag="plain") for order in orders]
    asked = {"questions": QUESTIONS[:1], "points": [1], "layer": 1, "control": control}
    ours = [chat(order, role, role) for role in ("x", "y") for order in orders[::-1]]
    found = insertion(llama, ours, **asked)  # type: ignore[arg-type]
    assert found.partners == (2, 1, 0) * 2 == found.units
    swapped = [one.spoken_by_user() for one in control]
    for change in (lambda one: one.shuffled(3), lambda one: one.spoken_by_user()):
        again = insertion(llama, list(map(change, ours)), **asked | {"control": list(map(change, control))})  # type: ignore[arg-type]
        assert again.partners == found.partners
    assert insertion(llama, ours, **asked | {"control": swapped}).partners == found.partners  # type: ignore[arg-type]
    others = [chat(order, "x", "x") for order in ("acb", "bac", "cba")]
    assert sorted(insertion(llama, others, **asked).partners or ()) == [0, 1, 2]  # type: ignore[arg-type]
    mixed = [chat(order, "x", "x") for order in ("cba", "abc", "bca")]
    assert insertion(llama, mixed, **asked).partners == (2, 0, 1)  # type: ignore[arg-type]


def test_transcripts_that_share_a_control_are_one_unit() -> None:
    own = planted(8, controls=8, paired=True)
    shared = replace(own, partners=(0,) * 4 + (1,) * 4, units=(0,) * 4 + (1,) * 4)
    assert own.drift().p == pytest.approx(2 / 2**8, abs=1) and shared.drift().p >= 2 / 2**2
    assert not math.isnan(shared.consistency().low)
    one = replace(own, partners=(0,) * 8, units=(0,) * 8)
    assert math.isnan(one.drift().p) and math.isnan(one.drift().slope.low) and math.isnan(one.consistency().low)
    assert one.describe()["units"] == 1
    roles = replace(shared, roles=("x", "y") * 4)
    assert classify(roles).accuracy.low <= classify(roles).accuracy.high
    assert classify(replace(roles, units=(0,) * 8)).describe()["accuracy"][1:] == [None, None]


def test_what_shares_a_control_is_in_one_half_whatever_its_role() -> None:
    """Roles on the same scripts, of which one lacks a transcript: all of a script is learned from, or all of it is told."""
    drawn = [script for script in range(6) for _ in "ab" if (script, _) != (0, "b")]
    labels = np.array([0, *([0, 1] * 5)])
    halves = _halves(labels, drawn)
    assert all(len({halves[place] for place, one in enumerate(drawn) if one == script}) == 1 for script in range(6))
    assert _halves(np.array([0, 0, 0, 1, 1]), [0, 1, 2, 0, 2]).tolist() in ([0, 0, 1, 0, 1], [0, 1, 1, 0, 1])
    assert _halves(np.array([0, 0, 1, 1]), [0, 0, 0, 0]).tolist() == [0, 1, 0, 1], "where there is no other way"
    assert _halves(np.array([0, 1, 0, 1]), [0, 1, 2, 3]).tolist() == [0, 0, 1, 1], "controls of their own: role by role"


def test_equal_transcripts_count_once(llama: Subject) -> None:
    found = insertion(llama, [chat("ab", "x")] * 6 + [chat("ba", "x")], QUESTIONS[:1], layer=1)
    assert found.states.shape[0] == len(found.roles) == 2


def test_controls_are_treated_as_the_arm_treats_roles(llama: Subject) -> None:
    held = [
        *(replace(chat(order, "x", "x"), instruction="Be x.") for order in ("abc", "bca")),
        *map(chat, ("abc", "bca")),
    ]
    plan = Inserting.of(held, QUESTIONS[:2], None, 1)
    for arm in plan.arms:
        assert [one.asked for one in plan.beside(arm) or ()] == [one.asked for one in plan.arm(arm)]
        assert [one.is_spoken_by_user for one in plan.beside(arm) or ()] == [arm == "by the user"] * 2
    by_role = Inserting.of(
        [*held[:2], *(replace(one, role="y", instruction="Be y.") for one in held[2:])], ["a"], None, 1, "y"
    )
    assert {one.instruction for one in by_role.beside("no instruction") or ()} == {""}


def test_nothing_is_asked_of_no_role_where_nothing_differs(llama: Subject) -> None:
    """Before the first turn transcripts of no role are all one."""
    held = [
        *(replace(chat(order, "x", "x"), instruction="Be x.") for order in ("abc", "bca")),
        *map(chat, ("abc", "bca")),
    ]
    plan = Inserting.of(held, QUESTIONS[:2], [0], 1, arms=["as held"])
    assert [one.role for one in insert_all(llama, plan).parts] == ["x"] and plan.signatures == 1
    with pytest.raises(ps.UserError, match="the transcripts of 'x' hold none"):
        Inserting.of([replace(one, instruction="") for one in held], QUESTIONS[:2], [0], 1, arms=["as held"])


def test_sign_flips_count_all_of_few_and_some_of_many() -> None:
    assert sign_flip_test(np.ones(5)) == 2 / 32
    assert sign_flip_test(np.ones(40)) == pytest.approx(1e-4)
    assert sign_flip_test(np.array([1.0, -1.0])) == 1


def test_spans_shorter_than_their_points_have_a_spectrum() -> None:
    few = planted(points=5)
    narrow = replace(few, states=few.states[..., :3], reference=few.reference[..., :3])
    assert narrow.singular_values.shape == (5,) and narrow.singular_values[3] == 0


def test_chats_as_messages_are_transcripts_too(llama: Subject, held: dict[str | None, list[Transcript]]) -> None:
    one = held["pirate"][0]
    plain = insertion(llama, [one.messages()], QUESTIONS[:1], layer=1, control=[held[None][0].messages()])
    np.testing.assert_array_equal(plain.states, insertion(llama, [one], QUESTIONS[:1], layer=1).states)
    with pytest.raises(ps.UserError, match="transcript 0 ends on a user turn"):
        insertion(llama, [one.messages()[:-1]], QUESTIONS, layer=1)
    with pytest.raises(ps.UserError, match="transcript 0: message 0"):
        insertion(llama, one.messages(), QUESTIONS, layer=1)  # type: ignore[arg-type]
    with pytest.raises(ps.UserError, match=r"give what ps\.read_transcripts reads"):
        insertion(llama, Path("own.jsonl"), QUESTIONS, layer=1)
    with pytest.raises(ps.UserError, match="a list of questions"):
        insertion(llama, [one], "Who are you?", layer=1)


def test_what_cannot_be_asked_is_said(llama: Subject, held: dict[str | None, list[Transcript]]) -> None:
    pirate = held["pirate"]
    with pytest.raises(ps.UserError, match="point 4 is past the end"):
        insertion(llama, pirate, QUESTIONS, points=[4], layer=3)
    with pytest.raises(ps.UserError, match="list of transcripts"):
        insertion(llama, [], QUESTIONS, layer=3)
    with pytest.raises(ps.UserError, match="question 1 is empty"):
        insertion(llama, pirate, ["a", " "], layer=3)
    with pytest.raises(ps.UserError, match="no points"):
        insertion(llama, pirate, QUESTIONS, points=[], layer=3)
    short = [Transcript(pirate[0].pairs[:1])]
    with pytest.raises(ps.UserError, match="control's shortest transcript has 1"):
        insertion(llama, pirate, QUESTIONS, points=[2], layer=3, control=short)
    with pytest.raises(ps.UserError, match="out of range"):
        insertion(llama, pirate, QUESTIONS, layer=6)
    long = Transcript(tuple((f"What is word {n}?", "so " * 60 * (n + 1)) for n in range(14)), "x")
    with pytest.raises(ps.UserError, match="transcript 1 with a question at point 14 takes"):
        insertion(llama, [Transcript(long.pairs[:1] * 14), long], QUESTIONS, points=[1, 14], layer=3)
    same = insertion(llama, pirate[:1], QUESTIONS, layer=3, control=pirate[:1])
    for ask in (lambda: same.signature, same.consistency, same.drift):
        with pytest.raises(ps.UserError, match="nothing is left"):
            ask()
    with pytest.raises(ps.UserError, match="two roles"):
        classify(same)
    with pytest.raises(ps.UserError, match="no transcript of 'chef'"):
        same.of("chef")


def test_an_interrupted_run_goes_on_where_it_stopped(
    llama: Subject, held: dict[str | None, list[Transcript]], tmp_path: Path
) -> None:
    folder = RunFolder.open(tmp_path / "r", "insert", Config({}), llama.describe(), 0)
    cells = Shards(folder.path, folder.journal, "states", "states", {}, rows=4096)

    class Stopped(Exception):
        pass

    done = []

    def stop(phase: str, total: int | None) -> None:
        done.append(phase)
        if done.count("") == 2:
            raise Stopped

    with pytest.raises(Stopped):
        insertion(llama, held["pirate"], QUESTIONS, layer=3, on_progress=stop, cells=cells)
    each = 3 * len(QUESTIONS)
    assert len(folder.journal) == 2 * each, "what was finished is there"
    found = insertion(llama, held["pirate"], QUESTIONS, layer=3, cells=cells)
    assert len(folder.journal) == 4 * each + len(QUESTIONS), "four transcripts, and the questions on their own"
    again = insertion(llama, held["pirate"], QUESTIONS, layer=3)
    np.testing.assert_array_equal(found.states, again.states)
    more = insertion(llama, held["pirate"], [*QUESTIONS, "Why?"], layer=3, cells=cells)
    assert len(folder.journal) == 4 * (each + 3) + len(QUESTIONS) + 1, "one question more is asked, and no other again"
    np.testing.assert_array_equal(more.states[:, :, :-1], found.states)


def test_means_over_questions_keep_all_that_is_made_of_them() -> None:
    for found in (planted(), planted(8, controls=3)):
        small = found.condensed()
        assert small.states.shape[2] == 1
        for name in ("centred_cosine", "singular_values", "lift"):
            np.testing.assert_allclose(getattr(small, name), getattr(found, name), rtol=1e-4)
        assert small.drift().p == found.drift().p
