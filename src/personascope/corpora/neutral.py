"""The neutral text that residual norms are measured on."""

from functools import cache
from importlib import resources


@cache
def neutral_texts() -> tuple[str, ...]:
    """Sixteen short paragraphs without a persona, one per line of `neutral.txt`."""
    text = (resources.files(__package__) / "neutral.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
