"""The report page, in a real browser and as text."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from report.browser import chromium, opened

import personascope as ps
from personascope.report import save_watch, write_report
from personascope.report.page import page
from personascope.runs import Config, RunFolder
from personascope.subject import Subject
from personascope.watching import watch

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <!-- <b>bold</b> &amp; \u2028 {{7*7}} ${1}"
PROMPTS = ["How are you today, and what do you think of all this?", HOSTILE, "Hello", "Hello"]

browser = pytest.mark.skipif(chromium() is None, reason="browser tests need chromium")


def traits(subject: Subject) -> list[ps.DirectionSet]:
    draw = torch.Generator().manual_seed(0)
    return [
        ps.DirectionSet(
            name,
            tuple(range(subject.n_layers)),
            torch.randn(subject.n_layers, subject.hidden_size, generator=draw),
            choices={"read_layer": 1},
            provenance={"positive_pole": f"The answer is {name}."},
        )
        for name in ("evil", "formal", "anxious_teenager")
    ]


@pytest.fixture(scope="module")
def run(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A watch run with a steered row, a hostile prompt, and decision points."""
    directions = traits(subject)
    steer = [[], [], [], [ps.add(directions[0][2], 2.0, tokens="sampling[:20]")]]
    found = watch(
        subject, directions, PROMPTS, steer=steer, max_new_tokens=60, suppress_eos=True, alarms_per_1000=40.0, seed=3
    )
    assert any(row.points for row in found.rows)
    folder = RunFolder.open(tmp_path_factory.mktemp("run") / "w", "watch", Config({}), subject.describe(), 3)
    with folder.running():
        save_watch(folder, found)
    return folder.path


@pytest.fixture(scope="module")
def found(run: Path) -> dict:
    return json.loads((run / "watch.json").read_text())


def shown(tab, trait: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    cells = tab.locator(f".pane >> nth=0 >> tr[data-trait={trait}] td[data-figure]")
    return {cell.get_attribute("data-figure"): float(cell.inner_text()) for cell in cells.all()}


def expected(found: dict, row: int, trait: str, layer: int, token: int) -> dict[str, float]:
    key = f"{trait}@{layer}"
    one = found["rows"][row]
    part = "prompt" if token < one["prompt_length"] else "response"
    scale = found["calibration"][part][key]
    value = one["projections"][key][token]
    assert one["z"][key][token] == pytest.approx((value - scale["zero"]) / scale["unit"], rel=1e-3, abs=1e-3)
    return {"value": value, "z": one["z"][key][token], "cosine": value / one["norms"][str(layer)][token]}


@browser
@pytest.mark.browser
def test_the_numbers_shown_are_the_numbers_in_the_json(run: Path, found: dict) -> None:
    with opened(run / "report.html") as tab:
        slider = tab.locator("input[type=range]")
        layers = tab.get_by_label("layer", exact=True)
        for layer in (1, 3, 0):
            layers.select_option(str(layer))
            for token in (0, 5, len(found["rows"][0]["tokens"]) - 1):
                slider.fill(str(token))
                for trait in ("evil", "formal", "anxious_teenager"):
                    assert shown(tab, trait) == pytest.approx(
                        expected(found, 0, trait, layer, token), rel=1e-3, abs=1e-6
                    )
                assert tab.locator("[data-figure=token]").inner_text() == str(token)
        assert tab.complaints == []


@browser
@pytest.mark.browser
def test_the_page_says_which_numbers_belong_to_which_token(run: Path, found: dict) -> None:
    row = found["rows"][0]
    token = row["prompt_length"] + 3
    with opened(run / "report.html") as tab:
        tab.locator("input[type=range]").fill(str(token))
        state = tab.locator(".state").inner_text()
        assert f"State after token {token}" in state
        assert f"it chooses token {token + 1}" in state
        assert "(response)" in state
        spans = tab.locator(".tok")
        assert spans.count() == len(row["tokens"])
        assert spans.nth(token).get_attribute("class").split()[-1] == "now"
        assert "next" in spans.nth(token + 1).get_attribute("class")
        spans.nth(1).click()
        assert "(prompt)" in tab.locator(".state").inner_text()
        assert "prompt" in spans.nth(1).get_attribute("class")
        assert "prompt" not in spans.nth(row["prompt_length"]).get_attribute("class")


@browser
@pytest.mark.browser
def test_every_control_is_reached_by_keyboard(run: Path, found: dict) -> None:
    row = found["rows"][0]
    points = [point["token"] for point in row["points"]]
    with opened(run / "report.html") as tab:
        token = tab.locator("[data-figure=token]")
        assert int(token.inner_text()) == row["prompt_length"]
        tab.keyboard.press("ArrowRight")
        assert int(token.inner_text()) == row["prompt_length"] + 1
        tab.keyboard.press("Home")
        assert token.inner_text() == "0"
        for point in points[:3]:
            tab.keyboard.press("n")
            assert int(token.inner_text()) == point
        tab.keyboard.press("ArrowDown")
        assert tab.get_by_label("colour by").input_value() == "formal"
        tab.keyboard.press("]")
        assert tab.get_by_label("layer", exact=True).input_value() == "2"
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.tagName") in ("BUTTON", "SELECT")


@browser
@pytest.mark.browser
def test_decision_points_are_listed_and_marked(run: Path, found: dict) -> None:
    with opened(run / "report.html") as tab:
        for number, row in enumerate(found["rows"][:3]):
            tab.get_by_label("row", exact=True).select_option(str(number))
            listed = [int(button.get_attribute("data-token")) for button in tab.locator(".points button").all()]
            assert listed == [point["token"] for point in row["points"]]
            assert tab.locator(".tok.point").count() == len(listed)
            if listed:
                tab.locator(".points button").last.click()
                assert int(tab.locator("[data-figure=token]").inner_text()) == listed[-1]


@browser
@pytest.mark.browser
def test_layers_behind_a_write_are_shaded_and_named(run: Path) -> None:
    with opened(run / "report.html") as tab:
        tab.get_by_label("row", exact=True).select_option("3")
        layers = tab.get_by_label("layer", exact=True)
        for layer, carried in ((1, False), (2, False), (3, True)):
            layers.select_option(str(layer))
            assert (tab.locator("table.carried").count() == 1) == carried
            assert ("carries a write" in layers.locator(f"option[value='{layer}']").inner_text()) == carried
        assert "add evil@2" in tab.locator(".done").first.inner_text()


@browser
@pytest.mark.browser
def test_two_rows_stand_side_by_side_and_move_together(run: Path, found: dict) -> None:
    with opened(run / "report.html") as tab:
        tab.get_by_label("row", exact=True).select_option("2")
        tab.get_by_label("beside it").select_option("3")
        assert tab.locator(".pane").count() == 2
        token = found["rows"][2]["prompt_length"] + 2
        tab.locator("input[type=range]").first.fill(str(token))
        assert [cell.inner_text() for cell in tab.locator("[data-figure=token]").all()] == [str(token)] * 2
        assert tab.complaints == []


@browser
@pytest.mark.browser
def test_what_a_model_wrote_never_becomes_markup(run: Path, found: dict) -> None:
    with opened(run / "report.html") as tab:
        tab.get_by_label("row", exact=True).select_option("1")
        tab.wait_for_function("document.querySelector('h2').innerText.startsWith('</script>')")
        assert tab.locator(".text img, .text script, .text b").count() == 0
        assert HOSTILE.replace("\u2028", "") in tab.locator(".text").inner_text().replace("\u2028", "")
        assert tab.locator("h2").first.inner_text().startswith("</script>")
        assert tab.complaints == []


@browser
@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_system_and_the_button(run: Path, dark: bool) -> None:
    with opened(run / "report.html", dark=dark) as tab:

        def brightness() -> float:
            colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

        assert (brightness() < 100) == dark
        button = tab.get_by_label("colours:")
        button.click()
        assert brightness() > 200
        button.click()
        assert brightness() < 100


@browser
@pytest.mark.browser
def test_two_runs_can_be_put_on_one_page(run: Path, tmp_path: Path) -> None:
    out = write_report([run, run], tmp_path / "both.html")
    with opened(out) as tab:
        assert tab.locator(".pane").count() == 2
        assert tab.complaints == []


def large() -> dict:
    """2,000 tokens × 11 traits × 8 layers, as a page holds them."""
    draw = np.random.default_rng(0)
    from personascope.report.page import _packed

    names, layers = [f"trait{n}" for n in range(11)], list(range(8))
    keys = [f"{name}@{layer}" for name in names for layer in layers]
    row = {
        "label": "large",
        "tokens": [f" word{n}" for n in range(2000)],
        "prompt_length": 50,
        "turns": [],
        "writes": [],
        "error": None,
        "points": [{"token": 300, "gain": 9.0, "moved": {"trait0@1": 2.0}}],
        "verdicts": [],
        "projections": {key: _packed(draw.normal(size=2000)) for key in keys},
        "norms": {str(layer): _packed(np.full(2000, 10.0)) for layer in layers},
    }
    scales = {key: {"zero": 0.0, "unit": 1.0} for key in keys}
    return {
        "view": "watch",
        "title": "large",
        "model": "large",
        "details": "1 row",
        "traits": [{"name": name, "positive_pole": "", "read_layer": 4, "layers": layers} for name in names],
        "layers": layers,
        "calibration": {"prompt": scales, "response": scales},
        "rows": [row],
    }


@browser
@pytest.mark.browser
def test_a_long_row_with_many_traits_and_layers_works(tmp_path: Path) -> None:
    (tmp_path / "large.html").write_text(page([large()]), encoding="utf-8")
    with opened(tmp_path / "large.html") as tab:
        slider = tab.locator("input[type=range]")
        for token in range(60, 1990, 97):
            slider.fill(str(token))
            assert tab.locator("[data-figure=token]").inner_text() == str(token)
        assert tab.locator("tr[data-trait]").count() == 11
        assert tab.complaints == []


def test_the_table_holds_every_reading(run: Path, found: dict) -> None:
    table = pq.read_table(run / "readings.parquet").to_pydict()
    count = sum(len(row["tokens"]) * len(row["projections"]) for row in found["rows"])
    assert len(table["value"]) == count
    row = found["rows"][0]
    values = [
        value
        for number, trait, layer, value in zip(
            table["row"], table["trait"], table["layer"], table["value"], strict=True
        )
        if (number, trait, layer) == (0, "formal", 2)
    ]
    assert values == pytest.approx(row["projections"]["formal@2"], rel=1e-5)


def test_a_page_needs_nothing_from_anywhere(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", text)
    assert "default-src 'none'" in html.unescape(text)


def test_a_folder_without_a_watch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match="not a run folder"):
        write_report([tmp_path], tmp_path / "x.html")
    RunFolder.open(tmp_path / "r", "watch", Config({}), {}, 0)
    with pytest.raises(ps.UserError, match="did not finish"):
        write_report([tmp_path / "r"], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
