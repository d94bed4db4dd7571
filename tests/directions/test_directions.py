"""Directions as values and as files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import personascope as ps
from personascope.directions import ZeroDirection
from personascope.directions.doors import load_directions

vectors = hnp.arrays("float32", 4, elements=st.floats(-100, 100, width=32)).map(torch.from_numpy)


@given(vectors, vectors, st.floats(-10, 10))
def test_directions_are_a_vector_space(a: torch.Tensor, b: torch.Tensor, c: float) -> None:
    one, other = ps.Direction(a, 3, "one"), ps.Direction(b, 3, "other")
    assert torch.equal((one + other).vector, a + b)
    assert torch.equal((one - other).vector, a - b)
    assert torch.allclose((c * one).vector, a * c)
    assert torch.equal((one * 2).vector, (2 * one).vector)
    assert torch.equal((-one).vector, -a)
    assert torch.allclose((one / 2).vector, a / 2)


@given(vectors.filter(lambda v: v.norm() > 1e-3), vectors.filter(lambda v: v.norm() > 1e-3))
def test_units_and_cosines(a: torch.Tensor, b: torch.Tensor) -> None:
    one, other = ps.Direction(a, 0), ps.Direction(b, 0)
    assert one.unit().norm() == pytest.approx(1, abs=1e-5)
    assert one.cosine(one) == pytest.approx(1, abs=1e-5)
    assert one.cosine(other) == pytest.approx(other.cosine(one), abs=1e-6)
    assert -1 - 1e-6 <= one.cosine(other) <= 1 + 1e-6
    assert float(one.project(b[None])[0]) == pytest.approx(one.cosine(other) * float(b.norm()), rel=1e-3, abs=1e-3)


def test_a_direction_is_frozen_float32_on_the_cpu() -> None:
    source = torch.ones(3, dtype=torch.float64)
    direction = ps.Direction(source, 2, "x")
    source[0] = 7
    assert direction.vector.tolist() == [1, 1, 1]
    assert direction.vector.dtype == torch.float32
    with pytest.raises(AttributeError):
        direction.layer = 3  # type: ignore[misc]
    assert direction.at(4).layer == 4
    assert direction.key == "x@2"
    assert direction.named("y").key == "y@2"
    assert "x@2" in direction._repr_html_()


def test_arithmetic_across_layers_and_widths_raises() -> None:
    a, b, c = (
        ps.Direction(torch.ones(3), 1, "a"),
        ps.Direction(torch.ones(3), 2, "b"),
        ps.Direction(torch.ones(4), 1, "c"),
    )
    for act in (lambda: a + b, lambda: a - b, lambda: a.cosine(b)):
        with pytest.raises(ps.UserError, match="different layers"):
            act()
    with pytest.raises(ps.UserError, match="different models"):
        a + c
    assert (a + b.at(1)).layer == 1


def test_what_is_no_direction_is_refused() -> None:
    with pytest.raises(ps.NonFinite, match="layer 1"):
        ps.Direction(torch.tensor([1.0, float("nan")]), 1)
    with pytest.raises(ZeroDirection):
        ps.Direction(torch.zeros(3), 1).unit()
    with pytest.raises(ps.UserError, match="complex"):
        ps.Direction(torch.ones(2, dtype=torch.complex64), 1)
    with pytest.raises(ps.UserError, match="complex"):
        ps.DirectionSet("x", (1,), torch.ones(1, 2, dtype=torch.complex64))
    with pytest.raises(ps.UserError, match="sparse"):
        ps.Direction(torch.ones(2).to_sparse(), 1)
    for bad in (torch.ones(2, 2), torch.empty(0)):
        with pytest.raises(ps.UserError, match="shape"):
            ps.Direction(bad, 1)
    with pytest.raises(ps.UserError, match="layer"):
        ps.Direction(torch.ones(2), -1)
    with pytest.raises(ps.UserError, match="finite"):
        ps.Direction(torch.ones(2), 0) * float("inf")
    with pytest.raises(ps.UserError, match="zero"):
        ps.Direction(torch.ones(2), 0) / 0


@pytest.fixture
def evil() -> ps.DirectionSet:
    quality = {layer: {"auroc": 0.9, "auroc_interval": [0.8, 1.0]} for layer in (1, 3)}
    choices = {"read_layer": 3, "steer_layer": 1, "alpha": 1.5}
    return ps.DirectionSet("evil", (1, 3), torch.arange(8.0).reshape(2, 4), quality, choices, {"model": "m"})


def test_a_set_gives_directions_by_layer(evil: ps.DirectionSet) -> None:
    assert evil[3].vector.tolist() == [4, 5, 6, 7]
    assert [direction.key for direction in evil] == ["evil@1", "evil@3"]
    assert (evil.best_layer, evil.steer_layer, evil.best.key, len(evil)) == (3, 1, "evil@3", 2)
    assert evil.only([1]).layers == (1,)
    with pytest.raises(ps.UserError, match="no direction at layer 2"):
        evil[2]
    assert "auroc" in evil._repr_html_()


def test_a_set_saved_is_the_set_loaded(evil: ps.DirectionSet, tmp_path: Path) -> None:
    path = evil.save(tmp_path / "sub" / "evil.safetensors")
    back = ps.DirectionSet.load(path)
    assert torch.equal(back.vectors, evil.vectors)
    assert (back.name, back.layers, back.quality, back.choices, back.provenance) == (
        evil.name,
        evil.layers,
        evil.quality,
        evil.choices,
        evil.provenance,
    )
    assert [one.name for one in load_directions(tmp_path / "sub")] == ["evil"]
    assert [file.name for file in path.parent.iterdir()] == ["evil.safetensors"]


class Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.system, ("touch /tmp/personascope-was-here",))


def test_files_that_are_no_directions_are_refused_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "text.safetensors").write_text("hello")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors")
    for name, said in (
        ("code.pt", "import"),
        ("text.safetensors", "not a readable"),
        ("other.safetensors", "not a Personascope"),
        ("none.safetensors", "does not exist"),
    ):
        with pytest.raises(ps.UserError, match=said):
            ps.DirectionSet.load(tmp_path / name)
    assert not Path("/tmp/personascope-was-here").exists()
    with pytest.raises(ps.UserError, match="does not exist"):
        load_directions(tmp_path / "nothing")


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=400), st.floats(0, 100))
def test_percentiles_are_numpys_to_the_step_between_whole_ones(values: list[float], q: float) -> None:
    whole = np.percentile(values, range(101))
    kept = {"percentiles": {"3": {str(one): float(value) for one, value in enumerate(whole)}}}
    one = ps.DirectionSet("x", (3,), torch.ones(1, 4), choices=kept)
    for number in (0, 7, 50, 100):
        assert one.percentile(3, number) == pytest.approx(np.percentile(values, number), abs=1e-9)
    low, high = whole[int(q)], whole[min(int(q) + 1, 100)]
    assert abs(one.percentile(3, q) - np.percentile(values, q)) <= high - low + 1e-9
    assert one.percentile(3, 2.5) == pytest.approx((whole[2] + whole[3]) / 2, abs=1e-9)


def test_percentiles_that_were_not_kept_are_refused() -> None:
    kept = {"percentiles": {"3": {"5": -1.0, "10": 0.0, "25": 2.0}}}
    one = ps.DirectionSet("x", (3,), torch.ones(1, 4), choices=kept)
    assert one.percentile(3, 25) == 2.0
    for q, said in ((7, "it knows p5, p10, p25"), (100.5, "from 0 to 100"), (float("nan"), "from 0 to 100")):
        with pytest.raises(ps.UserError, match=said):
            one.percentile(3, q)
    with pytest.raises(ps.UserError, match="it knows none; write a number"):
        ps.DirectionSet("x", (3,), torch.ones(1, 4)).percentile(3, 25)


@pytest.mark.parametrize(
    ("layers", "vectors"),
    [((1,), torch.ones(2, 3)), ((2, 1), torch.ones(2, 3)), ((1, 1), torch.ones(2, 3)), ((1,), torch.ones(3))],
)
def test_a_set_with_layers_and_vectors_that_disagree_is_refused(layers: tuple, vectors: torch.Tensor) -> None:
    with pytest.raises(ps.UserError):
        ps.DirectionSet("x", layers, vectors)
