"""What a map does to directions, and its file."""

from pathlib import Path

import numpy as np
import pytest
import torch

import personascope as ps
from personascope.errors import NonFinite, UserError
from personascope.transfer import LinearMap, fit_map

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(80, 6))
MAP = fit_map(X, X @ DRAW.normal(size=(6, 4)) + 5, [0.1, 1.0], source_layer=3, target_layer=4)
EVIL = ps.Direction(torch.randn(6), 3, "evil", {"method": "mean_difference"})


def test_a_direction_moves_by_the_weight_alone() -> None:
    moved = MAP.apply(EVIL)
    assert torch.allclose(moved.vector, EVIL.vector @ MAP.weight, atol=1e-6)
    assert moved.key == "evil@4"
    assert moved.provenance["mapped_from"] == "evil@3" and moved.provenance["map"] == MAP.digest
    assert moved.provenance["source"] == {"method": "mean_difference"}
    assert torch.allclose(MAP.apply(2 * EVIL).vector, 2 * moved.vector, atol=1e-5)


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        (EVIL.at(2), "of layer 2 and this map takes layer 3"),
        (ps.Direction(torch.ones(7), 3), "width 7 and this map takes 6"),
        (torch.ones(6), "takes one direction"),
        (ps.DirectionSet("evil", (3,), torch.ones(1, 6)), r"such as evil\[3\]"),
    ],
)
def test_what_does_not_fit_is_refused(direction: ps.Direction, words: str) -> None:
    with pytest.raises(UserError, match=words):
        MAP.apply(direction)


def test_a_map_without_layers_moves_nothing() -> None:
    bare = fit_map(X, X, [1.0])
    with pytest.raises(UserError, match="source_layer="):
        bare.apply(EVIL)
    with pytest.raises(UserError, match="width 5"):
        bare.predict(torch.ones(2, 5))


def test_a_file_gives_the_map_back(tmp_path: Path) -> None:
    again = LinearMap.load(MAP.save(tmp_path / "maps" / "evil.safetensors"))
    assert torch.equal(again.weight, MAP.weight) and torch.equal(again.bias, MAP.bias)
    assert again.describe() == MAP.describe() and again.bands == MAP.bands
    assert np.array_equal(again.cv_error, MAP.cv_error) and again.digest == MAP.digest
    assert again.apply(EVIL).digest == MAP.apply(EVIL).digest


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    ps.DirectionSet.from_directions([EVIL]).save(path)
    with pytest.raises(UserError, match="not a Personascope map"):
        LinearMap.load(path)
    with pytest.raises(UserError, match="does not exist"):
        LinearMap.load(tmp_path / "none.safetensors")
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not a readable"):
        LinearMap.load(path)


def test_a_map_holds_numbers() -> None:
    with pytest.raises(NonFinite, match="weight"):
        LinearMap(torch.full((2, 2), torch.nan), torch.zeros(2), "ridge", MAP.held_out, 1, 1, True)


def test_a_notebook_shows_the_bands() -> None:
    assert "R²" in MAP._repr_html_() and "6 → 4" in repr(MAP)
