"""Neutral text to measure on: paragraphs for residual norms, questions for calibration."""

from functools import cache
from importlib import resources


@cache
def neutral_texts() -> tuple[str, ...]:
    """Sixteen short paragraphs without a persona."""
    return _lines("neutral_texts.txt")


@cache
def neutral_questions() -> tuple[str, ...]:
    """Forty questions that call for no persona."""
    return _lines("neutral_questions.txt")


def _lines(name: str) -> tuple[str, ...]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
