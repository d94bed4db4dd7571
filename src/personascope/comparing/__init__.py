"""Comparing along personas: two models with each other, and a dataset's responses with a model's own."""

from personascope.comparing.diff import Diff, Shift, diff
from personascope.comparing.screen import Screened, Screening, screen

__all__ = ["Diff", "Screened", "Screening", "Shift", "diff", "screen"]
