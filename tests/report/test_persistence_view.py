"""The view of continuous sampling, in a real browser."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from report.browser import chromium, opened

import personascope as ps
from personascope.persistence.continuous import persistence
from personascope.persistence.crossing import cross
from personascope.report.page import write_report
from personascope.report.persistence import save_persistence
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]


@pytest.fixture(scope="module")
def run(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = torch.Generator().manual_seed(0)
    pushes = [ps.Direction(20 * torch.randn(llama.hidden_size, generator=draw), 2, name) for name in ("one", "two")]
    prompts = ["What is tea?", "<b>Who</b>?", "Hello"]
    found = persistence(llama, pushes, prompts, n_steer=12, n_sample=20, cache="both")
    crossings = {one.key: cross(llama, one, prompts, n_steer=12, n_sample=20, watch=[one, one.at(4)]) for one in pushes}
    folder = RunFolder.open(tmp_path_factory.mktemp("run") / "x", "persist", Config({}), llama.describe(), 0)
    with folder.running():
        save_persistence(folder, found, crossings)
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
            beyond = "more than" if one["verdict"] == "decays slowly" else "does not decay"
            expected = beyond if half is None else f"{float(format(half, '.3g')):g}"
            assert said.startswith(expected)
        note = tab.locator("[data-table=ranking]").locator("xpath=../..").locator(".note").inner_text()
        assert "over fewer than 5 prompts are too narrow" in note and "beyond the 20 tokens sampled" in note
        tab.get_by_role("button", name="two@2").click()
        assert tab.get_by_label("steered with", exact=True).input_value() == "two@2"
        tab.get_by_label("row", exact=True).select_option("1")
        arm = next(one for one in plain["arms"] if (one["kind"], one["direction"]) == ("steered", "two@2"))
        assert arm["texts"][1]["after"].split()[-1] in tab.locator("ul.examples").inner_text()
        tab.get_by_label("read", exact=True).select_option("one@2")
        assert "Projection on one@2" in tab.locator("h2").first.inner_text()
        assert tab.complaints == []


def test_the_crossing_table_shows_the_runs_numbers(run: Path) -> None:
    found = json.loads((run / "persistence.json").read_text())["crossings"]
    with opened(run / "report.html") as tab:
        for chosen in ("one@2", "two@2"):
            tab.get_by_role("button", name=chosen).click()
            rows = tab.locator("[data-table=crossings] tbody tr")
            assert [row.locator("td").first.inner_text() for row in rows.all()] == [
                f"{chosen} steered here",
                f"{chosen[:3]}@4",
            ]
            for where in ("forced", "sampled"):
                largest = max(abs(one) for of in found[chosen][where].values() for each in of.values() for one in each)
                for of in ("text", "cache"):
                    for key, values in found[chosen][where][of].items():
                        said = tab.locator(f"[data-figure='{where}-{of}-{key}']").inner_text()
                        shown = [float(one) for one in re.findall(r"-?[0-9.]+", said)]
                        places = len(said.split()[0].partition(".")[2])
                        assert 10**-places <= largest / 100, "three digits of the largest at least"
                        assert shown == pytest.approx(values, abs=0.51 * 10**-places), (where, of, key)
            assert f"next {found[chosen]['tokens']} tokens" in tab.locator("body").inner_text()
        assert tab.complaints == []


def test_without_a_crossing_there_is_no_such_table(run: Path, tmp_path: Path) -> None:
    plain = json.loads((run / "persistence.json").read_text()) | {"crossings": {}}
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "persistence.json").write_text(json.dumps(plain))
    page = write_report([tmp_path / "r"], tmp_path / "page.html")
    with opened(page) as tab:
        assert tab.locator("[data-table=ranking]").count() == 1
        assert tab.locator("[data-table=crossings]").count() == 0
        assert tab.complaints == []


def test_dark_and_narrow_stay_readable(run: Path) -> None:
    with opened(run / "report.html", dark=True, width=420) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
        assert tab.complaints == []
