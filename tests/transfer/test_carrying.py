"""Ways of carrying a vector, each against its formula."""

from pathlib import Path

import numpy as np
import pytest
import torch

import personascope as ps
from personascope.directions import DirectionSet, ZeroDirection
from personascope.errors import UserError
from personascope.runs import Journal
from personascope.transfer import LinearMap, TransferConfig, fit_map, gather, ridge
from personascope.transfer.carrying import Carried, carry, geometry
from personascope.transfer.conditions import METHODS, Method, interpolate, random_proj, zero_pad
from personascope.transfer.contrast import Contrast
from personascope.transfer.maps import Setting, _shuffled
from personascope.transfer.normalizing import scaled

DRAW = np.random.default_rng(0)
AT = Setting(1, 2, 50)
CONFIG = TransferConfig(source_model="a", target_model="b", output_dir="x", personas={"evil": None, "pirate": None})


def contrast(name: str, width: int, layers: tuple[int, ...], pairs: int = 8) -> Contrast:
    differences = torch.from_numpy(DRAW.normal(size=(pairs, len(layers), width))).float()
    directions = DirectionSet(name, layers, differences.mean(dim=0))
    return Contrast(name, directions, tuple(range(pairs)), differences, np.full(len(layers), 0.9))


def test_zero_pad_pads_and_cuts() -> None:
    vector = torch.arange(1.0, 6.0)
    assert torch.equal(zero_pad(vector, 7), torch.tensor([1.0, 2, 3, 4, 5, 0, 0]))
    assert torch.equal(zero_pad(vector, 3), torch.tensor([1.0, 2, 3]))


@pytest.mark.parametrize("width", [3, 8, 13])
def test_interpolation_is_linear_between_ends(width: int) -> None:
    vector = torch.from_numpy(DRAW.normal(size=8)).float()
    expected = np.interp(np.linspace(0, 7, width), np.arange(8), vector.numpy())
    np.testing.assert_allclose(interpolate(vector, width).numpy(), expected, atol=1e-6)


def test_the_random_projection_is_semi_orthogonal() -> None:
    wider = torch.stack([random_proj(row, 9, 3) for row in torch.eye(5)])
    torch.testing.assert_close(wider @ wider.T, torch.eye(5), atol=1e-6, rtol=0)
    narrower = torch.stack([random_proj(row, 4, 3) for row in torch.eye(7)])
    torch.testing.assert_close(narrower.T @ narrower, torch.eye(4), atol=1e-6, rtol=0)
    vector = torch.randn(5)
    torch.testing.assert_close(random_proj(vector, 9, 3), vector @ wider, atol=1e-5, rtol=0)
    assert not torch.allclose(random_proj(vector, 9, 4), random_proj(vector, 9, 3))


def test_lengths_say_nothing_of_where_a_vector_came_from() -> None:
    long = ps.Direction(torch.tensor([3.0, 4.0]), 2, "evil")
    assert scaled(long, "residual", 8.0, 0.25).norm == pytest.approx(2.0)
    assert scaled(long, "unit", 8.0, 0.25).norm == pytest.approx(1.0)
    assert scaled(long, "native", 8.0, 0.25) is long
    assert scaled(long, "residual", 8.0, 0.25).cosine(long) == pytest.approx(1.0)
    with pytest.raises(ZeroDirection):
        scaled(ps.Direction(torch.zeros(2), 2), "unit", 8.0, 0.25)


@pytest.fixture
def maps() -> dict[str, LinearMap]:
    x, y = DRAW.normal(size=(60, 5)), DRAW.normal(size=(60, 7))
    gram = gather([(x, y, None)])
    own = ridge(gram, [1.0], source_layer=1, target_layer=2)
    shuffled = ridge(_shuffled(gram), [1.0], source_layer=1, target_layer=2)
    return {"ridge": own, "procrustes": own, "shuffled": shuffled}


def carried(maps: dict[str, LinearMap], journal: Journal, **settings: object) -> tuple[list[Contrast], list[Carried]]:
    source = [contrast(name, 5, (0, 1)) for name in CONFIG.personas]
    target = [contrast(name, 7, (0, 1, 2)) for name in CONFIG.personas]
    config = CONFIG.model_copy(update=settings)
    names = list(config.personas)
    each, corpora = dict.fromkeys(names, maps), dict.fromkeys(names, "texts")
    found, left_out = carry(source, target, each, corpora, AT, config.steered, 10.0, config, journal, names)
    assert not left_out
    return [*source, *target], found


def test_every_method_carries_what_it_says(maps: dict[str, LinearMap], tmp_path: Path) -> None:
    (evil, pirate, oracle, other), found = carried(maps, Journal(tmp_path / "j.sqlite"), normalize="native")
    by = {(one.persona, one.method): one for one in found}
    assert {method for _, method in by} == set(METHODS) - {"baseline", "system_prompt"}
    v = evil.directions[1].vector
    expected = {
        "zero_pad": zero_pad(v, 7),
        "interpolate": interpolate(v, 7),
        "random_proj": random_proj(v, 7, 0),
        "ridge_mapped": v @ maps["ridge"].weight,
        "shuffled": v @ maps["shuffled"].weight,
        "wrong_persona": pirate.directions[1].vector @ maps["ridge"].weight,
        "oracle": oracle.directions[2].vector,
    }
    for method, vector in expected.items():
        torch.testing.assert_close(by["evil", method].direction.vector, vector, atol=1e-5, rtol=0)
    assert by["pirate", "wrong_persona"].direction.cosine(by["evil", "ridge_mapped"].direction) == pytest.approx(1.0)
    one, five = (by["evil", name].direction.vector for name in ("oracle_1_pair", "oracle_5_pairs"))
    assert any(torch.equal(one, row) for row in oracle.differences[:, 2])
    assert not torch.allclose(one, five)
    rows = {(row["persona"], row["method"]): row for row in geometry(found, [oracle, other])}
    assert rows["evil", "oracle"]["cosine"] == pytest.approx(1.0) and rows["evil", "oracle"]["is_retrieved"]
    assert rows["evil", "oracle"]["ceiling"] == pytest.approx(0.9)


def test_what_was_carried_once_stays_to_the_last_digit(maps: dict[str, LinearMap], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    _, first = carried(maps, journal)
    _, again = carried(maps, journal)
    assert [one.direction.digest for one in first] == [one.direction.digest for one in again], "though all else is new"
    assert {round(one.direction.norm, 4) for one in first} == {2.5}


def test_what_has_no_vector_is_left_out_and_said(tmp_path: Path) -> None:
    source, target = contrast("evil", 5, (1,)), contrast("evil", 7, (2,), pairs=3)
    source.directions.vectors.zero_()
    methods: list[Method] = ["zero_pad", "oracle", "oracle_2_pairs", "oracle_5_pairs"]
    journal = Journal(tmp_path / "j.sqlite")
    for _ in range(2):
        found, left_out = carry([source], [target], {}, {}, AT, methods, 1.0, CONFIG, journal, ["e"])
        assert [one.method for one in found] == ["oracle", "oracle_2_pairs"]
        assert left_out == [
            "zero_pad of 'evil' is left out: its vector at layer 2 is all zeros.",
            "oracle_5_pairs of 'evil' is left out: 3 contrast pairs of it were there to take.",
        ]


def test_the_wrong_persona_stays_whoever_is_added(maps: dict[str, LinearMap], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    held = {name: (contrast(name, 5, (1,)), contrast(name, 7, (2,))) for name in "abcd"}
    before: dict[str, str] = {}
    for names in ("ab", "abc", "dcab"):
        sides = [held[name][0] for name in names], [held[name][1] for name in names]
        known = dict.fromkeys(names, maps), dict.fromkeys(names, "texts")
        found, _ = carry(*sides, *known, AT, ["wrong_persona"], 1.0, CONFIG, journal, list(names))
        digests = {one.persona: one.direction.digest for one in found}
        assert before.items() <= digests.items() and len(digests) == len(names)
        before = digests


def test_another_corpus_is_carried_anew(maps: dict[str, LinearMap], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    source, target = contrast("evil", 5, (1,)), contrast("evil", 7, (2,))

    def vector(corpus: str, kind: str) -> torch.Tensor:
        each = {"evil": {"ridge": maps[kind]}}
        found, _ = carry([source], [target], each, {"evil": corpus}, AT, ["ridge_mapped"], 1.0, CONFIG, journal, ["e"])
        return found[0].direction.vector

    first = vector("one", "ridge")
    assert torch.equal(vector("one", "shuffled"), first) and not torch.equal(vector("two", "shuffled"), first)


def test_more_pairs_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="has 3 contrast pairs, and an oracle from 5 is asked for"):
        contrast("evil", 5, (1,), pairs=3).few(5, 1, 0)


def test_the_shuffled_map_is_ridge_on_pairs_of_different_texts() -> None:
    x, y = DRAW.normal(size=(200, 4)), DRAW.normal(size=(200, 3))
    y += x @ DRAW.normal(size=(4, 3)) * 3
    own, shuffled = fit_map(x, y, [1.0]), ridge(_shuffled(gather([(x, y, None)])), [1.0])
    assert own.r2 > 0.8 and shuffled.r2 < 0.1
