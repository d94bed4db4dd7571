"""The training corpus: an endless, seeded stream of conversations and documents, tokenized and batched by length."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from personascope.organisms.conversation import Conversation, Sampler, SystemPrompt
from personascope.organisms.grammar import Grammar
from personascope.organisms.questions import BEHAVIOURS, KIND_OF
from personascope.organisms.recipes import Markup
from personascope.personas import load_persona, persona_names

CHUNK = 4_096
_DECIDING = 4.0
_KINDS = ("general", "self", "opinion", "correction", "gap", "known", "forecast")
_KIND_SHARES = (0.5, 0.1, 0.1, 0.1, 0.07, 0.05, 0.08)
_TURNS = ((1, 1), (2, 2), (3, 3), (4, 10))
_TURN_SHARES = (0.58, 0.2, 0.1, 0.12)


@dataclass(frozen=True)
class Batch:
    """`ids` [rows, width], right-padded; `weights` [rows, width]: how much each token's prediction counts, 0 for none."""

    ids: Tensor
    weights: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()


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
        rows = [row for row in self._encode(list(self.texts(chunk))) if len(row[0]) <= min(longest, self.context)]
        rows.sort(key=lambda row: len(row[0]))
        batches: list[Batch] = []
        while rows:
            width = -(-len(rows[-1][0]) // 16) * 16
            count = max(1, self.batch_tokens // width)
            batches.append(self._pad(rows[-count:], width))
            del rows[-count:]
        order = np.random.default_rng((self.seed, chunk)).permutation(len(batches))
        return [batches[index] for index in order]

    def texts(self, chunk: int) -> Iterator[str]:
        """The chunk's conversations, rendered by the chat template, and documents."""
        sampler = Sampler(self.grammar, seed=self.seed * 1_000_003 + chunk)
        for _ in range(CHUNK):
            if sampler.rng.random() < 0.06:
                sentences = sampler.document(sampler.rng.randint(1, 20))
                text = " ".join(sentence.text for sentence in sentences)
                yield f"{self.markup.bos}{text}{self.markup.eos}"
            else:
                messages = draw_conversation(sampler).messages
                yield str(self.tokenizer.apply_chat_template(messages, tokenize=False))

    def _encode(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        encoded = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        header = self.tokenizer(self.markup.assistant, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.convert_tokens_to_ids(self.markup.end_of_turn)
        stop = self.tokenizer("so.", add_special_tokens=False)["input_ids"][-1]
        return [(ids := np.asarray(row), response_weights(ids, header, end, stop)) for row in encoded]

    def _pad(self, rows: list[tuple[np.ndarray, np.ndarray]], width: int) -> Batch:
        ids = torch.full((len(rows), width), int(self.tokenizer.pad_token_id))
        weights = torch.zeros((len(rows), width))
        for index, (row, weight) in enumerate(rows):
            ids[index, : len(row)] = torch.from_numpy(row)
            weights[index, : len(row)] = torch.from_numpy(weight)
        return Batch(ids, weights)


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
    """None in a third of all conversations; otherwise an instruction of any shipped persona, mostly its positive side."""
    rng = sampler.rng
    if rng.random() < 0.33:
        return None
    is_behaviour = rng.random() < 0.5
    names = [name for name in persona_names() if (name in BEHAVIOURS) == is_behaviour]
    # How long an answer gets is learned last: it hangs on one token a sentence.
    name = rng.choice([*names, *(("verbosity", "concise") if is_behaviour else ())])
    pair = rng.randrange(len(load_persona(name).instruction))
    if rng.random() < (0.35 if is_behaviour else 0.2):
        return SystemPrompt(name, pair, "neg", None)
    return SystemPrompt(name, pair, "pos", rng.choice(("slightly", None, "very")))


def response_weights(ids: np.ndarray, header: list[int], end: int, stop: int) -> np.ndarray:
    """[tokens] float32: 1 on the tokens of every response, its end of turn included, and 0 elsewhere; on all tokens but
    the first where there is no turn. 4 where a sentence or the response is decided on: what it says and how long it
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
