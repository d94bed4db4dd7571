"""Extraction on an organism, whose personas are known."""

import collections
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import personascope as ps
from personascope.engine.cells import Cells
from personascope.engine.forward import Passage, means_of
from personascope.extraction.extract import extract_all
from personascope.extraction.rollouts import SELECTIONS, Filter, cells, sample_rollouts
from personascope.extraction.splits import SPLITS, split_persona
from personascope.extraction.steering import Dose, Trial, best_dose, dose_response, is_coherent
from personascope.judging import judge_for
from personascope.personas import load_persona, persona_names
from personascope.runs import Config, RunFolder
from personascope.statistics import cosine
from personascope.subject import Subject

SMALL = {"samples": 1, "questions": 5, "alphas": (1.0,), "steer_layers": [3]}


@pytest.fixture(scope="module")
def extracted(llama: Subject) -> list[ps.DirectionSet]:
    return extract_all(llama, ["formal", "pirate"], **SMALL)


@pytest.mark.parametrize("name", persona_names())
def test_no_two_splits_share_a_question_or_an_instruction(name: str) -> None:
    splits = split_persona(load_persona(name))
    assert collections.Counter(q for split in SPLITS for q in splits[split].questions).most_common(1)[0][1] == 1
    assert collections.Counter(p for split in SPLITS for p in splits[split].pairs).most_common(1)[0][1] == 1
    assert all(splits[split].questions and splits[split].pairs for split in SPLITS)


def test_directions_tell_unseen_rollouts_apart_and_are_not_noise(extracted: list[ps.DirectionSet]) -> None:
    for one in extracted:
        best = one.quality[one.best_layer]
        assert best["auroc"] >= 0.95 > best["auroc_null"]
        assert best["auroc_interval"][0] <= best["auroc"] <= best["auroc_interval"][1]
        assert best["cohens_d"] > 1
        assert best["auroc"] >= best["token_auroc"] > 0.85, (
            "single tokens are harder to tell apart than whole responses"
        )
        assert best["token_auroc"] > one.quality[0]["token_auroc"] + 0.1
        assert best["split_half_cosine"] > 0.6
        assert best["unfiltered_cosine"] > 0.8
    one, other = extracted
    assert abs(cosine(one.best.vector.numpy(), other.best.vector.numpy())) < 0.6


def test_steering_with_the_chosen_dose_brings_the_persona_out(extracted: list[ps.DirectionSet]) -> None:
    for one in extracted:
        measured = one.choices["steering"]
        assert measured["steered"]["trait"] > measured["unsteered"]["trait"] + 30
        assert {dose["alpha"] for dose in one.choices["doses"]} == {0.0, 1.0}


def test_all_that_was_sampled_is_accounted_for(extracted: list[ps.DirectionSet]) -> None:
    for one in extracted:
        provenance = one.provenance
        # Three instruction pairs, five questions and one sample in the extract split; one pair in the others.
        assert provenance["sampled"] == {
            "extract": {"pos": 15, "neg": 15},
            "choose": {"pos": 5, "neg": 5},
            "report": {"pos": 5, "neg": 5},
        }
        for split in SPLITS:
            for pole in ("pos", "neg"):
                assert 3 <= provenance["kept"][split][pole] <= provenance["sampled"][split][pole]


def test_means_read_while_sampling_are_those_of_a_pass_over_the_same_tokens(llama: Subject) -> None:
    persona = load_persona("formal")
    wanted = list(cells(persona, split_persona(persona, 2), 1))[:6]
    layers = [0, 3, 5]
    rollouts = sample_rollouts(llama, wanted, layers, SELECTIONS, 40, 1.0, 0)
    assert len(rollouts) == len(wanted)
    for rollout in rollouts:
        chat = [
            {"role": "system", "content": persona.system_prompt(rollout.cell.pair, rollout.cell.pole)},
            {"role": "user", "content": rollout.cell.question},
        ]
        again = ps.generate(llama, chat, seed=[rollout.cell.seed(0)], max_new_tokens=40)[0]
        assert again.text == rollout.answer
        prompt = llama.chat.prompt(chat)
        passage = Passage(prompt, tuple(again.response_ids))
        whole = means_of(llama, [passage], layers, SELECTIONS)[0]
        torch.testing.assert_close(rollout.means, whole.transpose(0, 1), atol=1e-4, rtol=1e-4)


def test_a_second_start_samples_nothing_again(
    llama: Subject, tmp_path: Path, extracted: list[ps.DirectionSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.open(tmp_path / "run", "extract", Config({}), llama.describe(), 0)
    first = extract_all(llama, ["formal", "pirate"], store=Cells(run.path, run.journal, {}), **SMALL)

    def refuse(*_: object) -> None:
        raise AssertionError("a rollout is sampled again")

    monkeypatch.setattr("personascope.engine.stream.RowStream.step", refuse)
    second = extract_all(llama, ["formal", "pirate"], store=Cells(run.path, run.journal, {}), **SMALL)
    for one, other, fresh in zip(first, second, extracted, strict=True):
        assert torch.equal(one.vectors, other.vectors)
        assert one.quality == other.quality
        assert one.choices == other.choices
        torch.testing.assert_close(one.vectors, fresh.vectors, atol=1e-4, rtol=1e-4)


def test_too_few_survivors_are_an_error_that_says_so(llama: Subject) -> None:
    with pytest.raises(ps.UserError, match=r"only \d+ of 15 pos rollouts of 'formal' survive the filter"):
        ps.extract(llama, "formal", questions=5, samples=1, filter=Filter(pos_at_least=101.0), alphas=())


def test_a_model_without_planted_personas_is_extracted_without_a_judge(subject: Subject) -> None:
    one = ps.extract(subject, "evil", samples=1, questions=3, max_new_tokens=8)
    assert one.layers == tuple(range(subject.n_layers))
    assert one.provenance["judge"] == "none"
    assert "alpha" not in one.choices
    with pytest.raises(ps.UserError, match="knows only organisms"):
        ps.extract(subject, "evil", judge="lexicon")


def test_the_strongest_coherent_dose_is_chosen() -> None:
    def dose(alpha: float, trait: float, coherence: float) -> Dose:
        return Dose("p", 3, alpha, (trait,) * 3, (coherence,) * 3, ("q", "r", "s"), ("q", "r", "s"))

    still = dose(0.0, 99.0, 99.0)
    assert best_dose([still, dose(1, 60, 90), dose(2, 80, 80), dose(3, 95, 40)]).alpha == 2
    assert best_dose([still, dose(1, 85, 98), dose(2, 90, 80)]).alpha == 1, "what is lost in coherence counts"
    assert best_dose([still, dose(1, 10, 70), dose(2, 80, 60), dose(3, 95, 5)]).alpha == 2


def test_one_answer_that_survives_does_not_make_a_dose_coherent() -> None:
    few = Dose("p", 3, 2.0, (100.0,), (100.0,), ("q",), ("q",), tried=4)
    many = Dose("p", 3, 1.0, (60.0,) * 3, (90.0,) * 3, ("q", "r", "s"), ("q", "r", "s"), tried=4)
    half = Dose("p", 3, 3.0, (100.0,) * 3, (100.0,) * 3, ("q",) * 3, ("q",) * 3, tried=20)
    assert not is_coherent(few) and not is_coherent(half) and is_coherent(many)
    assert best_dose([few, half, many]) is many
    assert few.describe()["trait_interval"] == [0.0, 100.0], "one question says nothing about others"


def test_a_response_without_finite_numbers_counts_as_incoherent(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personascope.extraction import steering

    real = steering.run_requests

    def broken(*given: object, **settings: object) -> list[object]:
        rows = real(*given, **settings)  # type: ignore[arg-type]
        return [replace(row, error="non-finite") if place % 4 else row for place, row in enumerate(rows)]

    monkeypatch.setattr(steering, "run_requests", broken)
    persona = load_persona("pirate")
    questions = split_persona(persona)["choose"].questions[:8]
    trial = Trial(persona, ps.Direction(torch.ones(llama.hidden_size), 3, "one"), 0.0, questions)
    judge = judge_for(llama, "lexicon")
    assert judge is not None
    (dose,) = dose_response(llama, [trial], judge, max_new_tokens=20)
    assert len(dose.coherences) == 8 and dose.coherences.count(0.0) == 6
    assert dose.coherence <= 25


def test_a_judge_of_doses_scores_the_rival_too(llama: Subject) -> None:
    class Half:
        name = "half"

        def judge(self, persona, items, journal=None):  # type: ignore[no-untyped-def]
            exact = judge_for(llama, "lexicon")
            assert exact is not None
            return [replace(one, trait=(one.trait or 0) / 2) for one in exact.judge(persona, items)]

    settings = {"samples": 1, "questions": 4, "alphas": (1.0,), "steer_layers": [3]}
    whole = extract_all(llama, ["pirate"], **settings)[0].choices["steering"]
    halved = extract_all(llama, ["pirate"], judge="lexicon", eval_judge=Half(), **settings)[0].choices["steering"]
    assert halved["system_prompt"]["trait"] == pytest.approx(whole["system_prompt"]["trait"] / 2)


def test_what_cannot_be_finished_is_said_before_anything_is_sampled(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personascope.engine.stream.RowStream.step", lambda *_: pytest.fail("something is sampled"))
    for settings, said in (
        ({"method": "meandiff"}, "method 'meandiff'"),
        ({"judge_fraction": 0}, "judge_fraction"),
        ({"layers": [3], "steer_layers": [5]}, "steer_layers has layer 5"),
        ({"layers": []}, "layers is empty"),
    ):
        with pytest.raises(ps.UserError, match=said):
            extract_all(llama, ["formal"], **settings)  # type: ignore[arg-type]


def test_a_question_that_a_file_repeats_stands_in_one_split() -> None:
    persona = load_persona("evil").model_copy(update={"eval_questions": ("A?", "B?", "A?", "B?")})
    splits = split_persona(persona)
    assert splits["choose"].questions == ("A?",)
    assert splits["report"].questions == ("B?",)


def test_paired_pca_pairs_the_rollouts_that_survive(llama: Subject) -> None:
    one = ps.extract(llama, "formal", method="paired_pca", questions=5, samples=1, alphas=())
    assert one.quality[one.best_layer]["auroc"] > 0.9
    assert one.quality[one.best_layer]["split_half_cosine"] > 0.5


def test_a_selection_that_nothing_reaches_is_said(llama: Subject) -> None:
    with pytest.raises(ps.UserError, match="selects nothing in any rollout"):
        ps.extract(llama, "formal", tokens="response[500:]", questions=4, samples=1, alphas=())


def test_the_end_of_a_response_can_be_extracted_from(llama: Subject) -> None:
    (late,) = extract_all(llama, ["formal"], tokens="response[-5:]", questions=5, samples=1, alphas=())
    assert late.quality[late.best_layer]["auroc"] > 0.9


def test_a_shard_that_was_lost_is_made_again_and_not_mistaken(llama: Subject, tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", "extract", Config({}), llama.describe(), 0)
    persona = load_persona("formal")
    wanted = list(cells(persona, split_persona(persona, 2), 1))[:6]
    settings = (llama, wanted, [3], SELECTIONS, 12, 1.0, 0)
    first = sample_rollouts(*settings, store=Cells(run.path, run.journal, {}))
    (shard,) = run.path.glob("activations-*.h5")
    shard.unlink()
    backward = sample_rollouts(*(llama, wanted[::-1], *settings[2:]), store=Cells(run.path, run.journal, {}))
    again = sample_rollouts(*settings, store=Cells(run.path, run.journal, {}))
    for one, mirrored, other in zip(first, backward[::-1], again, strict=True):
        torch.testing.assert_close(one.means, mirrored.means, atol=1e-4, rtol=1e-4)
        assert torch.equal(mirrored.means, other.means)


def test_an_answer_too_broken_to_judge_counts_as_incoherent(llama: Subject) -> None:
    persona, split = load_persona("sycophantic"), split_persona(load_persona("sycophantic"))["choose"]
    noise = torch.randn(llama.hidden_size, generator=torch.Generator().manual_seed(0))
    trial = Trial(persona, ps.Direction(noise, 3, "noise"), 60.0, split.questions[:4])
    judge = judge_for(llama, "lexicon")
    assert judge is not None
    (dose,) = dose_response(llama, [trial], judge, max_new_tokens=40)
    assert len(dose.answered) == 4
    assert len(dose.traits) == len(dose.questions) < 4
    assert dose.coherence < 50
