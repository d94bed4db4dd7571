"""The model under study: loading it, finding its layers, formatting its chats, aligning its tokens to text."""

from personascope.subject.chat import Prompt, PromptLike, Turn
from personascope.subject.load import load_subject
from personascope.subject.subject import Subject

__all__ = ["Prompt", "PromptLike", "Subject", "Turn", "load_subject"]
