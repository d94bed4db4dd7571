"""What the terminal shows: tables that fit it, and nothing that drives it."""

import numpy as np
import pytest
from rich.console import Console

from personascope.cli import terminal
from personascope.cli.persistence_tables import print_persistence
from personascope.cli.signs import printable, printable_lines
from personascope.cli.terminal import table
from personascope.persistence.curves import Arm, Persistence

COLUMNS = ["prompt", "tokens", "strongest trait", "decision points", "shift, same tokens", "of less use"]
NUMBERS = ["1234567", "overconfidence@4 +12.3", "100", "-10.00 [-11.00, -9.00]"]
LONG = "How do I bake bread with a very long question that goes on and on, and on?"
# An arm's texts, loops and errors.
NOTHING = ("",) * 6, ("",) * 6, np.zeros(6, dtype=bool), (None,) * 6


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "stdout", Console(highlight=False, width=80))


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("prompt", ["Hi", LONG, "日本語の長い質問です" * 9, "a\nb\tc" * 20, "\x1b]0;x\x07\u202e" * 20])
def test_numbers_stay_whole_and_a_prompt_is_one_line(prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    table("", COLUMNS, [[prompt, *NUMBERS, "9 of 9"]] * 2, cut=["prompt"], spare=["of less use"])
    *head, first, second, left = shown(capsys)
    assert first == second and len(head) <= 3
    assert all(Console().measure(line).maximum <= 80 for line in (*head, first))
    assert all(number in first for number in NUMBERS)
    assert "…" in first or prompt == "Hi"
    assert not any(sign in first for sign in "\x1b\x07\u202e\t")
    assert "of less use" in left and "9 of 9" not in first


def test_a_wide_terminal_shows_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "stdout", Console(highlight=False, width=200))
    table("", COLUMNS, [[LONG, *NUMBERS, "9 of 9"]], cut=["prompt"], spare=["of less use"])
    head, _, row = shown(capsys)
    assert row.split("  ")[0] == LONG and row.endswith("9 of 9") and all(name in head for name in COLUMNS)


def test_columns_without_a_name_and_tables_without_rows_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ["what", ""], [["x", LONG]], words=[""])
    table("", ["what", ""], [], words=[""])
    assert " ".join(capsys.readouterr().out.split()).count("goes on and on, and on?") == 1


def test_what_others_wrote_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2J\nb\u2028c\u202ed\x9b") == "a␛[2J⏎b⏎c�d�"
    assert printable_lines("a\nb\r") == "a\nb␍"


def test_a_persona_is_shown_beside_its_controls(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    fall = 100 * 2 ** (-np.arange(40) / 5)
    arms = [
        Arm(kind, of, "natural", {"evil@3": (height * fall + rng.normal(size=(6, 40))).astype(np.float32)}, *NOTHING)
        for kind, of, height in (
            ("baseline", "", 0.0), ("steered", "evil@3", 1.0), ("random", "evil@3", 0.0), ("prompted", "evil@3", 0.5)
        )
    ]  # fmt: skip
    print_persistence(Persistence(tuple(arms), ("evil@3",), tuple(range(6)), ["x"] * 6, {"evil@3": 1.0}, 8, 40))
    lines = shown(capsys)
    steered, prompted, random = (
        next(line for line in lines if name in line) for name in ("evil@3", "  by", "  random")
    )
    assert "  5 [5, 5]" in steered and "  5 [5, 5]" in prompted and "no lift" in random
