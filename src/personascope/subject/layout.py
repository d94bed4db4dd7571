"""Where the messages of a rendered chat stand in its text."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError
from personascope.subject.chat_template import FOLD, Message, fold_system, keeps_system, markup, render
from personascope.subject.encoding import shared_beginning


@dataclass(frozen=True)
class Layout:
    """A rendered chat: its text, and where each message ends in it. `head`: where the first message begins."""

    text: str
    head: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opens_response: bool) -> "Layout":
        """Raises `UserError` where there is no template, and on a chat that it refuses or changes."""
        if not tokenizer.chat_template:
            raise UserError(
                "this tokenizer has no chat template: pass chat=False (--no-chat) for raw text, "
                "or set tokenizer.chat_template"
            )
        if not keeps_system(tokenizer, messages):
            inner = cls.of(tokenizer, fold_system(messages), opens_response)
            system = messages[0]["content"].strip()
            end = inner.text.index(system, inner.head) + len(system) + len(FOLD)
            return cls(inner.text, inner.head, (end, *inner.ends))
        text = render(tokenizer, messages, opens_response)
        around, closings = markup(tokenizer, tuple(message["role"] for message in messages), opens_response)
        spans = _content_spans(text, around, messages)
        starts = [start for start, _ in spans[1:]]
        ends = [
            stop + shared_beginning(closing, text[stop:until])
            for (_, stop), until, closing in zip(spans, [*starts, len(text)], closings, strict=True)
        ]
        bos = tokenizer.bos_token
        head = len(bos) if isinstance(bos, str) and text.startswith(bos) else 0
        return cls(text, head, tuple(ends))

    def opened(self, content: str, closing: str) -> "Layout":
        """The chat's text cut behind the content of its last turn, so that what follows goes on with it."""
        said = content.strip()
        if not said:
            raise UserError("the chat ends on an empty assistant turn; leave it out, or begin the answer in it")
        before = self.text.removesuffix(closing)
        stop = before.rindex(said) + len(said)
        return Layout(self.text[:stop], self.head, (*self.ends[:-1], stop))


def _content_spans(text: str, pieces: Sequence[str] | None, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Where each message's content lies in the rendered chat, as given or with its outer white space removed."""
    spans = []
    at = 0
    for place, message in enumerate(messages):
        bare = message["content"].strip()
        before, behind = (pieces[place], pieces[place + 1]) if pieces is not None else ("", "")
        start = at + len(before)
        content = next(
            (one for one in (message["content"], bare) if text.startswith(one + behind, start)),
            None if pieces else bare,
        )
        if content is None or not text.startswith(content, start):
            # The template writes this chat unlike the marked one: look for the words themselves.
            start, content = text.find(bare, at), bare
        if start < 0:
            raise UserError(
                f"message {place} of the chat is changed by the chat template and cannot be found in its text"
            )
        spans.append((start, start + len(content)))
        at = start + len(content)
    return spans
