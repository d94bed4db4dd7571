"""Turning prompts into tokens, with the span of every turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.meta
from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError

Message = Mapping[str, str]
PromptLike = str | Sequence[Message]

# Template variables that switch a model's thinking, where a template has one.
_THINKING_SWITCHES = ("enable_thinking", "thinking")
# What stands between a system text and the user turn it is folded into.
_FOLD = "\n\n"


# A content that no template changes and no text holds.
_MARK = "zq0xk0qz"


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


@dataclass(frozen=True)
class Layout:
    """A rendered chat: its text, and where each message ends in it. `head`: where the first message begins."""

    text: str
    head: int
    ends: tuple[int, ...]


def as_messages(prompt: PromptLike) -> list[dict[str, str]]:
    """A chat as a list of {"role", "content"}; a string is one user turn. Raises `UserError` on anything else."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
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
    return [{"role": message["role"], "content": message["content"]} for message in messages]


@dataclass(frozen=True)
class ChatFormat:
    """How one tokenizer writes chats. Works with any chat template, and for raw text with none."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def has_template(self) -> bool:
        return bool(self.tokenizer.chat_template)

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
        layout = self.layout(messages, opens_response=not is_open)
        if is_open:
            said = messages if self._keeps_system(messages) else fold_system(messages)
            closing = self._closing([*said[:-1], {"role": "assistant", "content": _MARK}], _MARK)
            layout = _opened(layout, messages[-1]["content"], closing)
        return self._encode(layout, messages)

    def folded(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """The messages as the template takes them: a system prompt opens the first user turn where it has no place of
        its own. Raises `UserError` where there is no template."""
        listed = as_messages(messages)
        if not self.has_template:
            self.layout(listed, opens_response=True)
        return [dict(one) for one in (listed if self._keeps_system(listed) else fold_system(listed))]

    def chat(self, messages: Sequence[Message]) -> Prompt:
        """A whole chat without a generation header."""
        listed = as_messages(messages)
        return self._encode(self.layout(listed, opens_response=False), listed)

    def raw(self, text: str) -> Prompt:
        """Raw text as the tokenizer's own default encodes it, BOS included where it adds one; one turn."""
        if not text:
            raise UserError("an empty text has no tokens; give at least one character")
        ids = tuple(self.tokenizer(text)["input_ids"])
        start = int(bool(ids) and ids[0] == self.tokenizer.bos_token_id)
        return Prompt(ids, (Turn("text", start, len(ids)),), text, is_raw=True)

    def respond(self, prompt: Prompt, response: str) -> tuple[int, ...]:
        """The response's tokens after a prompt's, as one text where that leaves the prompt's tokens alone."""
        text = prompt.text + response
        whole = tuple(self.tokenizer(text)["input_ids"] if prompt.is_raw else self._ids(text)[0])
        if whole[: len(prompt)] == prompt.ids and len(whole) > len(prompt):
            return whole[len(prompt) :]
        return tuple(self._ids(response)[0])

    def layout(self, messages: Sequence[Message], opens_response: bool) -> Layout:
        """The chat's text and where its messages end."""
        if not self.has_template:
            raise UserError(
                "this tokenizer has no chat template: pass chat=False (--no-chat) for raw text, "
                "or set tokenizer.chat_template"
            )
        if not self._keeps_system(messages):
            inner = self.layout(fold_system(messages), opens_response)
            system = messages[0]["content"].strip()
            end = inner.text.index(system, inner.head) + len(system) + len(_FOLD)
            return Layout(inner.text, inner.head, (end, *inner.ends))
        text = self._render(messages, opens_response)
        marks = [f"zq{place}xk{place}qz" for place in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        spans = _content_spans(text, _between(self._render(marked, opens_response), marks), messages)
        ends = []
        for place, (_, stop) in enumerate(spans):
            closing = self._closing(marked[: place + 1], marks[place])
            ends.append(stop + _common(closing, text[stop : spans[place + 1][0] if place + 1 < len(spans) else None]))
        bos = self.tokenizer.bos_token
        head = len(bos) if isinstance(bos, str) and text.startswith(bos) else 0
        return Layout(text, head, tuple(ends))

    def end_ids(self) -> frozenset[int]:
        """Tokens that end a response by this template: the special tokens it puts after an assistant's content."""
        if not self.has_template:
            return frozenset()
        mark = _MARK
        closing = self._closing([{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}], mark)
        added = self.tokenizer.added_tokens_decoder.items()
        special = {*self.tokenizer.all_special_ids, *(token for token, how in added if how.special)}
        ids = self._ids(closing)[0] if closing else []
        return frozenset(ids[:1]) & special

    def _keeps_system(self, messages: Sequence[Message]) -> bool:
        if messages[0]["role"] != "system":
            return True
        mark = _MARK
        try:
            return mark in self._render([{"role": "system", "content": mark}, {"role": "user", "content": "x"}], False)
        except UserError:
            return False

    def _closing(self, messages: Sequence[Message], mark: str) -> str:
        """What the template writes after the content of the last message."""
        try:
            _, found, closing = self._render(messages, False).rpartition(mark)
        except UserError:
            return ""
        return closing if found else ""

    def _render(self, messages: Sequence[Message], opens_response: bool) -> str:
        chat = tuple((message["role"], message["content"]) for message in messages)
        try:
            return _render(self.tokenizer, self.tokenizer.chat_template, chat, opens_response)
        except jinja2.TemplateError as error:
            raise UserError(f"the chat template refuses this chat: {error}") from error

    def _encode(self, layout: Layout, messages: Sequence[Message]) -> Prompt:
        ids, ends = self._ids(layout.text)
        edges = [layout.head, *layout.ends]
        tokens = [sum(end <= edge for end in ends) for edge in edges]
        turns = tuple(
            Turn(message["role"], start, stop)
            for message, start, stop in zip(messages, tokens, tokens[1:], strict=False)
        )
        return Prompt(tuple(ids), turns, layout.text)

    def _ids(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of rendered text, no special tokens added, and the character each ends at."""
        if self.tokenizer.is_fast:
            encoded: Any = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            return list(encoded["input_ids"]), [end for _, end in encoded["offset_mapping"]]
        from personascope.subject.pieces import token_pieces

        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        ends, at = [], 0
        for piece in token_pieces(self.tokenizer, ids):
            at += len(piece)
            ends.append(at)
        return ids, ends


def _opened(layout: Layout, content: str, closing: str) -> Layout:
    """A chat's text cut behind the content of its last turn, so that what follows goes on with it."""
    said = content.strip()
    if not said:
        raise UserError("the chat ends on an empty assistant turn; leave it out, or begin the answer in it")
    before = layout.text.removesuffix(closing)
    stop = before.rindex(said) + len(said)
    return Layout(layout.text[:stop], layout.head, (*layout.ends[:-1], stop))


def fold_system(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The chat with its system text put at the head of the first user turn."""
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        raise UserError("this model's chat template has no system role, so a system text needs a user turn after it")
    first = {"role": "user", "content": f"{system['content'].strip()}{_FOLD}{rest[0]['content']}"}
    return [first, *(dict(message) for message in rest[1:])]


@lru_cache(maxsize=4096)
def _render(tokenizer: Any, template: Any, messages: tuple[tuple[str, str], ...], opens_response: bool) -> str:
    """The chat's text. `template` is the tokenizer's own, here so that a changed one is not served from the cache."""
    chat = [{"role": role, "content": content} for role, content in messages]
    switches = dict.fromkeys(_switches(template), False)
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens_response, **switches))


@lru_cache(maxsize=64)
def _switches(template: Any) -> tuple[str, ...]:
    """The thinking switches that a template reads."""
    if not isinstance(template, str):
        return ()
    try:
        names = jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template))
    except jinja2.TemplateError:
        return tuple(name for name in _THINKING_SWITCHES if name in template)
    return tuple(name for name in _THINKING_SWITCHES if name in names)


def _between(rendered: str, marks: Sequence[str]) -> list[str] | None:
    """What the template writes before, between and after the marks; None if it drops or repeats one."""
    pieces = []
    rest = rendered
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            return None
        pieces.append(before)
    return [*pieces, rest]


def _content_spans(text: str, pieces: list[str] | None, messages: Sequence[Message]) -> list[tuple[int, int]]:
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


def _common(left: str, right: str) -> int:
    """Length of the common beginning."""
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length
