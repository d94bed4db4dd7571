"""What a tokenizer's chat template writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        return _render(tokenizer, template_of(tokenizer), chat, opens_response)
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


@dataclass(frozen=True)
class Markup:
    """What a template writes around the contents of some turns. order: the turns as their contents stand in the text; around:
    before, between and after them in that order, None if it drops or repeats one; closings: after each turn if it were the
    last."""

    order: tuple[int, ...]
    around: tuple[str, ...] | None
    closings: tuple[str, ...]


def markup(tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...], opens_response: bool) -> Markup:
    """What the template writes around turns of these roles. Raises `UserError` on turns that it refuses."""
    return _markup(tokenizer, template_of(tokenizer), roles, opens_response)


@lru_cache(maxsize=256)
def _markup(tokenizer: PreTrainedTokenizerBase, template: Any, roles: tuple[str, ...], opens_response: bool) -> Markup:
    marks = [f"zq{place}xk{place}qz" for place in range(len(roles))]
    marked = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    rendered = render(tokenizer, marked, opens_response)
    order = tuple(sorted(range(len(marks)), key=lambda place: rendered.find(marks[place])))
    around = _between(rendered, [marks[place] for place in order])
    closings = tuple(closing(tokenizer, marked[: place + 1], mark) for place, mark in enumerate(marks))
    return Markup(order, around, closings)


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


def changed_span(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], place: int, opens_response: bool
) -> tuple[int, int] | None:
    """Where in the chat's text a message is whose content the template changes, as some leave out the thinking of earlier
    turns: what is not the same with a mark in its place. None where that is not one stretch."""
    marked = [*messages[:place], {**messages[place], "content": MARK}, *messages[place + 1 :]]
    text = render(tokenizer, messages, opens_response)
    try:
        before, found, behind = render(tokenizer, marked, opens_response).partition(MARK)
    except UserError:
        return None
    stop = len(text) - len(behind)
    is_one = found and MARK not in behind and text.startswith(before) and text.endswith(behind)
    return (len(before), stop) if is_one and len(before) <= stop else None


def template_of(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The template that chats are written by: of several with names the one called `default`, as transformers takes it. None
    where there is none."""
    template = tokenizer.chat_template
    return (template.get("default") if isinstance(template, dict) else template) or None


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
