"""Encoding a text after another that begins like it: equal to encoding it whole, with any tokenizer."""

from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subject.test_chat import TEMPLATES
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from zoo import SPECIALS, byte_tokenizer

from personascope.subject import Subject
from personascope.subject.chat import ChatFormat
from personascope.subject.encoding import encode, shared_beginning

WORDS = ["the", "▁the", "a", "▁a", "b", "▁", "e", "é", "<", "|", ">", "s", "start", "end", "\n", "Ġ", "x"]


def of_words(pre_tokenizer: object, normalizer: object = None, added: list[AddedToken | str] | None = None) -> object:
    """Pieces of words after what other families do to a text first."""
    core = Tokenizer(models.BPE({word: index for index, word in enumerate(["<unk>", *WORDS])}, [], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        core.normalizer = normalizer
    core.add_special_tokens(SPECIALS)
    core.add_tokens(added or [])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")


def byte_pairs() -> PreTrainedTokenizerFast:
    """Byte-level with merges across spaces, and offsets that leave them out."""
    core = Tokenizer(models.BPE(unk_token=None))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "Ġ"), ("|", ">"), ("<", "|"), ("Ċ", "Ċ"), ("s", "t")]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *("".join(pair) for pair in pairs)])}
    core = Tokenizer(models.BPE(vocabulary, pairs))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    core.add_special_tokens(SPECIALS)
    core.add_tokens([AddedToken("\n", normalized=False), AddedToken("\n\n", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


def greedy_marks() -> list[AddedToken]:
    """Added tokens that look at what is around them, or begin like one another."""
    return [
        AddedToken("one_long_whole_word", single_word=True, normalized=False),
        AddedToken("<|end|><|end|>", normalized=False),
        AddedToken("<|x|>", lstrip=True, normalized=False),
        AddedToken("<|y|>", rstrip=True, normalized=False),
        AddedToken("Ab", normalized=True),
    ]


METASPACE = pre_tokenizers.Metaspace
TOKENIZERS: dict[str, Callable[[], object]] = {
    "bytes": byte_tokenizer,
    "byte pairs": byte_pairs,
    "space before the first word": lambda: of_words(METASPACE(prepend_scheme="first")),
    "space before every part": lambda: of_words(METASPACE(prepend_scheme="always"), None, greedy_marks()),
    "space by the normalizer": lambda: of_words(
        METASPACE(prepend_scheme="never"),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.NFKC()]),
        greedy_marks(),
    ),
    "lower case": lambda: of_words(
        pre_tokenizers.BertPreTokenizer(),
        normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.Strip()]),
        greedy_marks(),
    ),
}
PIECES = st.sampled_from(
    [
        *(*SPECIALS, "<|x|>", "<|y|>", "<|", "|>", "<|end", "<", "s>"),
        *(
            "one_long_whole_word",
            "the",
            " the",
            "The",
            "a",
            "Ab",
            "aB",
            "e\u0301",
            "\u0301",
            "é",
            "☃",
            "▁",
            "Ġ",
            ".",
            "x",
        ),
        *(" ", "  ", "\n", "\n\n"),
    ]
)


@pytest.fixture(scope="module", params=[*TOKENIZERS, "organism:llama", "organism:gemma2"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    if request.param in TOKENIZERS:
        return TOKENIZERS[request.param]()  # type: ignore[return-value]
    subject: Subject = request.getfixturevalue(request.param.removeprefix("organism:"))
    return subject.tokenizer  # type: ignore[return-value]


def whole(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[list[int], list[int]]:
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return found["input_ids"], [stop for _, stop in found["offset_mapping"]]


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=20), st.lists(st.tuples(st.integers(0, 20), st.lists(PIECES, max_size=8)), max_size=4))
def test_a_text_after_another_is_encoded_as_if_alone(
    tokenizer: PreTrainedTokenizerFast, first: list[str], then: list[tuple[int, list[str]]]
) -> None:
    encode(tokenizer, "")
    pieces = first
    for kept, more in [(len(first), []), *then]:
        pieces = [*pieces[:kept], *more]
        text = "".join(pieces)
        found = encode(tokenizer, text)
        assert (list(found.ids), list(found.ends)) == whole(tokenizer, text)


@pytest.mark.parametrize("template", [*TEMPLATES.values(), "its own"], ids=[*TEMPLATES, "its own"])
def test_growing_chats_are_encoded_as_if_alone(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    own = tokenizer.chat_template
    if template == "its own" and not own:
        pytest.skip("has none")
    try:
        tokenizer.chat_template = own if template == "its own" else template
        chat = ChatFormat(tokenizer)
        held = [{"role": "system", "content": "The the."}]
        for pair in range(6):
            for question in ("a the?", "the the\n", "x"):
                prompt = chat.prompt([*held, {"role": "user", "content": question}])
                assert list(prompt.ids) == whole(tokenizer, prompt.text)[0]
            said = "the a \n\nthe." * 3
            held += [{"role": "user", "content": f"The {pair}?"}, {"role": "assistant", "content": said}]
    finally:
        tokenizer.chat_template = own


def test_only_what_is_new_is_encoded() -> None:
    tokenizer = byte_tokenizer()
    chat = ChatFormat(tokenizer)
    held = [{"role": role, "content": "word " * 200} for role in ("user", "assistant") * 5]
    chat.prompt([*held, {"role": "user", "content": "One?"}])
    given_texts = []
    real = type(tokenizer).__call__

    def counted(self: PreTrainedTokenizerFast, text: str, **options: object) -> object:
        given_texts.append(text)
        return real(self, text, **options)

    with mock.patch.object(type(tokenizer), "__call__", counted):
        chat.prompt([*held, {"role": "user", "content": "Another?"}])
    assert sum(map(len, given_texts)) < 100


def test_tokens_that_are_added_later_are_seen() -> None:
    tokenizer = byte_tokenizer()
    text = "<s>" + "a word<|end|>" * 20
    encode(tokenizer, text)
    tokenizer.add_tokens(["word"])
    assert list(encode(tokenizer, text).ids) == whole(tokenizer, text)[0]
    tokenizer.split_special_tokens = True
    assert list(encode(tokenizer, text).ids) == whole(tokenizer, text)[0]


@given(st.text("ab", max_size=9), st.text("ab", max_size=9))
def test_the_shared_beginning_is_the_longest(one: str, other: str) -> None:
    expected = next(n for n in range(len(one), -1, -1) if other.startswith(one[:n]))
    assert shared_beginning(one, other) == expected == shared_beginning(tuple(one), tuple(other))
