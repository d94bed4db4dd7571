"""What the view of watched rows opens on, marks and lines up, on runs made up for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from report.browser import chromium, opened

from personascope.report.page import _packed, page

pytestmark = [pytest.mark.skipif(chromium() is None, reason="browser tests need chromium"), pytest.mark.browser]
LAYERS = [1, 2, 4]
DOUBT = "at layer 4 it tells the poles apart not surely better than chance: AUROC 0.48"
TRAITS = [("corrigibility", 4, DOUBT), ("evil", 4, None), ("formal", 2, None)]


def row(label: str = "one", prompt: int = 3, length: int = 12, **fields: Any) -> dict[str, Any]:
    """A row of so many tokens in which nothing stirs."""
    still = _packed(np.zeros(length))
    plain = {
        "label": label,
        "tokens": [f" word{n}" for n in range(length)],
        "prompt_length": prompt,
        "turns": [],
        "writes": [],
        "finish": "end",
        "error": None,
        "points": [],
        "verdicts": [],
        "projections": {f"{name}@{layer}": still for name, *_ in TRAITS for layer in LAYERS},
        "norms": {str(layer): _packed(np.ones(length)) for layer in LAYERS},
    }
    return plain | fields


def run(*rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A run of these rows, every value its own z."""
    scales = {key: {"zero": 0.0, "unit": 1.0} for key in rows[0]["projections"]}
    traits = [
        {"name": name, "positive_pole": "", "read_layer": layer, "layers": LAYERS, "doubt": doubt}
        for name, layer, doubt in TRAITS
    ]
    plain = {
        "view": "watch",
        "title": "run",
        "model": "a model",
        "details": "1 row · seed 0",
        "traits": traits,
        "layers": LAYERS,
        "calibration": {"prompt": scales, "response": scales},
        "rows": list(rows),
    }
    return plain | fields


@contextmanager
def shown(folder: Path, *runs: dict[str, Any], **options: Any) -> Iterator[Page]:
    (folder / "page.html").write_text(page(runs), encoding="utf-8")
    with opened(folder / "page.html", **options) as tab:
        yield tab
        assert tab.complaints == []  # type: ignore[attr-defined]


def test_traits_that_may_read_by_chance_are_marked_and_stand_behind_the_others(tmp_path: Path) -> None:
    point = {"token": 5, "gain": 9.0, "moved": {"evil@4": 0.7, "corrigibility@4": 3.3}}
    with shown(tmp_path, run(row(points=[point]))) as tab:
        names = tab.locator("tr[data-trait]").evaluate_all("all => all.map((one) => one.dataset.trait)")
        assert names == ["evil", "formal", "corrigibility"]
        options = tab.get_by_label("colour by").locator("option").all_inner_texts()
        assert options == ["evil", "formal", "corrigibility · not surely"]
        marks = tab.locator(".doubt")
        assert marks.all_inner_texts() == ["not surely"] * 2, "in the table and in the list of decision points"
        assert DOUBT in (marks.first.get_attribute("title") or "")
        said = " ".join(tab.locator(".points button").inner_text().split())
        assert "evil@4 +0.7 z corrigibility@4 +3.3 z not surely" in said


WRITE = {"operation": "add", "direction": "evil@2", "layer": 2, "alpha": 1.0, "relative": False, "tokens": "sampling"}


def reading(key: str, value: float) -> dict[str, Any]:
    """What a row of 12 tokens reads where one key rises at its token 7."""
    return row()["projections"] | {key: _packed(np.eye(12)[7] * value)}


@pytest.mark.parametrize(
    ("rows", "opens"),
    [
        ([row(), row(writes=[WRITE])], ("evil", "4")),
        ([row(projections=reading("formal@2", 5.0)), row(projections=reading("evil@4", 9.0))], ("formal", "2")),
        ([row(projections=reading("evil@4", -5.0))], ("formal", "2")),
        ([row(projections=reading("corrigibility@4", 9.0))], ("evil", "4")),
    ],
    ids=[
        "the steered one",
        "the strongest of the row shown",
        "the strongest, not the weakest",
        "not one that may be chance",
    ],
)
def test_the_page_opens_on_the_trait_to_look_at_where_it_is_read(
    rows: list[dict[str, Any]], opens: tuple[str, str], tmp_path: Path
) -> None:
    with shown(tmp_path, run(*rows)) as tab:
        assert (
            tab.get_by_label("colour by").input_value(),
            tab.get_by_label("layer", exact=True).input_value(),
        ) == opens


def test_choosing_a_trait_moves_to_the_layer_it_is_read_at(tmp_path: Path) -> None:
    with shown(tmp_path, run(row())) as tab:
        layer = tab.get_by_label("layer", exact=True)
        for choose in (
            lambda: tab.get_by_label("colour by").select_option("formal"),
            lambda: tab.locator("tr[data-trait=formal]").click(),
            lambda: tab.keyboard.press("ArrowDown"),
        ):
            tab.locator("tr[data-trait=evil]").click()
            assert layer.input_value() == "4"
            choose()
            assert layer.input_value() == "2"
            assert layer.locator("option").all_inner_texts() == ["1", "2 · read here", "4"]


def test_rows_whose_prompts_differ_in_length_stand_beside_each_other_response_by_response(tmp_path: Path) -> None:
    point = {"token": 10, "gain": 9.0, "moved": {"evil@4": 3.0}}
    rows = row(), row("two", prompt=7, length=14, points=[point]), row("three")
    with shown(tmp_path, run(*rows)) as tab:

        def tokens() -> list[int]:
            return [int(one) for one in tab.locator("[data-figure=token]").all_inner_texts()]

        align = tab.get_by_label("align at the response")
        assert align.count() == 0
        tab.get_by_label("beside it").select_option("2")
        assert align.count() == 0, "prompts of one length are aligned as they are"
        tab.get_by_label("beside it").select_option("1")
        assert align.is_checked() and tokens() == [3, 7]
        tab.locator(".slide input").nth(1).fill("9")
        assert tokens() == [5, 9]
        tab.keyboard.press("n")
        assert tokens() == [6, 10]
        tab.keyboard.press("Home")
        assert tokens() == [0, 0], "the longer prompt begins before the shorter one"
        tab.keyboard.press("End")
        assert tokens() == [11, 13]
        tab.locator(".slide input").first.fill("5")
        align.uncheck()
        assert tokens() == [5, 5]


def test_decision_points_at_the_edge_of_a_write_say_so(tmp_path: Path) -> None:
    points = [
        {"token": token, "gain": 9.0, "moved": {"evil@4": 1.0}, "steering": edge}
        for token, edge in ((5, None), (9, "ends"))
    ]
    with shown(tmp_path, run(row(points=points, writes=[WRITE]))) as tab:
        marked = ["where steering ends" in said for said in tab.locator(".points button").all_inner_texts()]
        assert marked == [False, True]


def test_text_that_turns_direction_turns_nothing_but_itself(tmp_path: Path) -> None:
    tokens = [f" word{n}" for n in range(12)]
    tokens[5], tokens[7] = " one\u202etwo", " \u05d0\u05d1\u05d2"
    with shown(tmp_path, run(row(tokens=tokens))) as tab:
        spans = tab.locator(".tok")
        assert spans.nth(5).inner_text().strip() == "one‹U+202E›two"
        left = [spans.nth(place).bounding_box()["x"] for place in range(3, 9)]  # type: ignore[index]
        assert left == sorted(left), "tokens follow each other as they were written"
        assert spans.nth(7).evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
        tab.locator(".slide input").fill("5")
        assert "one‹U+202E›two" in tab.locator(".state").inner_text()


@pytest.mark.parametrize("width", [1200, 420])
def test_a_word_without_end_stays_on_the_page(width: int, tmp_path: Path) -> None:
    tokens = [f" word{n}" for n in range(12)]
    tokens[5] = "w" * 1500
    long = row("l" * 300, tokens=tokens, error="e" * 300)
    with shown(tmp_path, run(long, row("two")), width=width) as tab:
        tab.get_by_label("beside it").select_option("1")
        tab.locator(".slide input").first.fill("5")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_head_names_the_runs_and_their_model_once(tmp_path: Path) -> None:
    both = run(row(), title="w1"), run(row(), title="w8")
    with shown(tmp_path, *both) as tab:
        said = tab.locator("header .facts").inner_text()
        assert said == "a model · w1 (1 row · seed 0) against w8 (1 row · seed 0)"
        legend = " ".join(tab.locator(".legend").first.inner_text().split())
        assert legend == "z of evil at layer 4: −4 and less −2 0 +2 +4 and more"
    with shown(tmp_path, both[0], run(row(), title="w8", model="another")) as tab:
        said = tab.locator("header .facts").inner_text()
        assert said == "w1 (a model · 1 row · seed 0) against w8 (another · 1 row · seed 0)"


def test_all_of_it_fits_a_narrow_screen(tmp_path: Path) -> None:
    write = WRITE | {"direction": "evil" * 20}
    point = {"token": 5, "gain": 9.0, "moved": {"evil@4": 0.7, "corrigibility@4": 3.3}, "steering": "ends"}
    with shown(tmp_path, run(row("long label " * 20, points=[point], writes=[write])), width=420) as tab:
        cards = tab.locator(".card")
        for card in cards.all():
            assert card.evaluate("one => one.scrollWidth <= one.clientWidth"), card.get_attribute("class")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420
