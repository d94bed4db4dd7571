"""The view of question insertion, in a real browser."""

import json
from pathlib import Path

import pytest
from report.browser import chromium, opened

from personascope.corpora import Transcript
from personascope.persistence.inserting import Inserting, insert_all
from personascope.report.insertion import save_insertion
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]


@pytest.fixture(scope="module")
def run(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = {"one": "Arr, salty ships.", "<b>two</b>": "Dear, warm cookies.", None: "Books are useful."}
    transcripts = [
        Transcript(((f"What is {n}?", text), ("And then?", text), ("So?", text)), role, "Speak." if role else "")
        for role, text in words.items()
        for n in ("tea", "rain")
    ]
    plan = Inserting.of(transcripts, ["Who are you?", "What is bread?"], None, 2)
    folder = RunFolder.open(tmp_path_factory.mktemp("run") / "x", "insert", Config({}), llama.describe(), 0)
    with folder.running():
        save_insertion(folder, insert_all(llama, plan))
    return folder.path


def test_numbers_are_those_of_the_run(run: Path) -> None:
    plain = json.loads((run / "insertion.json").read_text())
    with opened(run / "report.html") as tab:
        for place, part in enumerate(plain["parts"]):
            tab.locator("[data-table=parts] tbody tr").nth(place).get_by_role("button").click()
            assert tab.get_by_label("role", exact=True).input_value() == part["role"]
            for table, is_centred in ((part["centred_cosine"], True), (part["cosine"], False)):
                tab.get_by_role("checkbox").set_checked(is_centred)
                cells = tab.locator("[data-matrix=points] td").all_inner_texts()
                assert [float(text) for text in cells] == pytest.approx([v for row in table for v in row], abs=0.006)
            shown = (
                tab.locator("[data-table=parts] tbody tr").nth(place).locator("[data-figure=consistency]").inner_text()
            )
            assert float(shown.split()[0]) == pytest.approx(part["consistency"][0], rel=0.01)
        told = tab.locator("[data-table=told] [data-figure=accuracy]").all_inner_texts()
        assert [float(text.split()[0]) for text in told] == pytest.approx(
            [one["accuracy"][0] for one in plain["told"].values()], abs=0.01
        )
        assert tab.complaints == []


def test_dark_and_narrow_stay_readable(run: Path) -> None:
    with opened(run / "report.html", dark=True, width=420) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
        assert tab.complaints == []
