"""A number out of what a chat model answered."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

# The least probability on numbers at which their weighted mean is a score. Source: persona vectors (Chen et al., 2025).
_LEAST_MASS = 0.25
# A number with its sign; not one inside a word or a longer number.
_NUMBER = r"(?<![A-Za-z\d.,\-−–—])([-−–—]?\d+(?:[.,]\d+)*)(?!\d|[A-Za-z])"
_ANY = re.compile(_NUMBER)
_OPENING = re.compile(r"\s*(\d+(?:[.,]\d+)*)")
# After a word for it, with nothing but small words in between.
_NAMED = re.compile(
    r"\b(?:score|rate|rating|grade|number|verdict)[sd]?\b[^\w\-−–—]*(?:\b(?:is|of|at|as|be|would|it|this|that|the|a|an|"
    r"my|final|answer|response|score|rating|about|around|roughly|give|say|i|d|id)\b[^\w\-−–—]*)*?(?:[-−–—]\s+)?"
    + _NUMBER,
    re.IGNORECASE,
)
# Alone on a line, or at its end after a colon.
_STANDING = re.compile(r"(?:^|:)[^\S\n]*" + _NUMBER + r"[^\w\n]*$", re.MULTILINE)
_BOUND = r"(\d{1,6})(?:\s*\([^()]*\))?"
_RANGE = re.compile(
    rf"(\bscale\s+(?:of|from)?\s*)?(?:\bbetween\s+{_BOUND}\s+and\s+(\d{{1,6}})|"
    rf"(?<![\d.,\-−–—]){_BOUND}\s*(?:-|–|—|\.\.+|…|\bto\b|\bthrough\b|\bor\b)\s*(\d{{1,6}}))(?![\d]|[.,]\d)(\s+scale\b)?",
    re.IGNORECASE,
)
_OF_SO_MANY = re.compile(
    r"(?<![\d.,])(\d+(?:[.,]\d+)?)(?:\s*(?:points?|pts))?\s*(?:/|\bout\s+of\b(?:\s+a\s+(?:possible|maximum(?:\s+of)?))?|"
    r"\bof\b)\s*(\d+)(?!\d|[.,]\d)",
    re.IGNORECASE,
)
# "0 = not at all", "100 being the most", "a 100-point scale", "a scale of 100": the scale explained.
_EXPLAINED = re.compile(
    r"(?<![\d.,\-−–—])\d+\s*(?:=|\bbeing\b|\bmeans?\b|\bmeaning\b)|\b\d+[-\s]point\b|\bscale\s+of\s+\d+(?!\d|[.,]\d)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[*_`\"'“”‘’$\\{}\[\]]")


@dataclass(frozen=True)
class Scale:
    """Whole numbers from `low` to `high` that a judge is asked for."""

    low: int
    high: int

    @property
    def name(self) -> str:
        return f"{self.low}-{self.high}"

    def percent(self, value: float) -> float:
        """A value of the scale as 0–100."""
        return 100 * (value - self.low) / (self.high - self.low)


PERCENT, LIKERT = Scale(0, 100), Scale(1, 5)
SCALES = {scale.name: scale for scale in (PERCENT, LIKERT)}


def visible(answer: str) -> str:
    """An answer without the thinking it opens with; empty where nothing but unfinished thinking came."""
    opened = answer.lstrip()
    if not opened.startswith("<think>"):
        return answer
    _, closed, rest = opened.partition("</think>")
    return rest.strip() if closed else ""


def weighted(top: Sequence[tuple[str, float]], scale: Scale) -> float | None:
    """Probability-weighted mean of the scale's numbers among the likeliest tokens, in the scale's units; None where
    less than a quarter of the probability is on them. Source: persona vectors (Chen et al., 2025)."""
    total = mean = 0.0
    for token, logprob in top:
        number = _number(token, scale)
        if number is not None:
            mass = math.exp(logprob)
            total += mass
            mean += mass * number
    return mean / total if total >= _LEAST_MASS else None


def are_whole(text: str, first: str, top: Sequence[tuple[str, float]], scale: Scale) -> bool:
    """Whether numbers among the likeliest first tokens are scores, and not the first digits of longer ones.

    Some tokenizers split numbers into digits. They do not where a number of several digits is among the tokens; where
    all are single digits, they count if no longer number of the scale begins with any of them, or if the first token is
    the number that the whole answer gives. Never where the answer opens with a longer number than its first token, or
    with thinking, after which the first token is not the score's.
    """
    opening = _OPENING.match(text)
    if visible(text) != text or (opening is not None and opening[1] != first.strip()):
        return False
    numbers = [number for number in (_number(token, scale) for token, _ in top) if number is not None]
    if not numbers:
        return False
    longest = max(len(str(number)) for number in numbers)
    if longest > 1 or not any(_begins_another(number, scale) for number in numbers):
        return True
    written = read(text, scale)
    return written is not None and str(int(written)) == first.strip()


def _begins_another(number: int, scale: Scale) -> bool:
    return number > 0 and 10 * number <= scale.high


def _number(token: str, scale: Scale) -> int | None:
    """The scale's number that a token is."""
    text = token.strip()
    is_plain = text.isascii() and text.isdigit() and len(text) <= 6 and str(int(text)) == text
    return int(text) if is_plain and scale.low <= int(text) <= scale.high else None


def read(text: str, scale: Scale) -> float | None:
    """The whole number of the scale that an answer gives, in the scale's units; None where there is none, or where
    several could be meant.

    What tells of the scale is no score and is left out: ranges ("0-100", "from 1 to 5"), "/100", "out of 5", "0 = not at
    all". Then the number counts that follows a word for it ("score: 62"), else the one that stands alone on a line or
    ends it after a colon, else the only number of the scale that is left. Negative numbers, fractions and scores on
    another scale ("8/10") are none of it.
    """
    bare, is_other = _without_the_scale(_MARKUP.sub(" ", visible(text)), scale)
    if is_other:
        return None
    for pattern in (_NAMED, _STANDING):
        marked = {_whole(match) for match in pattern.findall(bare)}
        if marked:
            (value, *others) = marked
            return float(value) if value is not None and not others and scale.low <= value <= scale.high else None
    left = {
        value for value in map(_whole, _ANY.findall(bare)) if value is not None and scale.low <= value <= scale.high
    }
    return float(left.pop()) if len(left) == 1 else None


def _without_the_scale(text: str, scale: Scale) -> tuple[str, bool]:
    """The text without what tells of the scale, and whether it tells of another one."""
    is_other = False

    def of_so_many(match: re.Match[str]) -> str:
        return match[1] if int(match[2][:9]) == scale.high else " "

    def span(match: re.Match[str]) -> str:
        nonlocal is_other
        low, high = (int(match[2] or match[4]), int(match[3] or match[5]))
        if low >= high and " or " not in match[0].lower():
            return match[0]
        is_other = is_other or (bool(match[1] or match[6]) and high != scale.high)
        return f"{match[1] or ''} {match[6] or ''}"

    return _EXPLAINED.sub(" ", _RANGE.sub(span, _OF_SO_MANY.sub(of_so_many, text))), is_other


def _whole(number: str) -> int | None:
    """A number as it is written, None unless it is whole and from 0 up."""
    plain = re.sub(r"\.0+$", "", number)
    return int(plain) if plain.isdecimal() and len(plain) <= 6 else None


def is_refusal(text: str) -> bool:
    """Whether the judge says REFUSAL, as persona-vectors prompts ask it to."""
    return visible(text).strip().strip(".\"'`*").upper().startswith("REFUS")
