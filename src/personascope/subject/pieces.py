"""Aligning tokens to text."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]

# By tokenizer, what ids add to the text of those before them (the two with −1 between them) and whether a character is left
# unfinished: the same pairs come again and again.
_ADDED: WeakKeyDictionary[PreTrainedTokenizerBase, dict[Ids, tuple[str, bool]]] = WeakKeyDictionary()
_MOST = 200_000


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text each token adds: one string per token, and joined they are the decoded text.

    A token that ends inside a character adds nothing; the one that completes the character adds it whole.
    """
    known = _ADDED.setdefault(tokenizer, {})
    pieces: list[str] = []
    # Decoding restarts one finished piece back: a leading space may depend on the token before.
    before: Ids = ()
    pending: Ids = ()
    for end, token in enumerate(ids, 1):
        pending = (*pending, token) if pending else (token,)
        key = (*before, -1, *pending)
        found = known.get(key)
        if found is None:
            if len(known) >= _MOST:
                known.clear()
            found = known[key] = _added(tokenizer, before, pending)
        piece, is_unfinished = found
        if is_unfinished and end < len(ids) and len(pending) < 4:
            pieces.append("")
            continue
        pieces.append(piece)
        before, pending = pending, ()
    return pieces


def _added(tokenizer: PreTrainedTokenizerBase, before: Ids, pending: Ids) -> tuple[str, bool]:
    text = _decoded(tokenizer, before + pending)
    return text[len(_decoded(tokenizer, before)) :], text.endswith("\ufffd")


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
