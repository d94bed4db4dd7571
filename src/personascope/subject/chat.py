"""Turning prompts into tokens, with the span of every turn."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError
from personascope.subject.chat_template import MARK, Message, closing, fold_system, keeps_system, template_of
from personascope.subject.encoding import encode
from personascope.subject.layout import Layout

PromptLike = str | Sequence[Message]


@dataclass(frozen=True)
class Turn:
    """Tokens [start, stop) of one message, its markup included."""

    role: str
    start: int
    stop: int


@dataclass(frozen=True)
class Prompt:
    """A prompt as token ids. Turns do not include a leading BOS or the generation header."""

    ids: tuple[int, ...]
    turns: tuple[Turn, ...]
    text: str
    is_raw: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def as_messages(prompt: PromptLike) -> list[dict[str, str]]:
    """A chat as a list of {"role", "content"}; a string is one user turn. Raises `UserError` on anything else."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": _whole(prompt)}]
    messages = list(prompt)
    if not messages:
        raise UserError("a chat without messages cannot be sent; give at least one user turn")
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise UserError(f"message {place} of the chat needs a role and a content, both text")
        if not isinstance(message.get("content"), str):
            raise UserError(
                f"message {place} of the chat needs its content as text, not {type(message.get('content')).__name__}"
            )
    return [{"role": message["role"], "content": _whole(message["content"])} for message in messages]


def _whole(text: str) -> str:
    """The text, if it is made of whole characters. Raises `UserError` on half of one, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{text[:40]!r} holds half a character (a lone surrogate); mend the text") from error
    return text


@dataclass(frozen=True)
class ChatFormat:
    """How one tokenizer writes chats. Works with any chat template, and for raw text with none."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def has_template(self) -> bool:
        return template_of(self.tokenizer) is not None

    def prompt(self, prompt: PromptLike, chat: bool = True) -> Prompt:
        """Tokens that a response follows: a chat with its generation header, or raw text.

        A string is one user turn, or raw text where `chat` is False; a list of messages is a chat everywhere. A chat
        that ends on an assistant turn is left open there, so that the response goes on with it.
        Raises `UserError` where there is no template, and on an empty prompt.
        """
        if isinstance(prompt, str) and not chat:
            return self.raw(prompt)
        messages = as_messages(prompt)
        is_open = messages[-1]["role"] == "assistant"
        layout = Layout.of(self.tokenizer, messages, opens_response=not is_open)
        if is_open:
            marked: list[Message] = [*self.folded(messages)[:-1], {"role": "assistant", "content": MARK}]
            layout = layout.opened(messages[-1]["content"], closing(self.tokenizer, marked, MARK))
        return self._encode(layout, messages)

    def folded(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """The messages as the template takes them: a system prompt opens the first user turn where it has no place of
        its own. Raises `UserError` where there is no template."""
        listed = as_messages(messages)
        if not self.has_template:
            Layout.of(self.tokenizer, listed, opens_response=True)
        return listed if keeps_system(self.tokenizer, listed) else fold_system(listed)

    def chat(self, messages: Sequence[Message]) -> Prompt:
        """A whole chat without a generation header."""
        listed = as_messages(messages)
        return self._encode(Layout.of(self.tokenizer, listed, opens_response=False), listed)

    def raw(self, text: str) -> Prompt:
        """Raw text as the tokenizer's own default encodes it, BOS included where it adds one; one turn."""
        if not text:
            raise UserError("an empty text has no tokens; give at least one character")
        ids = tuple(self.tokenizer(_whole(text))["input_ids"])
        start = int(bool(ids) and ids[0] == self.tokenizer.bos_token_id)
        return Prompt(ids, (Turn("text", start, len(ids)),), text, is_raw=True)

    def respond(self, prompt: Prompt, response: str) -> tuple[int, ...]:
        """The response's tokens after a prompt's, as one text where that leaves the prompt's tokens alone."""
        text = prompt.text + response
        whole = tuple(self.tokenizer(text)["input_ids"]) if prompt.is_raw else encode(self.tokenizer, text).ids
        if whole[: len(prompt)] == prompt.ids and len(whole) > len(prompt):
            return whole[len(prompt) :]
        return encode(self.tokenizer, response).ids

    def end_ids(self) -> frozenset[int]:
        """Tokens that end a response by this template: the special tokens it puts after an assistant's content."""
        if not self.has_template:
            return frozenset()
        marked = [{"role": "user", "content": "x"}, {"role": "assistant", "content": MARK}]
        text = closing(self.tokenizer, marked, MARK)
        added = self.tokenizer.added_tokens_decoder.items()
        special = {*self.tokenizer.all_special_ids, *(token for token, how in added if how.special)}
        ids = encode(self.tokenizer, text).ids if text else ()
        return frozenset(ids[:1]) & special

    def _encode(self, layout: Layout, messages: Sequence[Message]) -> Prompt:
        encoded = encode(self.tokenizer, layout.text)
        ends = sorted(encoded.ends)
        turns = tuple(
            Turn(message["role"], *(bisect_right(ends, edge) for edge in span))
            for message, span in zip(messages, layout.spans, strict=True)
        )
        return Prompt(encoded.ids, turns, layout.text)
