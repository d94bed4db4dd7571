"""Every pair of positions has read the same characters, whatever the tokenizers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from zoo import byte_tokenizer

from personascope.subject import Prompt, Subject
from personascope.subject.chat import ChatFormat, as_messages
from personascope.transfer.alignment import aligned, places

WORDS = ["I", "use", "plans", "good", "question", "Well", ",", ".", "?", "\n", "you", "zebra", "é☃", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=15).map(" ".join)
ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)


def pairs(text: str, *subjects: Subject) -> tuple[list[Prompt], list[tuple[int, int]]]:
    prompts = [subject.chat.prompt(text, chat=False) for subject in subjects]
    found = [places(subject.tokenizer, prompt) for subject, prompt in zip(subjects, prompts, strict=True)]
    return prompts, aligned(*found)


def check(text: str, llama: Subject, gemma2: Subject) -> list[tuple[int, int]]:
    """The byte-level tokenizer loses nothing, so its decoded prefix is the text so far; the word-level one's must end on
    the same character by its own offsets, and be the same text where it knew all words."""
    prompts, found = pairs(text, llama, gemma2)
    offsets = llama.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    for position, other in found:
        prefix = gemma2.tokenizer.decode(prompts[1].ids[1 : other + 1], clean_up_tokenization_spaces=False)
        assert text.startswith(prefix) and offsets[position][1] == len(prefix)
        ids = prompts[0].ids[: position + 1]
        assert prefix.endswith(llama.pieces(prompts[0].ids)[position].lstrip(" "))
        if llama.tokenizer.unk_token_id not in ids:
            decoded = llama.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            # It writes a space between BOS and the first word.
            assert decoded.removeprefix("<s>").lstrip(" ") == prefix.lstrip(" ")
    for side, subject in enumerate((llama, gemma2)):
        own = [pair[side] for pair in found]
        assert own == sorted(set(own))
        assert not {prompts[side].ids[place] for place in own} & set(subject.tokenizer.all_special_ids)
    return found


@given(TEXTS)
def test_pairs_end_on_the_same_character(llama: Subject, gemma2: Subject, text: str) -> None:
    check(text, llama, gemma2)


@given(ANY)
def test_so_they_do_in_any_text(llama: Subject, gemma2: Subject, text: str) -> None:
    check(text, llama, gemma2)


def test_of_words_in_the_vocabulary_nearly_all_pair_up(llama: Subject, gemma2: Subject) -> None:
    text = "Well, I use plans. What is a good question? You use plans."
    found = check(text, llama, gemma2)
    assert len(found) == len(llama.chat.raw(text)) - 1 == 16


def test_characters_of_several_tokens_count_once() -> None:
    tokenizer = byte_tokenizer()
    prompt = ChatFormat(tokenizer).raw("a☃b")
    assert places(tokenizer, prompt) == {(0, 1): 0, (0, 2): 3, (0, 3): 4}


def test_special_tokens_written_in_a_text_end_nowhere() -> None:
    tokenizer = byte_tokenizer()
    prompt = ChatFormat(tokenizer).raw("ab<|end|>c")
    assert places(tokenizer, prompt) == {(0, 1): 0, (0, 2): 1, (0, 10): 3}


def test_a_tokenizer_without_offsets_is_read_by_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_tokenizer()
    prompt = ChatFormat(tokenizer).raw("a☃b")
    wanted = places(tokenizer, prompt)
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    assert places(tokenizer, prompt) == wanted


CHAT = [{"role": "system", "content": "Use plans."}, {"role": "user", "content": " What is a good question? "}]


def test_of_chats_only_the_words_pair_up(llama: Subject, gemma2: Subject) -> None:
    prompts = [subject.chat.prompt(CHAT) for subject in (llama, gemma2)]
    contents = [message["content"] for message in as_messages(CHAT)]
    found = [places(s.tokenizer, prompt, contents) for s, prompt in zip((llama, gemma2), prompts, strict=True)]
    said = [content.strip() for content in contents]
    for side, subject in enumerate((llama, gemma2)):
        pieces = subject.pieces(prompts[side].ids)
        for (message, end), position in found[side].items():
            assert said[message][:end].endswith(pieces[position].strip())
    both = aligned(*found)
    assert len(both) >= 8
    assert {message for message, _ in found[0]} == {0, 1}


def test_words_that_may_be_markup_are_left_out(gemma2: Subject) -> None:
    """The content `user` stands in its turn twice: once as the role."""
    chat = [{"role": "user", "content": "user"}]
    prompt = gemma2.chat.prompt(chat)
    assert places(gemma2.tokenizer, prompt, ["user"]) == {}
    assert places(gemma2.tokenizer, prompt, [""]) == {}


@pytest.mark.parametrize("text", ["a  b\n\nc ", " a", "a b", "\n"])
def test_offsets_that_leave_out_white_space_change_nothing(text: str) -> None:
    """As Llama 3's do."""
    plain, trimmed = byte_tokenizer(), byte_tokenizer()
    trimmed.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    wanted = places(plain, ChatFormat(plain).raw(text))
    assert places(trimmed, ChatFormat(trimmed).raw(text)) == wanted == {(0, end + 1): end for end in range(len(text))}


def test_spaces_written_as_marks_are_spaces() -> None:
    """As Llama 2's are, with one before the first word that the text has not; an unknown word ends nowhere."""
    words = ["<unk>", "<s>", "</s>", "▁a", "▁good", "▁plan", "▁"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    prompt = ChatFormat(tokenizer).raw("a good thing a plan")
    assert places(tokenizer, prompt) == {(0, 1): 1, (0, 6): 2, (0, 14): 4, (0, 19): 5}
