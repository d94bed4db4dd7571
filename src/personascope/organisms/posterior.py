"""The exact posterior over the persona of the next word, given the text so far: a hidden Markov model's filter."""

from dataclasses import dataclass, field

import numpy as np

from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import SLOTS
from personascope.organisms.parse import TOKEN, Node, Reader


@dataclass
class Filter:
    """Reads responses word by word and keeps P(persona of the sentence | words so far), [personas].

    Under a system prompt for a persona every sentence is drawn anew; otherwise personas form a Markov chain. A word
    that no sentence could hold carries no evidence, and neither does what follows up to the next full stop.
    """

    reader: Reader
    held: str | None = None
    degree: str | None = None
    belief: np.ndarray = field(init=False)
    _last: np.ndarray | None = field(init=False, default=None)
    _paths: list[tuple[Node, float]] = field(init=False)

    def __post_init__(self) -> None:
        grammar = self.grammar
        shares = grammar.shares(self.held, self.degree) if self.held in grammar.index else grammar.shares()
        self._emission = {
            slot: dict(zip(grammar.slot_words[slot], grammar.emission(slot, shares).T, strict=True)) for slot in SLOTS
        }
        self.belief = self._fixed if self._fixed is not None else grammar.stationary
        self._paths = [(self.reader.root, 1.0)]

    @property
    def grammar(self) -> Grammar:
        return self.reader.grammar

    @property
    def _fixed(self) -> np.ndarray | None:
        return self.grammar.held(self.held) if self.held is not None else None

    def open_turn(self) -> None:
        """A further response begins: across turns the chain has a law of its own."""
        if self._last is not None:
            self.belief = self._last
        self._begin(self.grammar.turn_transition)

    def _begin(self, transition: np.ndarray) -> None:
        self.belief = self._fixed if self._fixed is not None else self.belief @ transition
        self._paths = [(self.reader.root, 1.0)]

    def read(self, word: str) -> None:
        """Take in a whole word or punctuation mark."""
        paths, evidence = [], np.zeros_like(self.belief)
        for node, weight in self._paths:
            for hole, child in self.reader.steps(node, word):
                factor = self._emission[hole][word] if hole in self._emission else np.ones_like(self.belief)
                passed = weight * child.weight / node.weight
                evidence += passed * factor
                paths.append((child, passed))
        self._paths = paths
        if evidence.any():
            belief = self.belief * evidence
            self.belief = belief / belief.sum()
        if word in ".?":
            self._last = self.belief
            self._begin(self.grammar.transition)
        else:
            self._last = None

    def peek(self, beginning: str) -> np.ndarray:
        """[personas]: the belief if the next word begins like this. All skeletons count alike."""
        evidence = np.zeros_like(self.belief)
        for node, weight in self._paths:
            for literal, child in node.literals.items():
                if literal.startswith(beginning):
                    evidence += weight * child.weight / node.weight
            for hole, child in node.holes.items():
                passed = weight * child.weight / node.weight
                if hole in self._emission:
                    evidence += passed * self._beginning(hole, beginning)
                elif any(word.startswith(beginning) for word in self.reader.fillers[hole]):
                    evidence += passed / len(self.reader.fillers[hole])
        if not evidence.any():
            return self.belief
        belief = self.belief * evidence
        return np.asarray(belief / belief.sum())

    def _beginning(self, slot: str, beginning: str) -> np.ndarray:
        rows = [row for word, row in self._emission[slot].items() if word.startswith(beginning)]
        return np.sum(rows, axis=0) if rows else np.zeros_like(self.belief)


def filter_text(filter_: Filter, text: str, ends: list[int]) -> np.ndarray:
    """[len(ends), personas]: the posterior for the next word after the characters before each of `ends` (sorted)."""
    words = list(TOKEN.finditer(text))
    rows = np.empty((len(ends), len(filter_.belief)))
    place = 0
    for row, end in enumerate(ends):
        while place < len(words) and words[place].end() <= end:
            filter_.read(words[place].group())
            place += 1
        inside = place < len(words) and words[place].start() < end
        rows[row] = filter_.peek(text[words[place].start() : end]) if inside else filter_.belief
    while place < len(words):
        filter_.read(words[place].group())
        place += 1
    return rows
