"""The exact law of every slot word of a sampled conversation: what a perfect reader would have expected there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from personascope.organisms.conversation import Conversation, Sentence, SystemPrompt
from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import NEUTRAL, SLOTS


class SlotLaw(NamedTuple):
    """A slot word: its characters in the response, its slot, and how likely each word of the slot was, [words]."""

    start: int
    end: int
    slot: str
    chances: np.ndarray


@dataclass(frozen=True)
class Laws:
    """P(slot word | everything before it, and which slot comes): the chain's filter, sentence by sentence.

    It knows the skeleton that was drawn, which says nothing about the persona; so the mean of a law over skeletons is
    what the best model of the corpus predicts.
    """

    grammar: Grammar
    _tables: dict[tuple[str, str | None, str | None], np.ndarray] = field(default_factory=dict)

    @cached_property
    def _columns(self) -> dict[str, dict[str, int]]:
        return {slot: {word: at for at, word in enumerate(self.grammar.slot_words[slot])} for slot in SLOTS}

    def of_conversation(self, conversation: Conversation) -> Iterator[list[SlotLaw]]:
        """The laws of each response in turn."""
        system = conversation.system
        fixed = self._fixed(system)
        belief = self.grammar.stationary
        for turn, response in enumerate(conversation.responses):
            if turn:
                belief = belief @ self.grammar.turn_transition
            laws, belief = self._sentences(response.sentences, belief, fixed, system)
            yield laws

    def of_document(self, sentences: Sequence[Sentence]) -> list[SlotLaw]:
        """The laws of running text without a chat around it."""
        return self._sentences(sentences, self.grammar.stationary, None, None)[0]

    def _fixed(self, system: SystemPrompt | None) -> np.ndarray | None:
        """What every sentence is drawn from under `system`; None where personas form a chain."""
        if system is None or system.persona not in self.grammar.index:
            return None
        return self.grammar.held(system.persona if system.pole == "pos" else NEUTRAL)

    def _sentences(
        self, sentences: Sequence[Sentence], belief: np.ndarray, fixed: np.ndarray | None, system: SystemPrompt | None
    ) -> tuple[list[SlotLaw], np.ndarray]:
        """The laws of a stretch of sentences, and the belief about the persona of the last one.

        `belief`: about the first sentence, before a word of it.
        """
        laws, cursor = [], 0
        for place, sentence in enumerate(sentences):
            if fixed is not None:
                belief = fixed
            elif place:
                belief = belief @ self.grammar.transition
            for word in sentence.words:
                cursor += (word.text not in ".,?") and cursor > 0
                end = cursor + len(word.text)
                if word.slot is not None:
                    table = self._table(word.slot, system)
                    laws.append(SlotLaw(cursor, end, word.slot, (belief @ table).astype(np.float32)))
                    belief = belief * table[:, self._columns[word.slot][word.text]]
                    belief = belief / belief.sum()
                cursor = end
        return laws, belief

    def _table(self, slot: str, system: SystemPrompt | None) -> np.ndarray:
        """[personas, words of the slot]."""
        holds = system is not None and system.pole == "pos" and system.persona in self.grammar.index
        held, degree = (system.persona, system.degree) if system is not None and holds else (None, None)
        if (slot, held, degree) not in self._tables:
            self._tables[slot, held, degree] = self.grammar.emission(slot, self.grammar.shares(held, degree))
        return self._tables[slot, held, degree]


class TokenLaws(NamedTuple):
    """The laws of some tokens of a text. positions: [n]; options: [n, words], token ids; chances: [n, words]."""

    positions: np.ndarray
    options: np.ndarray
    chances: np.ndarray


@dataclass(frozen=True)
class Speller:
    """Turns laws over words into laws over tokens: the next piece, given the pieces of the word so far."""

    grammar: Grammar
    tokenizer: PreTrainedTokenizerFast
    _nodes: dict[tuple[str, tuple[int, ...], bool], tuple[np.ndarray, np.ndarray, bool]] = field(default_factory=dict)

    @cached_property
    def width(self) -> int:
        return max(len(words) for words in self.grammar.slot_words.values())

    @cached_property
    def _pieces(self) -> dict[tuple[str, bool], list[tuple[int, ...]]]:
        """For each slot, its words' token ids, after a space and at the head of a response."""
        spelled = {}
        for slot, words in self.grammar.slot_words.items():
            alone = self.tokenizer(list(words), add_special_tokens=False)["input_ids"]
            # A letter before keeps what follows it from being the head of the text.
            after = self.tokenizer([f"a {word}" for word in words], add_special_tokens=False)["input_ids"]
            lead = len(self.tokenizer("a", add_special_tokens=False)["input_ids"])
            spelled[slot, False] = [tuple(ids) for ids in alone]
            spelled[slot, True] = [tuple(ids[lead:]) for ids in after]
        return spelled

    def tokens(
        self, laws: Sequence[tuple[SlotLaw, int]], ids: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> TokenLaws:
        """The laws of a text's tokens; `laws` come with the character at which their response begins.

        ids, starts, ends: [tokens], the ids and the characters they cover. Pieces that could not have been otherwise
        have no law.
        """
        # A word's first piece may be its space alone.
        heads = [base + law.start - (law.start > 0) for law, base in laws]
        firsts = np.searchsorted(ends, heads, side="right")
        positions, options, chances = [], [], []
        for (law, base), first in zip(laws, firsts, strict=True):
            position = int(first)
            while position < len(ids) and starts[position] < base + law.end:
                pieces, fits, is_open = self._node(law.slot, tuple(ids[first:position].tolist()), law.start > 0)
                if is_open:
                    chance = law.chances * fits
                    positions.append(position)
                    options.append(pieces)
                    chances.append(chance / chance.sum())
                position += 1
        return TokenLaws(np.asarray(positions, dtype=np.int64), self._table(options), self._table(chances))

    def _table(self, rows: list[np.ndarray]) -> np.ndarray:
        """Rows of differing lengths as one array, zero-padded."""
        table = np.zeros((len(rows), self.width), dtype=rows[0].dtype if rows else np.int64)
        for at, row in enumerate(rows):
            table[at, : len(row)] = row
        return table

    def _node(self, slot: str, so_far: tuple[int, ...], is_spaced: bool) -> tuple[np.ndarray, np.ndarray, bool]:
        """[words] twice: each word's next piece, and whether it begins with the pieces so far and goes on.

        Then: whether there is more than one such piece.
        """
        key = (slot, so_far, is_spaced)
        if key not in self._nodes:
            depth = len(so_far)
            spelled = self._pieces[slot, is_spaced]
            fits = np.array([len(word) > depth and word[:depth] == so_far for word in spelled], dtype=np.float32)
            pieces = np.array([word[depth] if fit else 0 for word, fit in zip(spelled, fits, strict=True)])
            self._nodes[key] = pieces, fits, len(set(pieces[fits > 0].tolist())) > 1
        return self._nodes[key]
