"""Tokens and the text they add."""

from hypothesis import given
from hypothesis import strategies as st
from zoo import byte_tokenizer

import personascope as ps
from personascope.subject.pieces import token_pieces


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30))
def test_pieces_join_to_the_decoded_text(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer(text)["input_ids"]
    pieces = token_pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_character_of_several_tokens_stands_with_its_last() -> None:
    tokenizer = byte_tokenizer()
    assert token_pieces(tokenizer, tokenizer("a☃b")["input_ids"]) == ["a", "", "", "☃", "b"]


def test_words_keep_the_spaces_before_them(llama: ps.subject.Subject) -> None:
    ids = llama.tokenizer("Well, use plans.", add_special_tokens=False)["input_ids"]
    assert llama.pieces(ids) == ["Well", ",", " use", " plans", "."]
