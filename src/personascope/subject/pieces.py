"""Aligning tokens to text."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

# Text by ids, for each tokenizer: the same pairs of tokens come again and again.
_DECODED: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[int, ...], str]] = WeakKeyDictionary()
_MOST = 200_000


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text each token adds: one string per token, and joined they are the decoded text.

    A token that ends inside a character adds nothing; the one that completes the character adds it whole.
    """
    known = _DECODED.setdefault(tokenizer, {})
    pieces: list[str] = []
    start, done = 0, 0
    before = ""
    for end in range(1, len(ids) + 1):
        now = _decode(tokenizer, known, ids[start:end])
        if now.endswith("\ufffd") and end < len(ids) and end - done < 4:
            pieces.append("")
            continue
        pieces.append(now[len(before) :])
        # Decoding restarts one finished piece back: a leading space may depend on the token before.
        start, done = done, end
        before = _decode(tokenizer, known, ids[start:end])
    return pieces


def _decode(tokenizer: PreTrainedTokenizerBase, known: dict[tuple[int, ...], str], ids: Sequence[int]) -> str:
    key = tuple(ids)
    text = known.get(key)
    if text is None:
        if len(known) >= _MOST:
            known.clear()
        text = str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        known[key] = text
    return text
