"""From personas to directions: rollouts, judged and filtered, become contrast vectors with their quality."""

from personascope.extraction.axis import assistant_axis
from personascope.extraction.extract import extract
from personascope.extraction.texts import extract_from_texts

__all__ = ["assistant_axis", "extract", "extract_from_texts"]
