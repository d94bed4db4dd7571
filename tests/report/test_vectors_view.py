"""The view of directions, in a real browser."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report.browser import chromium, opened

from personascope.extraction.extract import extract_all
from personascope.report import save_vectors, write_report
from personascope.report.page import page, vectors_run
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <b>bold</b> &amp;"


@pytest.fixture(scope="module")
def run(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"samples": 1, "questions": 9, "alphas": (1.0,), "steer_layers": [2, 3]}
    found = extract_all(llama, ["formal", "pirate", "evil"], **settings)  # type: ignore[arg-type]
    shown = dict(found.examples)
    shown["pirate"] = [replace(shown["pirate"][0], answer=HOSTILE, question=HOSTILE), *shown["pirate"][1:]]
    found = replace(found, examples=shown)
    other = extract_all(llama, ["formal"], tokens="prompt[-1]", **(settings | {"alphas": ()}))  # type: ignore[arg-type]
    folder = RunFolder.open(tmp_path_factory.mktemp("run") / "x", "extract", Config({}), llama.describe(), 0)
    with folder.running():
        save_vectors(folder, {"response": found, "prompt[-1]": other})
    return folder.path


def test_the_numbers_shown_are_those_of_the_run(run: Path) -> None:
    found = json.loads((run / "vectors.json").read_text())["groups"][0]
    with opened(run / "report.html") as tab:
        for one in found["personas"]:
            tab.get_by_label("persona", exact=True).select_option(one["name"])
            for layer in ("0", str(one["choices"]["read_layer"])):
                tab.get_by_label("layer", exact=True).select_option(layer)
                for key in (
                    "auroc",
                    "token_auroc",
                    "auroc_length_matched",
                    "auroc_without_common",
                    "split_half_cosine",
                ):
                    said = tab.locator(f"[data-table=quality] [data-figure={key}]").inner_text().split()[0]
                    assert said == f"{one['layers'][layer][key]:.3f}", key
                cells = tab.locator("[data-matrix=selectivity] tbody td").all_inner_texts()
                assert cells == [f"{x:.2f}" for row in found["relations"]["selectivity"][layer] for x in row]
            steering = one["choices"]["steering"]
            traits = [
                text.split()[0] for text in tab.locator("[data-table=steering] [data-figure=trait]").all_inner_texts()
            ]
            expected = [steering[key]["trait"] for key in ("unsteered", "steered", "system_prompt")]
            assert traits == [f"{value:.1f}" for value in expected]
            assert tab.locator("[data-figure=kl]").inner_text().strip() == f"{steering['neutral']['kl']:.3f}"
            kept = tab.locator("[data-split=report] [data-pole=pos]").inner_text()
            assert kept == f"{one['kept']['report']['pos']} of {one['sampled']['report']['pos']}"
        assert tab.complaints == []


def test_a_cosine_below_zero_is_on_the_chart_and_what_speaks_against_it_has_room(run: Path, tmp_path: Path) -> None:
    found = vectors_run(RunFolder.read(run))
    one = found["groups"][0]["personas"][0]
    one["layers"]["2"]["split_half_cosine"], one["doubts"] = -0.27, ["it may be no good"]
    (tmp_path / "page.html").write_text(page([found]), encoding="utf-8")
    with opened(tmp_path / "page.html") as tab:
        chart = tab.get_by_label("quality by layer")
        assert chart.get_attribute("data-least") == "-0.4"
        doubts, below = tab.locator(".doubts").bounding_box(), tab.locator(".panes").first.bounding_box()
        assert doubts and below and below["y"] - (doubts["y"] + doubts["height"]) == pytest.approx(14, abs=1)


def test_what_may_be_chance_is_not_recommended(run: Path, tmp_path: Path) -> None:
    found = vectors_run(RunFolder.read(run))
    one = found["groups"][0]["personas"][0]
    assert one["reads_surely"] and one["steers_surely"]
    with opened(run / "report.html") as tab:
        assert tab.locator("[data-said=dose]").inner_text().startswith("Steer at layer")
        assert tab.locator("[data-said=reading]").inner_text().startswith("Read at layer")
    one["reads_surely"] = one["steers_surely"] = False
    (tmp_path / "page.html").write_text(page([found]), encoding="utf-8")
    with opened(tmp_path / "page.html") as tab:
        assert tab.locator("[data-said=dose]").inner_text().startswith("The dose chosen does not surely bring")
        assert tab.locator("[data-said=reading]").inner_text().startswith("The layer chosen does not surely read")


def test_what_a_model_wrote_stays_text(run: Path) -> None:
    with opened(run / "report.html", dark=True) as tab:
        tab.get_by_label("persona", exact=True).select_option("pirate")
        assert tab.locator(".examples li").first.inner_text().count(HOSTILE) == 2
        assert tab.locator(".examples img, .examples b b").count() == 0
        assert tab.complaints == []


def test_keys_move_between_personas_and_layers_and_selections_can_be_chosen(run: Path) -> None:
    with opened(run / "report.html", width=800) as tab:
        persona, layer = tab.get_by_label("persona", exact=True), tab.get_by_label("layer", exact=True)
        assert persona.input_value() == "formal"
        tab.keyboard.press("ArrowDown")
        assert persona.input_value() == "pirate"
        before = int(layer.input_value())
        tab.keyboard.press("[")
        assert int(layer.input_value()) == (before - 1) % 6
        tab.get_by_label("tokens").select_option("1")
        assert persona.input_value() == "formal"
        assert "No steering was chosen" in tab.locator("main").inner_text()
        assert tab.locator("[data-matrix]").count() == 0, "one persona alone has nothing to be compared with"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 800
        assert tab.complaints == []


def test_a_page_of_both_kinds_has_a_tab_for_each(run: Path, llama: Subject, tmp_path: Path) -> None:
    from personascope.directions.doors import load_directions
    from personascope.report import save_watch
    from personascope.watching import watch

    folder = RunFolder.open(tmp_path / "w", "watch", Config({}), llama.describe(), 0)
    with folder.running():
        save_watch(folder, watch(llama, load_directions(run)[:1], ["Hello"], max_new_tokens=8))
    page = write_report([run, folder.path], tmp_path / "both.html")
    with opened(page) as tab:
        assert tab.locator("[data-table=quality]").count() == 1
        tab.get_by_role("button", name="tokens").click()
        assert tab.locator("input[type=range]").count() == 1
        tab.get_by_role("button", name="directions").click()
        assert tab.locator("[data-table=quality]").count() == 1
        assert tab.complaints == []
