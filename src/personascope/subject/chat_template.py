"""What a tokenizer's chat template writes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.meta
from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError

Message = Mapping[str, str]

# Template variables that switch a model's thinking, where a template has one.
_THINKING_SWITCHES = ("enable_thinking", "thinking")
# What stands between a system text and the user turn it is folded into.
FOLD = "\n\n"
# A content that no template changes and no text holds.
MARK = "zq0xk0qz"


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opens_response: bool) -> str:
    """The chat's text, with a generation header or without. Raises `UserError` on a chat that the template refuses."""
    chat = tuple((message["role"], message["content"]) for message in messages)
    try:
        return _render(tokenizer, tokenizer.chat_template, chat, opens_response)
    except jinja2.TemplateError as error:
        raise UserError(f"the chat template refuses this chat: {error}") from error


def closing(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], mark: str) -> str:
    """What the template writes after `mark`, the content of the last message; nothing where it refuses the chat."""
    try:
        _, found, text = render(tokenizer, messages, False).rpartition(mark)
    except UserError:
        return ""
    return text if found else ""


def keeps_system(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> bool:
    """Whether the template has a place for the system prompt that the chat begins with, if it does."""
    if messages[0]["role"] != "system":
        return True
    try:
        return MARK in render(tokenizer, [{"role": "system", "content": MARK}, {"role": "user", "content": "x"}], False)
    except UserError:
        return False


def fold_system(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The chat with its system text put at the head of the first user turn."""
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        raise UserError("this model's chat template has no system role, so a system text needs a user turn after it")
    first = {"role": "user", "content": f"{system['content'].strip()}{FOLD}{rest[0]['content']}"}
    return [first, *(dict(message) for message in rest[1:])]


def markup(
    tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...], opens_response: bool
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """What the template writes around the contents of turns of these roles: before, between and after them (None if it
    drops or repeats one), and after each if it were the last. Raises `UserError` on turns that it refuses."""
    return _markup(tokenizer, tokenizer.chat_template, roles, opens_response)


@lru_cache(maxsize=256)
def _markup(
    tokenizer: PreTrainedTokenizerBase, template: Any, roles: tuple[str, ...], opens_response: bool
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    marks = [f"zq{place}xk{place}qz" for place in range(len(roles))]
    marked = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    around = _between(render(tokenizer, marked, opens_response), marks)
    return around, tuple(closing(tokenizer, marked[: place + 1], mark) for place, mark in enumerate(marks))


def _between(rendered: str, marks: Sequence[str]) -> tuple[str, ...] | None:
    """What the template writes before, between and after the marks; None if it drops or repeats one."""
    pieces = []
    rest = rendered
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            return None
        pieces.append(before)
    return (*pieces, rest)


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
