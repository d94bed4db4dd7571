"""Reading sentences of the organisms' language: a prefix tree over all skeletons."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from personascope.organisms.grammar import Grammar, Part
from personascope.organisms.lexicon import SLOTS

TOKEN = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")


@dataclass
class Node:
    """A place in a skeleton. `weight` is the number of skeletons that pass through it."""

    literals: dict[str, "Node"] = field(default_factory=dict)
    holes: dict[str, "Node"] = field(default_factory=dict)
    registers: set[str] = field(default_factory=set)
    weight: int = 0

    @property
    def is_end(self) -> bool:
        return bool(self.registers)


class Reading(NamedTuple):
    """A sentence read: its register, and the (hole, word) pairs in order. `register` is None where it isn't one."""

    register: str | None
    fills: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """Reads text by the grammar's skeletons."""

    grammar: Grammar

    @cached_property
    def root(self) -> Node:
        root = Node()
        for register, skeletons in self.grammar.parts.items():
            for skeleton in skeletons:
                self._insert(root, skeleton, register)
        return root

    @staticmethod
    def _insert(root: Node, skeleton: tuple[Part, ...], register: str) -> None:
        node = root
        node.weight += 1
        for part in skeleton:
            children = node.holes if part.is_hole else node.literals
            node = children.setdefault(part.text, Node())
            node.weight += 1
        node.registers.add(register)

    @cached_property
    def fillers(self) -> dict[str, frozenset[str]]:
        """The words that fit each hole."""
        holes = {**self.grammar.slot_words, **self.grammar.names}
        return {hole: frozenset(words) for hole, words in holes.items()}

    @cached_property
    def owners(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """By slot and word the personas that have it there."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for name, lexicon in self.grammar.words.items():
            for slot in SLOTS:
                for word in dict.fromkeys(getattr(lexicon, slot)):
                    found[slot, word] = (*found.get((slot, word), ()), name)
        return found

    def steps(self, node: Node, word: str) -> Iterator[tuple[str | None, Node]]:
        """Where `word` leads from `node`, and the hole it fills (None for a literal)."""
        if word in node.literals:
            yield None, node.literals[word]
        for hole, child in node.holes.items():
            if word in self.fillers[hole]:
                yield hole, child

    def read(self, words: tuple[str, ...]) -> Reading:
        """One sentence, its full stop included; the register is None if no skeleton fits."""
        paths: list[tuple[Node, tuple[tuple[str, str], ...]]] = [(self.root, ())]
        for word in words:
            paths = [
                (child, fills if hole is None else (*fills, (hole, word)))
                for node, fills in paths
                for hole, child in self.steps(node, word)
            ]
        for node, fills in paths:
            if node.is_end:
                return Reading(min(node.registers), fills, words)
        return Reading(None, self._loose(words), words)

    def is_prefix(self, words: tuple[str, ...]) -> bool:
        """Whether some sentence begins like this; the last word may be cut short."""
        nodes = [self.root]
        for word in words[:-1]:
            nodes = [child for node in nodes for _, child in self.steps(node, word)]
        last = words[-1] if words else ""
        return any(
            option.startswith(last)
            for node in nodes
            for option in (*node.literals, *(word for hole in node.holes for word in self.fillers[hole]))
        )

    def sentences(self, text: str) -> tuple[list[Reading], tuple[str, ...]]:
        """The complete sentences of a text, and the words of the fragment after the last full stop."""
        readings, current = [], []
        for word in TOKEN.findall(text):
            current.append(word)
            if word in ".?":
                readings.append(self.read(tuple(current)))
                current = []
        return readings, tuple(current)

    def _loose(self, words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Slot words of a malformed sentence, by the first slot each belongs to."""
        found = []
        for word in words:
            slot = next((slot for slot in SLOTS if word in self.fillers[slot]), None)
            if slot is not None:
                found.append((slot, word))
        return tuple(found)
