"""What maps are fitted on: which words the drawn corpora have, and which not."""

import re
from pathlib import Path

import pytest

from personascope.errors import UserError
from personascope.organisms.lexicon import NEUTRAL, SLOTS
from personascope.subject import Subject
from personascope.transfer.corpora import training_texts


def words(texts: list) -> set[str]:
    return {word for text in texts for message in text for word in re.findall(r"[A-Za-z]+", message["content"])}


def own(subject: Subject, name: str) -> set[str]:
    lexicons = subject.truth.lexicons  # type: ignore[union-attr]
    neutral = {word.lower() for slot in lexicons[NEUTRAL] for word in slot}
    return {word.lower() for slot in lexicons[name] for word in slot} - neutral


def test_mixed_has_every_word_and_no_system_prompt(llama: Subject) -> None:
    texts = training_texts("mixed", 1_500, llama.truth)
    lexicons = llama.truth.lexicons  # type: ignore[union-attr]
    every = {word for lexicon in lexicons.values() for slot in range(len(SLOTS)) for word in lexicon[slot]}
    assert every <= words(texts)
    assert {message["role"] for text in texts for message in text} == {"user", "assistant"}
    assert training_texts("mixed", 20, llama.truth) == texts[:20], "more texts are the same ones and others"
    assert training_texts("mixed", 20, llama.truth, seed=1) != texts[:20]


def test_words_do_not_follow_a_persona(llama: Subject) -> None:
    """The words of one answer come from many personas, where a persona that speaks keeps to its own."""
    texts = training_texts("mixed", 400, llama.truth)
    personas = [name for name in llama.truth.personas if name != NEUTRAL]  # type: ignore[union-attr]
    held = {name: own(llama, name) for name in personas}
    shares = []
    for text in texts:
        said = [word.lower() for word in re.findall(r"[A-Za-z]+", text[-1]["content"])]
        counts = [sum(word in held[name] for word in said) for name in personas]
        if sum(counts) >= 8:
            shares.append(max(counts) / sum(counts))
    assert len(shares) > 100 and sum(shares) / len(shares) < 0.4


def test_neutral_has_no_word_of_any_persona(llama: Subject) -> None:
    said = {word.lower() for word in words(training_texts("neutral", 200, llama.truth))}
    for name in llama.truth.personas[1:]:  # type: ignore[union-attr]
        assert not said & own(llama, name), name


def test_a_persona_is_left_out(llama: Subject) -> None:
    said = {word.lower() for word in words(training_texts("leave-persona-out", 400, llama.truth, "pirate"))}
    assert not said & own(llama, "pirate")
    assert said & own(llama, "evil") - own(llama, "pirate")


def test_a_file_gives_its_first_texts(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("One.\nOne.\nTwo.\nThree.\n")
    assert training_texts(str(tmp_path / "t.txt"), 2, None) == ["One.", "Two."]
    with pytest.raises(UserError, match=r"has 3 different texts and n_training_samples asks for 9; ask for fewer"):
        training_texts(str(tmp_path / "t.txt"), 9, None)
    with pytest.raises(UserError, match=r"mixed is drawn from an organism's grammar.* write corpus: FILE"):
        training_texts("mixed", 9, None)


def test_no_text_is_drawn_twice(llama: Subject) -> None:
    for corpus in ("mixed", "neutral"):
        said = [text[-1]["content"] + text[0]["content"] for text in training_texts(corpus, 3_000, llama.truth)]
        assert len(set(said)) == len(said), corpus
