"""The quality report: each figure against what it says it is."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import personascope as ps
from personascope.engine.forward import Passage
from personascope.extraction.damage import neutral_kl
from personascope.extraction.extract import extract_all
from personascope.extraction.extraction import Extraction
from personascope.extraction.quality import length_matched, split_half, split_half_intervals
from personascope.extraction.rollouts import Cell, Rollout
from personascope.extraction.selectivity import common_direction, without_common
from personascope.extraction.steering import Dose, wrong_way
from personascope.extraction.vectors import mean_difference
from personascope.personas import load_persona
from personascope.statistics import auroc, cosine
from personascope.subject import Prompt, Subject

NAMES = ["formal", "pirate", "evil"]


@pytest.fixture(scope="module")
def extracted(llama: Subject) -> Extraction:
    return extract_all(llama, NAMES, samples=1, questions=9, alphas=(1.0,), steer_layers=[3])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_pairs_of_like_length_use_each_response_once(responses: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in responses], dtype=bool)
    lengths = [length for _, length in responses]
    pairs = length_matched(labels, lengths).reshape(-1, 2)
    assert len(set(pairs.flatten().tolist())) == pairs.size
    for one, other in pairs:
        assert labels[one] and not labels[other]
        assert max(lengths[one], lengths[other]) <= 1.2501 * min(lengths[one], lengths[other])
    # Nothing that could still be paired is left over.
    left = set(range(len(lengths))) - set(pairs.flatten().tolist())
    for one in left:
        for other in left:
            if labels[one] and not labels[other]:
                assert abs(np.log(lengths[one] / lengths[other])) > np.log(1.25)


def test_a_direction_that_only_knows_length_is_unmasked() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(400) < 200
    lengths = np.where(labels, draw.integers(30, 90, 400), draw.integers(10, 70, 400))
    values = lengths + draw.normal(0, 0.1, 400)
    assert auroc(labels, values) > 0.75
    matched = length_matched(labels, lengths)
    assert len(matched) > 100
    assert abs(auroc(labels[matched], values[matched]) - 0.5) < 0.1


def test_each_layer_has_the_whole_report(extracted: Extraction) -> None:
    for one in extracted:
        figures = one.quality[one.best_layer]
        assert figures["auroc_length_matched"] > 0.9
        assert figures["length_matched"] >= 3
        assert figures["auroc_without_common"] > 0.8, "what is left when the common part is out is the persona's own"
        assert 0 <= figures["common_share"] < 0.9
        for key in ("auroc", "cohens_d"):
            for suffix in ("", "_length_matched", "_without_common"):
                low, high = figures[f"{key}{suffix}_interval"]
                assert low <= figures[f"{key}{suffix}"] <= high
        low, high = figures["split_half_cosine_interval"]
        assert -1 <= low < figures["split_half_cosine"] < high <= 1
        assert f"layer {one.best_layer}" not in one.choices["read_reason"] and "AUROC" in one.choices["read_reason"]


def test_the_interval_of_split_halves_holds_what_other_questions_give() -> None:
    persona = load_persona("pirate")
    draw = np.random.default_rng(0)
    truth = draw.normal(size=32)
    passage = Passage(Prompt((1,), (), "x"), (1,))

    def world() -> list[Rollout]:
        found = []
        for question in range(24):
            theirs = draw.normal(size=32)
            for sample in range(4):
                for pole in ("pos", "neg"):
                    mean = draw.normal(size=32) * 2 + (theirs + truth / 2 if pole == "pos" else 0)
                    cell = Cell(persona, "extract", pole, 0, f"q{question:02}", sample)  # type: ignore[arg-type]
                    means = torch.tensor(mean, dtype=torch.float32)[None, None]
                    found.append(Rollout(cell, "a", means, passage))
        return found

    worlds = [world() for _ in range(60)]
    seen = [split_half(one, 0, mean_difference)[0] for one in worlds]
    bounds = [split_half_intervals(one, 0)[0] for one in worlds]
    assert 0.3 < np.mean(seen) < 0.97
    assert np.mean([low < np.mean(seen) < high for low, high in bounds]) >= 0.85
    widths, spread = [high - low for low, high in bounds], np.std(seen)
    assert 2 * spread < np.mean(widths) < 8 * spread, "no wider than it need be"
    few = [one for one in worlds[0] if one.cell.question in ("q00", "q01", "q02")]
    assert split_half_intervals(few, 0) == []


def test_directions_prefer_their_own_persona_to_the_others(extracted: Extraction) -> None:
    relations = extracted.relations
    assert relations is not None and relations.names == tuple(NAMES)
    layer = extracted[0].best_layer
    table, cosines = relations.selectivity[layer], relations.cosines[layer]
    assert np.diag(table).min() > 0.95
    assert table.min() > 0.9, "on other personas' positive rollouts a direction is lower than on its own"
    for i, one in enumerate(extracted):
        for j, other in enumerate(extracted):
            expected = cosine(one[layer].vector.numpy(), other[layer].vector.numpy())
            assert cosines[i, j] == pytest.approx(expected)
    shared = np.array(
        [
            float(common_direction([one[layer].vector for one in extracted]) @ one[layer].unit().double())
            for one in extracted
        ]
    )
    assert shared.min() > 0.3, "contrast vectors of personas against neutral answers have a part in common"


def test_the_common_direction_is_taken_out_whole() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors = [torch.randn(16, generator=draw) + 2 for _ in range(4)]
    common = common_direction(vectors)
    assert float(common.norm()) == pytest.approx(1)
    mean = torch.stack([one.double() / one.double().norm() for one in vectors]).mean(dim=0)
    assert float(common @ mean / mean.norm()) == pytest.approx(1)
    assert float(common_direction([vectors[0], -vectors[0]]).norm()) == pytest.approx(0)


def test_directions_that_share_nothing_have_no_common_part() -> None:
    sets = [ps.DirectionSet(str(row), (0,), torch.eye(4)[row][None]) for row in range(4)]
    for figures in without_common(sets, [[] for _ in sets], 0):
        assert figures[0]["common_share"] == pytest.approx(0)


def test_steering_is_reported_beside_its_rival_and_its_price(extracted: Extraction) -> None:
    for one in extracted:
        steering = one.choices["steering"]
        assert 0 <= steering["wrong_way"] <= 0.5
        assert steering["system_prompt"]["trait"] > 50 > steering["unsteered"]["trait"]
        low, high = steering["neutral"]["kl_interval"]
        assert 0 < low <= steering["neutral"]["kl"] <= high
        assert (
            "on the questions kept for choosing" in one.choices["steer_reason"]
            or "none of" in one.choices["steer_reason"]
        )


def test_the_share_that_moves_the_wrong_way_is_counted_by_question() -> None:
    def dose(alpha: float, traits: dict[str, float]) -> Dose:
        return Dose("p", 3, alpha, tuple(traits.values()), (100.0,), tuple(traits), ("q",))

    before = dose(0.0, {"a": 10, "b": 20, "c": 30, "d": 40})
    assert wrong_way(before, dose(1.0, {"d": 39, "b": 20, "a": 90, "c": 29})) == 0.5
    assert wrong_way(before, dose(1.0, {"e": 1})) is None


def test_the_price_on_neutral_questions_is_the_divergence_of_the_models_own_logits(llama: Subject) -> None:
    direction = ps.Direction(torch.randn(llama.hidden_size, generator=torch.Generator().manual_seed(1)), 3, "noise")
    still, small, large = neutral_kl(llama, [(direction, 0.0), (direction, 1.0), (direction, 4.0)])
    assert still["kl"] == pytest.approx(0, abs=1e-9)
    assert 0 < small["kl"] < large["kl"]
    # Against Hugging Face alone, with a hook of the test's own.
    from personascope.corpora import neutral_questions
    from personascope.engine.noise import derive_seed

    values = []
    for question in neutral_questions()[:8]:
        row = ps.generate(llama, question, max_new_tokens=32, seed=[derive_seed("neutral", 0, question)])[0]
        ids, begin = torch.tensor([row.token_ids]), row.prompt_length - 1

        def write(_module, _inputs, output, begin=begin):  # type: ignore[no-untyped-def]
            hidden = output[0] if isinstance(output, tuple) else output
            hidden[:, begin:-1] += direction.vector
            return output

        with torch.inference_mode():
            before = llama.model(ids).logits[0, begin:-1].double().log_softmax(-1)
            handle = llama.model.model.layers[3].register_forward_hook(write)
            after = llama.model(ids).logits[0, begin:-1].double().log_softmax(-1)
            handle.remove()
        values += (before.exp() * (before - after)).sum(-1).tolist()
    assert small["kl"] == pytest.approx(np.mean(values), rel=1e-4)


def test_examples_are_the_extremes_of_each_pole(extracted: Extraction) -> None:
    for one in extracted:
        shown = extracted.examples[one.name]
        assert [each.projection for each in shown] == sorted((each.projection for each in shown), reverse=True)
        poles = [each.pole for each in shown]
        assert poles.count("pos") == poles.count("neg") == 8
        mean = {pole: np.mean([each.projection for each in shown if each.pole == pole]) for pole in ("pos", "neg")}
        assert mean["pos"] > mean["neg"]
        assert all(each.kept for each in shown if each.pole == "neg" and each.trait < 50 <= each.coherence)  # type: ignore[operator]
        json.dumps([each.describe() for each in shown], allow_nan=False)
