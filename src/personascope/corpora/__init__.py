"""Text to read: files of the user's, and a little of ours."""

from personascope.corpora.neutral import neutral_questions, neutral_texts
from personascope.corpora.prompts import Record, read_prompts

__all__ = ["Record", "neutral_questions", "neutral_texts", "read_prompts"]
