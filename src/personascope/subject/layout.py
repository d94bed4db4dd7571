"""Where the messages of a rendered chat stand in its text."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError
from personascope.subject.chat_template import (
    FOLD,
    Markup,
    Message,
    changed_span,
    fold_system,
    keeps_system,
    markup,
    render,
    template_of,
)
from personascope.subject.encoding import shared_beginning


@dataclass(frozen=True)
class Layout:
    """A rendered chat: its text, and where each message begins and ends in it, its markup included."""

    text: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opens_response: bool) -> "Layout":
        """Raises `UserError` where there is no template, and on a chat that it refuses."""
        if not template_of(tokenizer):
            raise UserError(
                "this tokenizer has no chat template: pass chat=False (--no-chat) for raw text, "
                "or set tokenizer.chat_template"
            )
        if not keeps_system(tokenizer, messages):
            inner = cls.of(tokenizer, fold_system(messages), opens_response)
            system = messages[0]["content"].strip()
            (start, stop), *rest = inner.spans
            end = _found(inner.text, system, start, 0)[1] + len(FOLD)
            return cls(inner.text, ((start, end), (end, stop), *rest))
        text = render(tokenizer, messages, opens_response)
        written = markup(tokenizer, tuple(message["role"] for message in messages), opens_response)
        contents = _content_spans(tokenizer, text, written, messages, opens_response)
        bos = tokenizer.bos_token
        edge = len(bos) if isinstance(bos, str) and text.startswith(bos) else 0
        spans = {}
        for place, following in zip(written.order, [*written.order[1:], None], strict=True):
            stop = contents[place][1]
            until = len(text) if following is None else contents[following][0]
            end = stop + shared_beginning(written.closings[place], text[stop:until])
            spans[place] = edge, end
            edge = end
        return cls(text, tuple(spans[place] for place in range(len(messages))))

    def opened(self, content: str, closing: str) -> "Layout":
        """The chat's text cut behind the content of its last turn, so that what follows goes on with it."""
        said = content.strip()
        if not said:
            raise UserError("the chat ends on an empty assistant turn; leave it out, or begin the answer in it")
        before = self.text.removesuffix(closing)
        stop = before.rindex(said) + len(said)
        return Layout(self.text[:stop], (*self.spans[:-1], (self.spans[-1][0], stop)))


def _content_spans(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    written: Markup,
    messages: Sequence[Message],
    opens_response: bool,
) -> dict[int, tuple[int, int]]:
    """Where each message's content lies in the rendered chat: as given, with its outer white space removed, or as the
    template has changed it."""
    spans = {}
    at = 0
    for number, place in enumerate(written.order):
        content = messages[place]["content"]
        before, behind = ("", "") if written.around is None else written.around[number : number + 2]
        start = at + len(before)
        said = next((one for one in (content, content.strip()) if text.startswith(one + behind, start)), None)
        if written.around is not None and said is not None:
            spans[place] = start, start + len(said)
        else:
            # The template writes this chat unlike the marked one.
            spans[place] = changed_span(tokenizer, messages, place, opens_response) or _found(text, content, at, place)
        at = spans[place][1]
    return spans


def _found(text: str, content: str, at: int, place: int) -> tuple[int, int]:
    """The words themselves, wherever they stand."""
    bare = content.strip()
    start = text.find(bare, at)
    if start < 0:
        raise UserError(f"message {place} of the chat is changed by the chat template and cannot be found in its text")
    return start, start + len(bare)
