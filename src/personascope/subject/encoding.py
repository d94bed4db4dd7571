"""Text as token ids; what a text begins with like the one before it is not encoded again."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from personascope.subject.pieces import token_pieces


@dataclass(frozen=True)
class Encoding:
    """A text's ids, and the character each ends at. forks: (character, token) where a token begins that cuts the text in
    two, so that neither part depends on the other."""

    text: str
    ids: tuple[int, ...]
    ends: tuple[int, ...]
    forks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Cuts:
    """The tokens that cut a text, by id, and the length of the longest of all added tokens. size: of the vocabulary they
    were read from."""

    contents: dict[int, str]
    longest: int
    size: int


_CUTS: WeakKeyDictionary[PreTrainedTokenizerBase, _Cuts] = WeakKeyDictionary()
_NOTHING = Encoding("", (), (), ())
_LAST: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[_Cuts, Encoding]] = WeakKeyDictionary()


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoding:
    """The text without special tokens added, equal to what the tokenizer itself makes of the whole.

    Added tokens are taken out of a text before anything else is done to it, and what lies between them is encoded piece by
    piece. So the ids before such a token are those of the last text where both are alike up to and past it, and only the
    rest is encoded. Texts without added tokens, and slow tokenizers, are encoded whole.
    """
    if not tokenizer.is_fast:
        return _slowly(tokenizer, text)
    cuts = _cuts(tokenizer)
    made_with, before = _LAST.get(tokenizer, (cuts, _NOTHING))
    place, token = 0, 0
    if made_with is cuts:
        # What is matched at a character depends on no more of the text behind it than the longest added token has.
        alike = shared_beginning(text, before.text) - cuts.longest
        if before.forks and before.forks[0][0] <= alike:
            place, token = before.forks[bisect_right(before.forks, (alike, math.inf)) - 1]
    rest: Any = tokenizer(text[place:], add_special_tokens=False, return_offsets_mapping=True)
    ends, forks = [], []
    for number, (each, (start, stop)) in enumerate(zip(rest["input_ids"], rest["offset_mapping"], strict=True)):
        ends.append(place + stop)
        if text[place + start : place + stop] == cuts.contents.get(each):
            forks.append((place + start, token + number))
    found = Encoding(
        text,
        (*before.ids[:token], *rest["input_ids"]),
        (*before.ends[:token], *ends),
        (*(fork for fork in before.forks if fork[0] < place), *forks),
    )
    _LAST[tokenizer] = (cuts, found)
    return found


def shared_beginning(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two texts or tuples begin with alike."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _cuts(tokenizer: PreTrainedTokenizerBase) -> _Cuts:
    """Of added tokens those that are found in any company: not in normalized text only, nor by the white space before
    them, nor only as whole words; none where the tokenizer is told to split them."""
    known = _CUTS.get(tokenizer)
    size = 0 if getattr(tokenizer, "split_special_tokens", False) else len(tokenizer)
    if known is None or known.size != size:
        added = tokenizer.added_tokens_decoder.items() if size else ()
        contents = {
            token: how.content
            for token, how in added
            if how.content and not (how.normalized or how.lstrip or how.single_word)
        }
        known = _CUTS[tokenizer] = _Cuts(contents, max((len(how.content) for _, how in added), default=0), size)
    return known


def _slowly(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoding:
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends, at = [], 0
    for piece in token_pieces(tokenizer, ids):
        at += len(piece)
        ends.append(at)
    return Encoding(text, ids, tuple(ends), ())
