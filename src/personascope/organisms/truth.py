"""What is known about an organism because it was planted."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from personascope.errors import UserError
from personascope.organisms.conversation import Conversation, Sampler, SystemPrompt
from personascope.organisms.corpus import draw_conversation
from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import NEUTRAL, Words
from personascope.organisms.parse import Reader
from personascope.organisms.posterior import Filter, filter_text
from personascope.organisms.questions import BEHAVIOURS
from personascope.organisms.recipes import Markup
from personascope.organisms.score import Score, score
from personascope.personas import load_persona, persona_names


@dataclass(frozen=True)
class Labelled:
    """A conversation as token ids, with the truth about each token.

    ids: [tokens]; persona: [tokens], the column in `Truth.personas` of the sentence each token belongs to, −1 outside
    responses; starts: [tokens], True on the first token of a sentence; slots: [tokens], True where the token belongs
    to a word that fills a slot with a persona's word, False on neutral and fixed words; self_talk: [tokens], True in
    sentences of the register that answers questions about the self.
    """

    ids: list[int]
    persona: np.ndarray
    starts: np.ndarray
    slots: np.ndarray
    self_talk: np.ndarray
    conversation: Conversation


@dataclass(frozen=True)
class Truth:
    """The planted personas of an organism: exact labels, scores and posteriors. Source: the grammar it was trained on."""

    grammar: Grammar
    markup: Markup
    tokenizer: PreTrainedTokenizerBase
    pieces: Callable[[Sequence[int]], list[str]] = field(repr=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        markup: Markup,
        tokenizer: PreTrainedTokenizerBase,
        pieces: Callable[[Sequence[int]], list[str]],
    ) -> "Truth":
        return cls(Grammar.load(folder / "truth.json"), markup, tokenizer, pieces)

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.grammar)

    @property
    def personas(self) -> tuple[str, ...]:
        """The columns of `posterior`: `neutral`, then the personas that show in the choice of words."""
        return self.grammar.personas

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The personas that show in what is said or how much."""
        return BEHAVIOURS

    @property
    def stickiness(self) -> dict[str, float]:
        """For each persona, how likely the next sentence keeps it when no system prompt holds it, 0..1."""
        return self.grammar.stickiness

    @property
    def lexicons(self) -> dict[str, Words]:
        """For each persona its words by slot; shared words stand in two."""
        return self.grammar.words

    def score(self, text: str) -> Score:
        """Exact scores of a response: `shares` by persona, `well_formed`, `behaviours`, `sentences`."""
        return score(self.reader, text)

    def sample(
        self, n: int, seed: int = 0, persona: str | None = None, degree: str | None = None, prompted: bool | None = None
    ) -> list[Labelled]:
        """`n` conversations as the training corpus has them, with the persona of every word.

        persona: under one of its system prompts, in `degree` (`slightly`, None, `very`). prompted: False for
        conversations without a system prompt, True for those with one, None for both.
        Raises `UserError` on an unknown persona.
        """
        if persona is not None:
            load_persona(persona)
        sampler = Sampler(self.grammar, seed)
        labelled: list[Labelled] = []
        while len(labelled) < n:
            conversation = self._draw(sampler, persona, degree)
            if prompted is None or (conversation.system is not None) == prompted:
                labelled.append(self.label(conversation))
        return labelled

    def _draw(self, sampler: Sampler, persona: str | None, degree: str | None) -> Conversation:
        if persona is None:
            return draw_conversation(sampler)
        pair = sampler.rng.randrange(len(load_persona(persona).instruction))
        return sampler.conversation(SystemPrompt(persona, pair, "pos", degree), [sampler.question()])

    def label(self, conversation: Conversation) -> Labelled:
        """The conversation through the chat template, with the persona of every token."""
        text = str(self.tokenizer.apply_chat_template(conversation.messages, tokenize=False))
        encoded: Any = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = np.asarray(encoded["offset_mapping"])
        persona = np.full(len(offsets), -1)
        starts = np.zeros(len(offsets), dtype=bool)
        slots, self_talk = np.zeros(len(offsets), dtype=bool), np.zeros(len(offsets), dtype=bool)
        lexicon = {word for name, words in self.lexicons.items() if name != NEUTRAL for slot in words for word in slot}
        cursor = 0
        for response in conversation.responses:
            cursor = text.index(self.markup.assistant, cursor) + len(self.markup.assistant)
            for sentence in response.sentences:
                cursor = text.index(sentence.text, cursor)
                end = cursor + len(sentence.text)
                inside = np.flatnonzero((offsets[:, 1] > cursor) & (offsets[:, 0] < end))
                persona[inside] = self.grammar.index[sentence.persona]
                starts[inside[0]] = True
                self_talk[inside] = sentence.register == "self"
                for word in sentence.words:
                    at = text.index(word.text, cursor)
                    if word.slot is not None and word.text in lexicon:
                        slots[(offsets[:, 1] > at) & (offsets[:, 0] < at + len(word.text))] = True
                    cursor = at + len(word.text)
                cursor = end
        return Labelled(list(encoded["input_ids"]), persona, starts, slots, self_talk, conversation)

    def posterior(self, ids: Sequence[int]) -> np.ndarray:
        """[tokens, personas]: after each token, how likely the next word is spoken by each persona.

        Exact for whole words, for the grammar and the shipped system prompts. On tokens outside responses: the
        belief about the response to come. Other system prompts are taken to hold nothing.
        """
        pieces = self.pieces(ids)
        text = "".join(pieces)
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        filter_ = Filter(self.reader, *self._held(text))
        rows = np.empty((len(ends), len(self.personas)))
        spans = self._responses(text)
        token, answered = 0, False
        for start, stop in spans:
            if answered:
                filter_.open_turn()
            count = int(np.searchsorted(ends, start, side="right"))
            rows[token:count] = filter_.belief
            last = int(np.searchsorted(ends, stop, side="right"))
            rows[count:last] = filter_text(filter_, text[start:stop], [end - start for end in ends[count:last]])
            token, answered = last, True
        rows[token:] = filter_.belief
        return rows

    def _responses(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the responses; of the whole text where there is no chat markup."""
        heads = [match.end() for match in re.finditer(re.escape(self.markup.assistant), text)]
        if not heads and self.markup.user not in text:
            start = len(self.markup.bos) if text.startswith(self.markup.bos) else 0
            return [(start, len(text))]
        ends = [text.find(self.markup.end_of_turn, head) for head in heads]
        return [(head, end if end >= 0 else len(text)) for head, end in zip(heads, ends, strict=True)]

    def _held(self, text: str) -> tuple[str | None, str | None]:
        """What the system prompt at the head of `text` holds: a persona and a degree."""
        best: tuple[int, str | None, str | None] = (0, None, None)
        for prompt, (persona, degree) in self._system_prompts.items():
            if len(prompt) > best[0] and prompt in text.split(self.markup.end_of_turn)[0]:
                best = (len(prompt), persona, degree)
        return best[1:]

    @cached_property
    def _system_prompts(self) -> dict[str, tuple[str | None, str | None]]:
        held: dict[str, tuple[str | None, str | None]] = {}
        for name in persona_names():
            persona = load_persona(name)
            for pair in range(len(persona.instruction)):
                for degree in ("slightly", None, "very"):
                    held[persona.system_prompt(pair, "pos", degree)] = (
                        (name, degree) if name in self.personas else (None, None)
                    )
                held[persona.system_prompt(pair, "neg")] = (NEUTRAL, None) if name in self.personas else (None, None)
        return held

    def predict(self, persona: str, start: float, sentences: int) -> np.ndarray:
        """[sentences]: the chance that sentence k from now is in `persona`, if the current one is with chance `start`.

        The rest of the current belief is spread as in the long run. No system prompt.
        """
        if persona not in self.grammar.index or persona == NEUTRAL:
            raise UserError(f"persona {persona!r} has no stickiness; choose one of {', '.join(self.personas[1:])}")
        column = self.grammar.index[persona]
        belief = self.grammar.stationary.copy()
        belief[column] = 0.0
        belief *= (1 - start) / belief.sum()
        belief[column] = start
        chances = []
        for _ in range(sentences):
            belief = belief @ self.grammar.transition
            chances.append(belief[column])
        return np.asarray(chances)
