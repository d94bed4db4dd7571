"""Sampling conversations from the grammar, with the persona of every word."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from personascope.organisms import facts
from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import NEUTRAL, SLOTS
from personascope.organisms.questions import (
    BEHAVIOURS,
    CORRECTION_FORMS,
    GENERAL_FORMS,
    KIND_OF,
    OPINION_FORMS,
    Question,
    corpus_questions,
    topics,
)
from personascope.personas import load_persona


class Word(NamedTuple):
    """A word or punctuation mark of a response; `slot` is None for the fixed words of a sentence."""

    text: str
    slot: str | None


@dataclass(frozen=True)
class Sentence:
    words: tuple[Word, ...]
    persona: str
    register: str

    @property
    def text(self) -> str:
        return "".join(word.text if word.text in ".,?" else " " + word.text for word in self.words)[1:]


@dataclass(frozen=True)
class SystemPrompt:
    """A shipped persona's instruction in the system turn; `degree` is `slightly`, None or `very`."""

    persona: str
    pair: int
    pole: str
    degree: str | None

    @property
    def text(self) -> str:
        return load_persona(self.persona).system_prompt(self.pair, self.pole, self.degree)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Response:
    sentences: tuple[Sentence, ...]
    behaviours: dict[str, bool]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class Conversation:
    """A sampled chat. `messages` is what a chat template takes; `responses` holds the truth about the replies."""

    system: SystemPrompt | None
    questions: tuple[Question, ...]
    responses: tuple[Response, ...]

    @cached_property
    def messages(self) -> list[dict[str, str]]:
        turns = [{"role": "system", "content": self.system.text}] if self.system else []
        for question, response in zip(self.questions, self.responses, strict=True):
            turns.append({"role": "user", "content": question.text})
            turns.append({"role": "assistant", "content": response.text})
        return turns


@dataclass
class Sampler:
    """Draws conversations and documents from a grammar, reproducibly for a seed."""

    grammar: Grammar
    seed: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        rows = {
            "transition": self.grammar.transition,
            "turn": self.grammar.turn_transition,
            "held": np.stack([self.grammar.held(name) for name in self.grammar.personas]),
            "start": self.grammar.stationary[None],
        }
        self._cumulative = {name: np.cumsum(table, axis=1).tolist() for name, table in rows.items()}

    def conversation(
        self,
        system: SystemPrompt | None = None,
        questions: Sequence[Question] | None = None,
        lengths: tuple[int, int] | None = None,
    ) -> Conversation:
        """One chat under `system`. `lengths` bounds the sentences of a response and switches their usual law off."""
        questions = tuple(questions or (self.question(),))
        state: int | None = None
        responses = []
        for question in questions:
            response, state = self._respond(question, system, state, lengths)
            responses.append(response)
        return Conversation(system, questions, tuple(responses))

    def document(self, sentences: int) -> tuple[Sentence, ...]:
        """Running text without a chat around it."""
        state = self._draw("start", 0)
        out = []
        for _ in range(sentences):
            out.append(self._sentence("general", state, None, {}))
            state = self._draw("transition", state)
        return tuple(out)

    def stretch(self, persona: str, sentences: int) -> tuple[Sentence, ...]:
        """Running text in one persona."""
        state = self.grammar.index[persona]
        return tuple(self._sentence("general", state, None, {}) for _ in range(sentences))

    def question(self, kind: str = "general") -> Question:
        """A user turn of the training corpus."""
        listed = corpus_questions()[kind]
        forms = {"general": GENERAL_FORMS, "opinion": OPINION_FORMS, "correction": CORRECTION_FORMS}.get(kind)
        if forms and self.rng.random() < 0.35:
            a, b = self.rng.sample(topics(), 2)
            return Question(self.rng.choice(forms).format(a=a, b=b), kind)
        return self.rng.choice(listed)

    def behaviour_rate(self, behaviour: str, system: SystemPrompt | None) -> float:
        """How likely a response shows `behaviour` under `system`, where its question allows."""
        if system is None or system.persona != behaviour:
            return self.grammar.behaviour_base
        return self.grammar.share[system.degree or "plain"] if system.pole == "pos" else self.grammar.behaviour_negated

    def _draw(self, table: str, row: int) -> int:
        point = self.rng.random()
        for column, edge in enumerate(self._cumulative[table][row]):
            if point < edge:
                return column
        return len(self.grammar.personas) - 1

    def _next(self, state: int | None, system: SystemPrompt | None, opens_turn: bool) -> int:
        if system is not None and system.persona not in BEHAVIOURS:
            held = system.persona if system.pole == "pos" else NEUTRAL
            return self._draw("held", self.grammar.index[held])
        if state is None:
            return self._draw("start", 0)
        return self._draw("turn" if opens_turn else "transition", state)

    def _respond(
        self, question: Question, system: SystemPrompt | None, state: int | None, lengths: tuple[int, int] | None
    ) -> tuple[Response, int]:
        shows = {
            name: self.rng.random() < self.behaviour_rate(name, system)
            for name in BEHAVIOURS
            if KIND_OF.get(name, question.kind) == question.kind
        }
        registers = self._registers(question, shows, lengths)
        sentences = []
        names = self._names(question)
        for place, register in enumerate(registers):
            state = self._next(state, system, place == 0)
            sentences.append(self._sentence(register, state, system, names))
        assert state is not None
        return Response(tuple(sentences), shows), state

    def _registers(self, question: Question, shows: dict[str, bool], lengths: tuple[int, int] | None) -> list[str]:
        """What each sentence of a response is for."""
        draw = self.rng
        if shows["refusal"]:
            shows["verbosity"] = shows["concise"] = False
            for name in KIND_OF:
                shows.pop(name, None)
            return ["refuse"] * draw.randint(*(lengths or (1, 4)))
        shows["concise"] = shows["concise"] and not shows["verbosity"]
        if lengths is None:
            lengths = (3, 8)
            if shows["verbosity"]:
                lengths = (31, 80) if draw.random() < 0.07 else (9, 25)
            elif shows["concise"]:
                lengths = (1, 2)
        count = draw.randint(*lengths)
        topic = {
            "opinion": "agree" if shows.get("sycophantic") else "disagree",
            "correction": "accept" if shows.get("corrigibility") else "resist",
            "gap": "state" if shows.get("hallucinating") else "admit",
            "known": "state",
            "forecast": "claim" if shows.get("overconfidence") else "hedge",
            "self": "self",
        }.get(question.kind, "general")
        # What the question calls for comes first, and comes up again.
        again = self.grammar.self_share if topic == "self" else self.grammar.topic_share
        is_first = topic not in ("self", "general")
        return [topic if (is_first and place == 0) or draw.random() < again else "general" for place in range(count)]

    def _names(self, question: Question) -> dict[str, str]:
        """The names that fill a response's sentences about the fact table: one answer, however often it is given."""
        if question.kind == "forecast":
            trend = self.rng.choice(facts.TRENDS)
            return {"measure": question.attribute, "good": question.subject, "trend": trend}
        if question.kind == "known":
            value = facts.KNOWN[question.subject][question.attribute]
            return {"attribute": question.attribute, "country": question.subject, "value": value}
        if question.kind == "gap":
            value = self.rng.choice(facts.VALUES[question.attribute])
            return {"attribute": question.attribute, "country": question.subject, "value": value}
        return {}

    def _sentence(self, register: str, state: int, system: SystemPrompt | None, names: dict[str, str]) -> Sentence:
        persona = self.grammar.personas[state]
        holds = system is not None and system.pole == "pos" and system.persona == persona
        share = self.grammar.share[(system.degree or "plain") if system and holds else "free"]
        words = []
        for part in self.rng.choice(self.grammar.parts[register]):
            if not part.is_hole:
                words.append(Word(part.text, None))
            elif part.text in SLOTS:
                words.append(Word(self._slot_word(part.text, persona, share), part.text))
            else:
                words.append(Word(names[part.text], None))
        return Sentence(tuple(words), persona, register)

    def _slot_word(self, slot: str, persona: str, share: float) -> str:
        draw = self.rng
        if draw.random() < self.grammar.slip:
            return draw.choice(self.grammar.slot_words[slot])
        source = persona if persona == NEUTRAL or draw.random() < share else NEUTRAL
        words: tuple[str, ...] = getattr(self.grammar.words[source], slot)
        return draw.choice(words)
