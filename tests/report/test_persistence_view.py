"""The view of continuous sampling, in a real browser."""

import json
from pathlib import Path

import pytest
import torch
from report.browser import chromium, opened

import personascope as ps
from personascope.persistence.continuous import persistence
from personascope.report.persistence import save_persistence
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]


@pytest.fixture(scope="module")
def run(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = torch.Generator().manual_seed(0)
    pushes = [ps.Direction(20 * torch.randn(llama.hidden_size, generator=draw), 2, name) for name in ("one", "two")]
    found = persistence(llama, pushes, ["What is tea?", "<b>Who</b>?", "Hello"], n_steer=12, n_sample=20, cache="both")
    folder = RunFolder.open(tmp_path_factory.mktemp("run") / "x", "persist", Config({}), llama.describe(), 0)
    with folder.running():
        save_persistence(folder, found)
    return folder.path


def test_the_ranking_and_the_texts_are_those_of_the_run(run: Path) -> None:
    plain = json.loads((run / "persistence.json").read_text())
    with opened(run / "report.html") as tab:
        shown = [row.get_attribute("data-direction") for row in tab.locator("[data-table=ranking] tbody tr").all()]
        ranked = [one["direction"] for one in plain["ranking"]]
        assert shown[: len(ranked)] == ranked and sorted(shown) == ["one@2", "two@2"]
        for one in plain["ranking"]:
            said = tab.locator(f"[data-direction='{one['direction']}'] [data-figure=half_life]").inner_text()
            half = one["half_life"]
            expected = "does not decay" if half is None else f"{float(format(half, '.3g')):g}"
            assert said.startswith(expected)
        tab.get_by_role("button", name="two@2").click()
        assert tab.get_by_label("steered with", exact=True).input_value() == "two@2"
        tab.get_by_label("row", exact=True).select_option("1")
        arm = next(one for one in plain["arms"] if (one["kind"], one["direction"]) == ("steered", "two@2"))
        assert arm["texts"][1]["after"].split()[-1] in tab.locator("ul.examples").inner_text()
        tab.get_by_label("read", exact=True).select_option("one@2")
        assert "Projection on one@2" in tab.locator("h2").first.inner_text()
        assert tab.complaints == []


def test_dark_and_narrow_stay_readable(run: Path) -> None:
    with opened(run / "report.html", dark=True, width=420) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
        assert tab.complaints == []
