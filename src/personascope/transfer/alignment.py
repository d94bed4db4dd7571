"""Positions of a text at which two tokenizers end on the same character."""

from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from personascope.subject import Prompt
from personascope.subject.pieces import token_pieces

# A message of a chat (0 in raw text) and how many of its characters have been read.
Place = tuple[int, int]


def places(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, contents: list[str] | None = None) -> dict[Place, int]:
    """The position of the token after which each place of a text is reached, where one ends there.

    contents: what the messages of a chat say; markup around them has no place, nor has a message whose words stand more
    than once between the marks of its turn. Special tokens, unknown words and tokens that end inside a character end
    nowhere.
    """
    after, read = _ends(tokenizer, prompt)
    found: dict[Place, int] = {}
    spans = [(0, len(prompt.text))] if contents is None else _spans(prompt, contents, read)
    for message, (start, stop) in enumerate(spans):
        for position, end in enumerate(after):
            if end is not None and start < end <= stop:
                found[(message, end - start)] = position
    return found


def aligned(source: Mapping[Place, int], target: Mapping[Place, int]) -> list[tuple[int, int]]:
    """(position in the source's tokens, position in the target's) of every place that both reach, in reading order."""
    return [(source[place], target[place]) for place in sorted(source.keys() & target.keys())]


def _ends(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> tuple[list[int | None], list[int]]:
    """For every token the character its own text ends at, None where it ends at none; and how far has been read."""
    special = {*tokenizer.all_special_ids}
    special |= {token for token, how in tokenizer.added_tokens_decoder.items() if how.special}
    offsets = _offsets(tokenizer, prompt)
    ends: list[int | None] = []
    read: list[int] = []
    at = 0
    for token, piece, offset in zip(prompt.ids, token_pieces(tokenizer, prompt.ids), offsets, strict=True):
        end = None
        if not prompt.text.startswith(piece, at):
            # Some decoders write a space that the text need not have, before the first word or after a special token.
            piece = piece.removeprefix(" ")
        if token not in special and prompt.text.startswith(piece, at):
            at += len(piece)
            # Some tokenizers leave white space out of their offsets, and none moves them further than that.
            if piece and (offset is None or not prompt.text[min(at, offset) : max(at, offset)].strip()):
                end = at
        else:
            at = max(at, offset or 0)
        ends.append(end)
        read.append(at)
    return ends, read


def _offsets(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int] | list[None]:
    """The tokenizer's own word on where each token ends, None where it has none."""
    if tokenizer.is_fast:
        encoded = tokenizer(prompt.text, add_special_tokens=prompt.is_raw, return_offsets_mapping=True)
        if tuple(encoded["input_ids"]) == prompt.ids:
            return [int(end) for _, end in encoded["offset_mapping"]]
    return [None] * len(prompt)


def _spans(prompt: Prompt, contents: list[str], read: list[int]) -> list[tuple[int, int]]:
    """The characters of each message's words; an empty span where they cannot be told from the markup."""
    spans = []
    for turn, content in zip(prompt.turns, contents, strict=False):
        start, stop = read[turn.start - 1] if turn.start else 0, read[turn.stop - 1]
        words, inside = content.strip(), prompt.text[start:stop]
        is_clear = bool(words) and inside.count(words) == 1
        first = start + inside.index(words) if is_clear else 0
        spans.append((first, first + len(words)) if is_clear else (0, 0))
    return spans
