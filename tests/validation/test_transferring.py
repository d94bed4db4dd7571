"""Carrying personas between organisms, measured: on little, what was planted shows already."""

from dataclasses import replace

import numpy as np
import pytest

from personascope.validation.transfer_tables import transfer_page
from personascope.validation.transferring import Arrived, TransferFigures, measure_transfer

NAMES = ("pirate", "formal", "poet")


@pytest.fixture(scope="module")
def measured() -> TransferFigures:
    return measure_transfer("llama", "gemma2", texts=30, questions=2, seed=0, personas=NAMES)


def test_what_is_carried_arrives_and_what_is_not_does_not(measured: TransferFigures) -> None:
    ridge = measured.of("mixed", "ridge, all texts")
    assert [one.persona for one in ridge] == list(NAMES)
    assert all(one.is_nearest and one.cosine > 0.5 and one.efficacy > 0.5 for one in ridge)
    for corpus, way in (("", "zero_pad"), ("", "random"), ("mixed", "shuffled"), ("neutral", "ridge")):
        assert max(abs(one.cosine) for one in measured.of(corpus, way)) < 0.5
        assert np.mean([one.efficacy for one in measured.of(corpus, way)]) < 0.5
    for corpus, way, is_drawn in (("", "random", True), ("mixed", "shuffled", True), ("mixed", "ridge", False)):
        for one in measured.of(corpus, way):
            assert (one.most > one.efficacy) is is_drawn, "a mean over draws that differ"
    assert {one.persona for one in measured.of("leave-persona-out", "procrustes, whitened")} == set(NAMES)
    assert {one.target_layer for one in measured.arrived} > {measured.layers[1]}


def test_the_page_says_what_was_reached(measured: TransferFigures) -> None:
    page = transfer_page([measured], "personascope organisms transfer-figures")
    assert "organism:llama → organism:gemma2" in page and "| pirate |" in page
    assert "The most that a single one of 5 draws brought" in page

    def scored(efficacy: float) -> TransferFigures:
        return replace(measured, arrived=tuple(replace(one, efficacy=efficacy) for one in measured.arrived))

    def line(page: str, start: str) -> str:
        return next(row for row in page.splitlines() if row.startswith(start))

    for efficacy, ridge, naive in ((0.96, "yes", "no"), (0.05, "no", "yes")):
        page = transfer_page([scored(efficacy)], "")
        assert line(page, "| ridge on mixed texts, median").endswith(f"| {ridge} |")
        assert line(page, "| zero_pad").endswith(f"| {naive} |")
    assert isinstance(measured.arrived[0], Arrived)
