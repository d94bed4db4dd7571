"""Doubts about a direction: each found where it is, none where it is not."""

from typing import Any

import pytest
import torch

import personascope as ps
from personascope.extraction.doubts import doubts

FINE = {"auroc": 0.9, "auroc_interval": [0.8, 1.0], "auroc_null": 0.7, "split_half_cosine": 0.9}
STEERED = {"unsteered": {"trait": 10.0}, "steered": {"trait": 60.0, "trait_interval": [40.0, 80.0]}}


def directions(figures: dict[str, Any], steering: dict[str, Any]) -> ps.DirectionSet:
    return ps.DirectionSet("evil", (3,), torch.ones(1, 4), {3: figures}, {"read_layer": 3, "steering": steering})


def test_none_where_all_is_well_or_nothing_was_measured() -> None:
    assert doubts(directions(FINE, STEERED)) == []
    assert doubts(ps.DirectionSet("evil", (3,), torch.ones(1, 4))) == []


@pytest.mark.parametrize(
    ("figures", "steering", "said"),
    [
        ({**FINE, "auroc_interval": [0.6, 1.0]}, STEERED, "not surely better than chance"),
        ({**FINE, "split_half_cosine": 0.2}, STEERED, "more samples"),
        (FINE, {**STEERED, "steered": {"trait": 15.0, "trait_interval": [9.0, 22.0]}}, "does not surely bring"),
    ],
)
def test_each_is_found_alone(figures: dict[str, Any], steering: dict[str, Any], said: str) -> None:
    (only,) = doubts(directions(figures, steering))
    assert said in only
