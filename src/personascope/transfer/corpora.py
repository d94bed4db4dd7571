"""What a map is fitted on: texts that both models read."""

import random
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from personascope.corpora import (
    Corpus,
    control_prompts,
    neutral_questions,
    neutral_texts,
    read_corpus,
    self_prompts,
)
from personascope.errors import UserError
from personascope.organisms.conversation import Conversation, Sampler
from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import NEUTRAL, SLOTS, Words
from personascope.organisms.truth import Truth
from personascope.personas import load_persona, persona_names
from personascope.runs import cell_key
from personascope.subject import PromptLike

# Those that are drawn from an organism's grammar; `leave-persona-out` is another one for every persona.
DRAWN = ("mixed", "neutral", "leave-persona-out")
# What ships for other ends: paragraphs and questions, of any models.
SHIPPED = "shipped"
_SENTENCES = (1, 4)
_KINDS, _KIND_SHARES = ("general", "self", "opinion", "forecast"), (0.7, 0.1, 0.1, 0.1)
_WORD = re.compile(r"[A-Za-z]+")
# So many texts may fall to a banned word for each that stands.
_PATIENCE = 200


def is_given(corpus: str) -> bool:
    """Whether it is a file or a folder: neither drawn nor shipped nor a dataset of the hub."""
    return corpus not in (*DRAWN, SHIPPED) and not corpus.startswith("hf:")


def identity_of(corpus: str, column: str | None = None, seed: int = 0, without: Collection[str] = ()) -> str:
    """What a corpus is, wherever it lies; without: texts that those that ship are taken without. Raises `UserError` where
    it is not there."""
    if corpus in DRAWN:
        return corpus
    if corpus == SHIPPED:
        return f"{SHIPPED} {cell_key(texts=shipped_texts(without))[:16]}"
    found = _opened(corpus, column, seed)
    return f"{found.name} {found.fingerprint}"


def training_texts(
    corpus: str,
    count: int,
    truth: Truth | None,
    persona: str | None = None,
    seed: int = 0,
    column: str | None = None,
    without: Collection[str] = (),
) -> list[PromptLike]:
    """`count` different texts to fit a map on.

    `mixed`: chats of one turn without a system prompt, where every slot takes any word of the grammar, whoever's it is.
    `neutral`: no word of any persona. `leave-persona-out`: as mixed, without the words of `persona`. `shipped`: some of
    `shipped_texts`, those of `without` left out. Otherwise the first documents of a file or folder, or of hf:DATASET.
    truth: of the models, if they are organisms.
    Raises `UserError` where the corpus has fewer texts, and where a grammar is needed and there is none.
    """
    if corpus == SHIPPED:
        texts: list[PromptLike] = list(shipped_texts(without))
        random.Random(f"shipped {seed}").shuffle(texts)
        return _enough(corpus, texts[:count], count)
    if corpus not in DRAWN:
        return _given(corpus, count, column, seed)
    if truth is None:
        raise UserError(
            f"corpus: {corpus} is drawn from an organism's grammar, and these are no two organisms; write corpus: FILE, a "
            "folder, or hf:DATASET"
        )
    grammar = truth.grammar
    if corpus == "leave-persona-out" and persona not in grammar.words:
        raise UserError(
            f"leave-persona-out leaves out a persona's words, and {persona!r} has none; use corpus: mixed, or one of "
            f"{', '.join(grammar.personas[1:])}"
        )
    left_out = [one for one in grammar.words if one != NEUTRAL] if corpus == "neutral" else [persona or NEUTRAL]
    banned = set() if corpus == "mixed" else {word.lower() for name in left_out for word in _spoken(grammar, name)}
    drawn = islice(_drawn(grammar, banned, seed), _PATIENCE * count)
    standing = ([dict(one) for one in each.messages] for each in drawn if banned.isdisjoint(_said(each)))
    found = _different(standing, count)
    if len(found) == count:
        return found
    raise UserError(f"corpus: {corpus} leaves too few sentences to draw {count} texts from; use another corpus")


def shipped_texts(without: Collection[str] = ()) -> tuple[str, ...]:
    """Paragraphs and questions that ship, each once, the questions of all personas among them; without: some that are left
    out. Texts that a persona is extracted from are not: a map fitted to those would carry it by having seen where it must
    arrive."""
    personas = [load_persona(name) for name in persona_names()]
    asked = [question for one in personas for question in (*one.questions, *one.eval_questions)]
    plain = (*neutral_texts(), *neutral_questions(), *self_prompts(), *control_prompts())
    return tuple(text for text in dict.fromkeys((*plain, *asked)) if text not in without)


def _drawn(grammar: Grammar, banned: Collection[str], seed: int) -> Iterator[Conversation]:
    """Chats in which every persona speaks with the same words: all that are not banned."""
    allowed = Words(*(tuple(w for w in grammar.slot_words[slot] if w.lower() not in banned) for slot in SLOTS))
    sampler = Sampler(replace(grammar, words=dict.fromkeys(grammar.words, allowed)), seed=seed + 7_919)
    draw = random.Random(f"kinds {seed}")
    while True:
        (kind,) = draw.choices(_KINDS, _KIND_SHARES)
        yield sampler.conversation(None, [sampler.question(kind)], _SENTENCES)


def _spoken(grammar: Grammar, name: str) -> set[str]:
    """A persona's words that are no neutral ones too."""
    neutral = {word.lower() for slot in grammar.words[NEUTRAL] for word in slot}
    return {word for slot in grammar.words[name] for word in slot if word.lower() not in neutral}


def _said(conversation: Conversation) -> set[str]:
    return {word.lower() for one in conversation.messages for word in _WORD.findall(one["content"])}


def _given(corpus: str, count: int, column: str | None, seed: int) -> list[PromptLike]:
    return _enough(corpus, _different((one.content for one in _opened(corpus, column, seed).documents()), count), count)


def _enough(corpus: str, texts: list[PromptLike], count: int) -> list[PromptLike]:
    if len(texts) < count:
        raise UserError(
            f"{corpus} has {len(texts)} different texts and n_training_samples asks for {count}; ask for fewer"
        )
    return texts


def _opened(corpus: str, column: str | None, seed: int) -> Corpus:
    if is_given(corpus):
        return read_corpus(corpus, column)
    # Imported here: the library takes a second to load.
    from personascope.corpora.datasets import stream_dataset

    return stream_dataset(corpus, column, seed)


def _different(texts: Iterable[PromptLike], count: int) -> list[PromptLike]:
    """The first `count` that say what none before did: one in two folds would be tested on what it was fitted to."""
    found: dict[str, PromptLike] = {}
    for text in texts:
        found.setdefault(cell_key(text=text), text)
        if len(found) == count:
            break
    return list(found.values())
