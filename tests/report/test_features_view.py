"""The view of features, in a real browser."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report.browser import chromium, opened

import personascope as ps
from personascope.features import find_features, mine_features
from personascope.report.features import save_found, save_mined_run
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]

SELF = ["Who are you?", "What are you?", "Tell me about yourself.", "Do you know what you are?"]
OTHER = ["What is tea?", "What is rain?", "Tell me about bread.", "Do you know what bees do?", "What is chess?"]


@pytest.fixture(scope="module")
def runs(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    sae, place = ps.load_sae("organism:llama"), tmp_path_factory.mktemp("runs")
    found = find_features(llama, sae, SELF, OTHER, top=5)
    lenses = {int(one): sae.direction(int(one)).tokens(llama, 8) for one in found.indices}
    first = RunFolder.open(place / "found", "features find", Config({}), llama.describe(), 0)
    with first.running():
        save_found(first, found, lenses)
    texts = ["I am a ship, and <script>alert(1)</script> the sea is salty.", "Tell me about tea, dear.", "My own mind."]
    second = RunFolder.open(place / "mined", "features mine", Config({}), llama.describe(), 0)
    with second.running():
        mined = mine_features(llama, sae, texts, [*map(int, found.indices), 0], context=16)
        save_mined_run(second, mined, found, lenses)
    return first.path, second.path


def test_numbers_and_texts_are_those_of_the_run(runs: tuple[Path, Path]) -> None:
    plain = json.loads((runs[1] / "features.json").read_text())
    with opened(runs[1] / "report.html") as tab:
        for one in plain["features"]:
            row = tab.locator(f"tr[data-feature='{one['feature']}']")
            row.get_by_role("button").click()
            assert tab.locator("[data-chosen]").get_attribute("data-chosen") == str(one["feature"])
            rate = row.locator("[data-figure=rate]").inner_text().replace(" %", "").replace("−", "-")
            assert float(rate) == pytest.approx(100 * one["mined"]["rate"], rel=0.06)
            if "found" in one:
                assert float(row.locator("[data-figure=auroc]").inner_text()) == pytest.approx(
                    one["found"]["auroc"], abs=0.001
                )
            scores = tab.locator(".contexts [data-figure=score]").all_inner_texts()
            assert [float(text) for text in scores] == pytest.approx(
                [each["score"] for each in one["mined"]["contexts"]], rel=0.01
            )
            if scores:
                shown = tab.locator(".contexts .marked").first.inner_text()
                expected = "".join(one["mined"]["contexts"][0]["tokens"]).replace("\n", "⏎\n")
                assert shown.split() == expected.split()
        # What a corpus holds stays text.
        assert tab.locator("main script").count() == 0
        assert tab.complaints == []


def test_strengths_below_the_top_and_controls_can_be_looked_at(runs: tuple[Path, Path]) -> None:
    plain = json.loads((runs[1] / "features.json").read_text())
    one = next(each for each in plain["features"] if each["mined"]["examples"] and "found" in each)
    with opened(runs[1] / "report.html") as tab:
        tab.locator(f"tr[data-feature='{one['feature']}']").get_by_role("button").click()
        tab.get_by_label("strength").select_option("0")
        scores = tab.locator(".contexts [data-figure=score]").all_inner_texts()
        band = one["mined"]["examples"][0]
        assert scores and all(band["from"] * 0.99 <= float(text) <= band["to"] * 1.01 for text in scores)
        assert tab.locator("[data-list=prompts] li").count() == len(SELF)
        tab.get_by_label("texts").select_option("controls")
        assert tab.locator("[data-list=prompts] li").count() == len(OTHER)
        assert tab.complaints == []


def test_what_was_found_has_a_page_before_anything_is_mined(runs: tuple[Path, Path]) -> None:
    with opened(runs[0] / "report.html", dark=True, width=420) as tab:
        assert tab.locator("[data-table=features] tbody tr").count() == 5
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
        assert tab.complaints == []


def test_a_run_that_found_nothing_has_a_page_that_says_so(llama: Subject, tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "none", "features find", Config({}), llama.describe(), 0)
    sae = ps.load_sae("organism:llama")
    with folder.running():
        silent = replace(sae, encoder_bias=torch.full_like(sae.encoder_bias, -1e9))
        save_found(folder, find_features(llama, silent, SELF, OTHER), {})
    with opened(folder.path / "report.html") as tab:
        assert "No feature fires" in tab.locator("main").inner_text()
        assert tab.complaints == []
