"""The organisms' language as one value: words, sentences, facts and every probability that generates them."""

import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from personascope.organisms import facts
from personascope.organisms.lexicon import NEUTRAL, SLOTS, STICKINESS, Words, lexicon
from personascope.organisms.skeletons import REGISTERS


class Part(NamedTuple):
    """One token of a skeleton: a literal word or punctuation mark, or a hole named after its words."""

    text: str
    is_hole: bool


_PARTS = re.compile(r"\{(\w+)\}|([A-Za-z]+|[.,?])")


def parts(skeleton: str) -> tuple[Part, ...]:
    """A skeleton cut into words, punctuation marks and holes."""
    return tuple(Part(hole or literal, bool(hole)) for hole, literal in _PARTS.findall(skeleton))


@dataclass(frozen=True)
class Grammar:
    """Everything the planted truth depends on; saved as `truth.json` beside an organism's weights.

    Text is generated as follows. Each sentence has a persona; the next sentence keeps it with the persona's
    stickiness and is drawn from the stationary distribution's redraw otherwise. Across turns it is kept with
    `turn_stickiness`. Under a system prompt a sentence has the prompt's persona with probability `hold`, whatever came
    before. Each slot of a sentence takes a word of its persona with probability `share` (by degree of the prompt that
    holds it; `free` where none does), a neutral word otherwise, and, with probability `slip`, any word of that slot.
    """

    words: dict[str, Words] = field(default_factory=lexicon)
    registers: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(REGISTERS))
    names: dict[str, tuple[str, ...]] = field(default_factory=facts.names)
    stickiness: dict[str, float] = field(default_factory=lambda: dict(STICKINESS))
    share: dict[str, float] = field(default_factory=lambda: {"free": 0.9, "slightly": 0.3, "plain": 0.6, "very": 0.9})
    neutral_mass: float = 0.48
    turn_stickiness: float = 0.9
    hold: float = 0.9
    slip: float = 0.03
    behaviour_base: float = 0.1
    behaviour_negated: float = 0.02
    self_share: float = 0.7
    topic_share: float = 0.35

    @cached_property
    def personas(self) -> tuple[str, ...]:
        """`neutral`, then the lexical personas: the columns of every posterior."""
        return tuple(self.words)

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: column for column, name in enumerate(self.personas)}

    @cached_property
    def redraw(self) -> np.ndarray:
        """[personas]: where a sentence goes that doesn't keep its persona.

        In proportion to 1 − stickiness, so that in the long run every persona but the neutral one is as frequent
        as every other, however sticky it is.
        """
        leave = np.array([1 - self.stickiness[name] for name in self.personas])
        leave[0] = 0
        mass = (1 - self.neutral_mass) * leave / leave.sum()
        mass[0] = self.neutral_mass
        return mass

    @cached_property
    def transition(self) -> np.ndarray:
        """[personas, personas]: the persona of the next sentence, given that of this one, without a system prompt."""
        keep = np.array([self.stickiness[name] for name in self.personas])
        return np.diag(keep) + np.outer(1 - keep, self.redraw)

    @cached_property
    def stationary(self) -> np.ndarray:
        """[personas]: the persona of the first sentence of a conversation, and in the long run of any."""
        keep = np.array([self.stickiness[name] for name in self.personas])
        mass = self.redraw / (1 - keep)
        return np.asarray(mass / mass.sum())

    @cached_property
    def turn_transition(self) -> np.ndarray:
        """[personas, personas]: the first sentence of a response, given the last one of the response before."""
        size = len(self.personas)
        return self.turn_stickiness * np.eye(size) + (1 - self.turn_stickiness) * np.tile(self.stationary, (size, 1))

    def held(self, persona: str) -> np.ndarray:
        """[personas]: the persona of any sentence under a system prompt for `persona`."""
        return self.hold * np.eye(len(self.personas))[self.index[persona]] + (1 - self.hold) * self.stationary

    @cached_property
    def slot_words(self) -> dict[str, tuple[str, ...]]:
        """All words of each slot, neutral ones included, each once."""
        return {
            slot: tuple(dict.fromkeys(word for words in self.words.values() for word in getattr(words, slot)))
            for slot in SLOTS
        }

    def emission(self, slot: str, shares: np.ndarray) -> np.ndarray:
        """[personas, words of the slot]: how likely each word is in a slot, with persona-word shares [personas]."""
        vocabulary = {word: column for column, word in enumerate(self.slot_words[slot])}
        table = np.full((len(self.personas), len(vocabulary)), self.slip / len(vocabulary))
        neutral = [vocabulary[word] for word in getattr(self.words[NEUTRAL], slot)]
        for row, name in enumerate(self.personas):
            own = [vocabulary[word] for word in getattr(self.words[name], slot)]
            share = 1.0 if name == NEUTRAL else shares[row]
            table[row, own] += (1 - self.slip) * share / len(own)
            table[row, neutral] += (1 - self.slip) * (1 - share) / len(neutral)
        return table

    def shares(self, persona: str | None = None, degree: str | None = None) -> np.ndarray:
        """[personas]: persona-word share of each, under a system prompt for `persona` in `degree` or under none."""
        values = np.full(len(self.personas), self.share["free"])
        values[0] = 0.0
        if persona is not None:
            values[self.index[persona]] = self.share[degree or "plain"]
        return values

    @cached_property
    def parts(self) -> dict[str, tuple[tuple[Part, ...], ...]]:
        """Each register's skeletons, cut into parts."""
        return {register: tuple(map(parts, skeletons)) for register, skeletons in self.registers.items()}

    def vocabulary(self) -> set[str]:
        """Every word and punctuation mark that a response can contain."""
        literals = {
            part.text for register in self.parts.values() for one in register for part in one if not part.is_hole
        }
        slots = {word for words in self.slot_words.values() for word in words}
        return literals | slots | {name for names in self.names.values() for name in names}

    def save(self, path: Path) -> None:
        data = asdict(self)
        data["words"] = {name: words._asdict() for name, words in self.words.items()}
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Grammar":
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        data["words"] = {
            name: Words(**{slot: tuple(words) for slot, words in slots.items()})
            for name, slots in data["words"].items()
        }
        for key in ("registers", "names"):
            data[key] = {name: tuple(values) for name, values in data[key].items()}
        return cls(**data)
