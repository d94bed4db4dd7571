"""One answer of a chat model, as far as it counts."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer. top: (token, natural-log probability) of the likeliest first tokens, where the server gives them.
    finish: why it ended, as the server says: `stop`, `length` … complaint: why the server refused to pass the question
    on to the model, where it did; text is empty then, and refused true."""

    text: str
    first: str = ""
    top: tuple[tuple[str, float], ...] = ()
    refused: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    complaint: str = ""


def reply_of(answer: Any) -> Reply:
    """The parts of an answer that count. Raises `ValueError` where there is no message in it; what else is missing, or
    not of the documented shape, is taken as not given."""
    try:
        choice = answer.choices[0]
        text, refusal = choice.message.content, getattr(choice.message, "refusal", None)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the server's answer is not a chat completion: {str(answer)[:80]!r}") from error
    finish = getattr(choice, "finish_reason", None)
    first, top = _first_token(getattr(choice, "logprobs", None))
    usage = getattr(answer, "usage", None)
    return Reply(
        text=clean(text or refusal or ""),
        first=first,
        top=top,
        refused=bool(refusal) or finish == "content_filter",
        prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
        completion_tokens=_count(getattr(usage, "completion_tokens", None)),
        finish=clean(finish or ""),
    )


def _first_token(logprobs: Any) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The first token and the likeliest ones with their log-probabilities; none where one of them has no number."""
    tokens = getattr(logprobs, "content", None)
    if not isinstance(tokens, list) or not tokens:
        return "", ()
    top = getattr(tokens[0], "top_logprobs", None)
    try:
        likeliest = tuple((clean(one.token), min(0.0, float(one.logprob))) for one in top or ())
    except (AttributeError, TypeError, ValueError, OverflowError):
        likeliest = ()
    if any(math.isnan(value) for _, value in likeliest):
        likeliest = ()
    return clean(getattr(tokens[0], "token", None) or ""), likeliest


def _count(tokens: Any) -> int:
    """A number of tokens; 0 where the server gives none."""
    try:
        return max(0, int(tokens))
    except (TypeError, ValueError, OverflowError):
        return 0


def clean(text: Any) -> str:
    """Text that can be written down: halves of surrogate pairs, as of a cut emoji, become U+FFFD."""
    return str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
