"""Text to read: files of the user's, and a little of ours."""

from personascope.corpora.neutral import neutral_texts

__all__ = ["neutral_texts"]
