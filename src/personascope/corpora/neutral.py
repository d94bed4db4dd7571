"""Short texts of ours to measure on: paragraphs for residual norms, questions for calibration, prompts about the self."""

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


@cache
def self_prompts() -> tuple[str, ...]:
    """Twelve questions that ask a model about itself."""
    return _lines("self_prompts.txt")


@cache
def control_prompts() -> tuple[str, ...]:
    """Sixty questions about other things, five for each of `self_prompts`: of its length and form, and with its "you"."""
    return _lines("control_prompts.txt")


def _lines(name: str) -> tuple[str, ...]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
