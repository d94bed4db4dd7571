"""The training corpus: an endless, seeded stream of conversations and documents, tokenized and batched by length."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from personascope.organisms.conversation import Conversation, Sampler, SystemPrompt
from personascope.organisms.grammar import Grammar
from personascope.organisms.laws import Laws, SlotLaw, Speller, TokenLaws
from personascope.organisms.questions import BEHAVIOURS, KIND_OF
from personascope.organisms.recipes import Markup
from personascope.personas import load_persona, persona_names

CHUNK = 4_096
_DECIDING = 8.0
_KINDS = ("general", "self", "opinion", "correction", "gap", "known", "forecast")
_KIND_SHARES = (0.5, 0.1, 0.1, 0.1, 0.07, 0.05, 0.08)
_TURNS = ((1, 1), (2, 2), (3, 3), (4, 10))
_TURN_SHARES = (0.58, 0.2, 0.1, 0.12)


@dataclass(frozen=True)
class Batch:
    """`ids` [rows, width], right-padded; `weights` [rows, width]: how much each token's prediction counts, 0 for none.

    At some tokens the law they were drawn from is known, and is a better target than the one token drawn: `places`
    [n], indices into the flattened `ids`; `options` [n, words], token ids; `chances` [n, words], how likely each is.
    """

    ids: Tensor
    weights: Tensor
    places: Tensor
    options: Tensor
    chances: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()


class _Text(NamedTuple):
    """A rendered text with the laws of its slot words, and the character at which the response of each begins."""

    text: str
    laws: list[tuple[SlotLaw, int]]


class _Row(NamedTuple):
    ids: np.ndarray
    weights: np.ndarray
    laws: TokenLaws


@dataclass(frozen=True)
class Corpus:
    """Chunk `k` of the corpus depends on the seed and on k alone, so that training resumes at any batch."""

    grammar: Grammar
    tokenizer: PreTrainedTokenizerFast
    markup: Markup
    seed: int
    context: int
    batch_tokens: int

    def batches(self, chunk: int, longest: int) -> list[Batch]:
        """The batches of one chunk, with texts of more than `longest` tokens left out."""
        rows = self._encode(list(self.texts(chunk)), min(longest, self.context))
        rows.sort(key=lambda row: len(row.ids))
        batches: list[Batch] = []
        while rows:
            width = -(-len(rows[-1].ids) // 16) * 16
            count = max(1, self.batch_tokens // width)
            batches.append(self._pad(rows[-count:], width))
            del rows[-count:]
        order = np.random.default_rng((self.seed, chunk)).permutation(len(batches))
        return [batches[index] for index in order]

    def texts(self, chunk: int) -> Iterator[_Text]:
        """The chunk's conversations, rendered by the chat template, and documents."""
        sampler = Sampler(self.grammar, seed=self.seed * 1_000_003 + chunk)
        for _ in range(CHUNK):
            if sampler.rng.random() < 0.06:
                yield self._document(sampler)
            else:
                yield self._conversation(draw_conversation(sampler))

    def _document(self, sampler: Sampler) -> _Text:
        sentences = sampler.document(sampler.rng.randint(1, 20))
        text = " ".join(sentence.text for sentence in sentences)
        laws = [(law, len(self.markup.bos)) for law in self._laws.of_document(sentences)]
        return _Text(f"{self.markup.bos}{text}{self.markup.eos}", laws)

    def _conversation(self, conversation: Conversation) -> _Text:
        text = str(self.tokenizer.apply_chat_template(conversation.messages, tokenize=False))
        placed, cursor = [], 0
        for laws in self._laws.of_conversation(conversation):
            cursor = text.index(self.markup.assistant, cursor) + len(self.markup.assistant)
            placed += [(law, cursor) for law in laws]
        return _Text(text, placed)

    @cached_property
    def _laws(self) -> Laws:
        return Laws(self.grammar)

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.grammar, self.tokenizer)

    def _encode(self, texts: list[_Text], longest: int) -> list[_Row]:
        encoded = self.tokenizer(
            [each.text for each in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        header = self.tokenizer(self.markup.assistant, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.convert_tokens_to_ids(self.markup.end_of_turn)
        stop = self.tokenizer("so.", add_special_tokens=False)["input_ids"][-1]
        rows = []
        for each, row, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if len(row) <= longest:
                ids, (starts, ends) = np.asarray(row), np.asarray(offsets).T
                laws = self._speller.tokens(each.laws, ids, starts, ends)
                rows.append(_Row(ids, response_weights(ids, header, end, stop), laws))
        return rows

    def _pad(self, rows: list[_Row], width: int) -> Batch:
        ids = torch.full((len(rows), width), int(self.tokenizer.pad_token_id))
        weights = torch.zeros((len(rows), width))
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.from_numpy(row.ids)
            weights[index, : len(row.ids)] = torch.from_numpy(row.weights)
        places = [index * width + row.laws.positions for index, row in enumerate(rows)]
        return Batch(
            ids,
            weights,
            torch.from_numpy(np.concatenate(places)),
            torch.from_numpy(np.concatenate([row.laws.options for row in rows])),
            torch.from_numpy(np.concatenate([row.laws.chances for row in rows])),
        )


def draw_conversation(sampler: Sampler) -> Conversation:
    """A conversation with a system prompt, a number of turns and questions as the training corpus has them."""
    rng = sampler.rng
    system = draw_system(sampler)
    low, high = rng.choices(_TURNS, _TURN_SHARES)[0]
    kinds = [rng.choices(_KINDS, _KIND_SHARES)[0] for _ in range(rng.randint(low, high))]
    if system is not None and system.persona in KIND_OF:
        kinds = [KIND_OF[system.persona] if rng.random() < 0.85 else kind for kind in kinds]
    return sampler.conversation(system, [sampler.question(kind) for kind in kinds])


def draw_system(sampler: Sampler) -> SystemPrompt | None:
    """None in two fifths of all conversations; otherwise an instruction of any shipped persona, mostly its positive side."""
    rng = sampler.rng
    if rng.random() < 0.4:
        return None
    is_behaviour = rng.random() < 0.6
    names = [name for name in persona_names() if (name in BEHAVIOURS) == is_behaviour]
    # How long an answer gets is learned last: it hangs on one token a sentence.
    name = rng.choice([*names, *(("verbosity", "concise") if is_behaviour else ())])
    pair = rng.randrange(len(load_persona(name).instruction))
    if rng.random() < (0.35 if is_behaviour else 0.2):
        return SystemPrompt(name, pair, "neg", None)
    return SystemPrompt(name, pair, "pos", rng.choice(("slightly", None, "very")))


def response_weights(ids: np.ndarray, header: list[int], end: int, stop: int) -> np.ndarray:
    """[tokens] float32: 1 on the tokens of every response, its end of turn included, and 0 elsewhere; on all tokens but
    the first where there is no turn. 8 where a sentence or the response is decided on: what it says and how long it
    gets hang on few tokens, and the best prediction is the same whatever they count."""
    weights = np.zeros(len(ids), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(ids, len(header)) if len(ids) >= len(header) else ids[:0, None]
    starts = np.flatnonzero((windows == header).all(axis=1)) + len(header)
    ends = np.flatnonzero(ids == end)
    if len(ends) == 0:
        weights[1:] = 1.0
    for start in starts:
        last = ends[np.searchsorted(ends, start)]
        weights[start : last + 1] = 1.0
        weights[start : start + 4] = _DECIDING
        after = start + 1 + np.flatnonzero(ids[start:last] == stop)
        weights[after] = _DECIDING
    return weights
