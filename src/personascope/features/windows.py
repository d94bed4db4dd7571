"""Documents as token windows that a model can run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from personascope.corpora import Document
from personascope.errors import UserError
from personascope.subject import Prompt, Subject
from personascope.subject.chat import as_messages
from personascope.subject.chat_template import render

# Tokens of one window at most: longer documents are run in several, each after a BOS of its own.
WINDOW = 1024
_TOGETHER = 64


@dataclass(frozen=True)
class Window:
    """Some consecutive tokens of a document. offset: where its first own token stands in the document; skipped: how many
    tokens at its head are no document's (BOS)."""

    document: str
    offset: int
    ids: tuple[int, ...]
    skipped: int

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.ids, (), self.document, is_raw=True)

    def __len__(self) -> int:
        """Tokens of the document."""
        return len(self.ids) - self.skipped


def windows(
    subject: Subject, documents: Iterator[Document], longest: int = WINDOW, first: int = 0
) -> Iterator[list[Window]]:
    """The windows of each document. Texts are tokenized as raw text, chats by the template; none for a document without
    tokens, and for a chat that the template refuses. first: the number of the first document in its corpus, which is read
    ahead to the same places wherever one begins. Raises `UserError` on chats where there is no template."""
    longest = min(longest, subject.context or longest)
    count = _TOGETHER - first % _TOGETHER
    while held := list(islice(documents, count)):
        count = _TOGETHER
        for document, ids in zip(held, _encode(subject, held), strict=True):
            yield _windows(document.name, ids, subject.tokenizer.bos_token_id, longest)


def _encode(subject: Subject, documents: Sequence[Document]) -> list[list[int]]:
    """Token ids of each document, tokenized together."""
    ids: list[list[int]] = [[]] * len(documents)
    texts = [place for place, one in enumerate(documents) if isinstance(one.content, str)]
    rendered = {
        place: text
        for place, one in enumerate(documents)
        if not isinstance(one.content, str) and (text := _rendered(subject, one)) is not None
    }
    if texts:
        encoded: Any = subject.tokenizer([documents[place].content for place in texts], verbose=False)
        for place, row in zip(texts, encoded["input_ids"], strict=True):
            ids[place] = row
    if rendered:
        encoded = subject.tokenizer(list(rendered.values()), add_special_tokens=False, verbose=False)
        for place, row in zip(rendered, encoded["input_ids"], strict=True):
            ids[place] = row
    return ids


def _rendered(subject: Subject, document: Document) -> str | None:
    """A chat as the template writes it, None where the template refuses it."""
    try:
        return render(subject.tokenizer, subject.chat.folded(as_messages(document.content)), opens_response=False)
    except UserError as error:
        if not subject.chat.has_template:
            raise UserError(f"{document.name}: {error}") from error
        return None


def _windows(name: str, ids: Sequence[int], bos: int | None, longest: int) -> list[Window]:
    # A text that was written down with its BOS has two; they count as one.
    first = next((place for place, token in enumerate(ids) if token != bos), len(ids))
    head, own = tuple(ids[: min(first, 1)]), ids[first:]
    room = longest - len(head)
    return [
        Window(name, start, head + tuple(own[start : start + room]), len(head)) for start in range(0, len(own), room)
    ]
