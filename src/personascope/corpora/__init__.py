"""Text to read: files of the user's, and a little of ours."""

from personascope.corpora.documents import Corpus, Document, read_corpus, record_of, texts_corpus
from personascope.corpora.neutral import control_prompts, neutral_questions, neutral_texts, self_prompts
from personascope.corpora.prompts import Record, read_prompts
from personascope.corpora.transcripts import Transcript, read_transcripts, write_transcripts

__all__ = [
    "Corpus",
    "Document",
    "Record",
    "Transcript",
    "control_prompts",
    "neutral_questions",
    "neutral_texts",
    "read_corpus",
    "read_prompts",
    "read_transcripts",
    "record_of",
    "self_prompts",
    "texts_corpus",
    "write_transcripts",
]
