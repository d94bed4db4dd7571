"""From personas to directions: rollouts, judged and filtered, become contrast vectors with their quality."""

from personascope.extraction.extract import extract
from personascope.extraction.texts import extract_from_texts

__all__ = ["extract", "extract_from_texts"]
