"""Other tools' projections per token, as a run to look at."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.browser import chromium, opened

import personascope as ps
from personascope.cli.main import run
from personascope.watching.dashboards import dashboard_run, read_dashboard

PROMPT, RESPONSE = ["<bos>", "Hi", "\n"], ["Arr", ",", " matey", "."]
VALUES = {"prompt": [0.0, 1.0, 2.0], "response": [3.0, 5.0, 4.0, 8.0]}
NORMS = {"prompt": [10.0, 10.0, 10.0], "response": [10.0, 20.0, 10.0, 10.0]}

ONE_LAYER = {"vector_source": {"layer": 4}, "trait": "pirate"}
SHORT = {"pirate": {"4": {"prompt": [1.0], "response": [1.0]}}}
WORDS = {"pirate": {"4": {"prompt": ["a"], "response": []}}}
SHAPES: dict[str, dict[str, Any]] = {
    "one trait": {"metadata": ONE_LAYER, "projections": VALUES, "activation_norms": NORMS},
    "several vectors": {"trait": "pirate", "projections": [{"layer": 4, **VALUES, "token_norms": NORMS}]},
    "several traits": {"projections": {"pirate": {"4": VALUES}, "evil": {"layer_4": VALUES}}, "norms": {"4": NORMS}},
}
TOKENS: dict[str, dict[str, Any]] = {
    "apart": {"prompt": {"text": "Hi", "tokens": PROMPT}, "response": {"tokens": RESPONSE}},
    "together": {"tokens": PROMPT + RESPONSE, "prompt_end": 3, "prompt": "Hi"},
    "flat": {"prompt_tokens": PROMPT, "response_tokens": RESPONSE},
}


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", TOKENS)
def test_every_shape_gives_the_same_numbers(shape: str, tokens: str, tmp_path: Path) -> None:
    whole = read_dashboard(write(tmp_path / "a.json", SHAPES[shape] | TOKENS[tokens]))
    apart = read_dashboard(write(tmp_path / "b.json", SHAPES[shape]), write(tmp_path / "t.json", TOKENS[tokens]))
    for one in (whole, apart):
        assert one.tokens == PROMPT + RESPONSE and one.prompt_length == 3
        assert one.projections["pirate@4"].tolist() == [*VALUES["prompt"], *VALUES["response"]]
        assert one.norms[4].tolist() == [*NORMS["prompt"], *NORMS["response"]]


def test_zero_and_unit_are_those_of_the_texts_themselves(tmp_path: Path) -> None:
    one = read_dashboard(write(tmp_path / "a.json", SHAPES["one trait"] | TOKENS["flat"]))
    plain = dashboard_run([one, one])
    z = np.array(plain["rows"][0]["z"]["pirate@4"])
    assert z[3:].mean() == pytest.approx(0) and z[3:].std() == pytest.approx(1)
    assert z[:3].mean() == pytest.approx(0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"projections": VALUES}, "does not say what its tokens are"),
        (TOKENS["flat"], "has no projections"),
        ({"projections": VALUES, **TOKENS["flat"]}, "give --layer"),
        ({"projections": SHORT, **TOKENS["flat"]}, "2 projections of pirate@4 for 7"),
        ({"projections": WORDS, **TOKENS["flat"]}, "not lists of numbers"),
        ({"instruction": [], "questions": []}, "is a persona file"),
        ({"conversation": []}, "is a transcript"),
        ([1], "no JSON object"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_said(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match=said):
        read_dashboard(write(tmp_path / "a.json", value))


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="browser tests need chromium")
def test_the_command_makes_a_page_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = SHAPES["several traits"] | TOKENS["apart"]
    del bare["norms"]
    file = write(tmp_path / "a.json", bare)
    assert run(["import", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    page = Path(json.loads(capsys.readouterr().out)["report"])
    with opened(page.resolve()) as tab:
        row = tab.locator("tr[data-trait=pirate]")
        assert row.locator("[data-figure=value]").inner_text() == "3"
        assert row.locator("[data-figure=cosine]").inner_text() == "–", "without norms there is no cosine"
        assert tab.complaints == []
    assert run(["import", str(file), str(file), "--tokens", str(file), "--out", str(tmp_path / "x")]) == 2
    assert "one for each" in capsys.readouterr().err
