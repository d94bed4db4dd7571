"""Text to read: files of the user's, and a little of ours."""

from personascope.corpora.neutral import neutral_questions, neutral_texts
from personascope.corpora.prompts import Record, read_prompts
from personascope.corpora.transcripts import Transcript, read_transcripts, write_transcripts

__all__ = [
    "Record",
    "Transcript",
    "neutral_questions",
    "neutral_texts",
    "read_prompts",
    "read_transcripts",
    "write_transcripts",
]
