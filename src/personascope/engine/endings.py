"""Log-probabilities of what follows a prompt: a prompt that several responses follow is run once."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from personascope.engine.batches import batches, padded
from personascope.engine.cache import most_rows
from personascope.engine.forward import Passage
from personascope.engine.hooks import run
from personascope.engine.logits import logprobs_of, pass_tokens, picked, token_logprobs
from personascope.engine.slots import SlotStore
from personascope.engine.trees import Tree, takes_trees, tree_inputs, trees
from personascope.subject import Subject

_Ids = tuple[int, ...]
# Which prompt, and what runs on from it.
_Row = tuple[int, Tree]


def ending_logprobs(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None = None) -> list[Tensor]:
    """Per passage the natural log-probability of every token of its response: [response] float64 on the CPU.

    Passages that say the same are run once. So is a prompt that several responses follow, and what several of these begin
    with: they are trees in rows of batches that go on from its keys and values, whatever the prompts. Equal to `logprobs_of`
    to rounding, which runs the others, passages with writes, and models that keep more than keys and values.
    """
    out: list[Tensor] = [torch.empty(0, dtype=torch.float64)] * len(passages)
    same: dict[tuple[_Ids, _Ids], list[int]] = {}
    own = []
    for number, passage in enumerate(passages):
        subject.check_length(len(passage))
        if passage.writes:
            own.append(number)
        elif passage.response:
            same.setdefault((passage.prompt.ids, passage.response), []).append(number)
    by_prompt: dict[_Ids, list[_Ids]] = {}
    for ids, response in same:
        by_prompt.setdefault(ids, []).append(response)
    forked = {ids: responses for ids, responses in by_prompt.items() if len(responses) > 1 and subject.cache == "slots"}
    for said, found in _following(subject, forked, batch_tokens):
        for number in same[said]:
            out[number] = found
    whole = [numbers for (ids, _), numbers in same.items() if ids not in forked] + [[number] for number in own]
    for numbers, found in zip(
        whole, logprobs_of(subject, [passages[numbers[0]] for numbers in whole], batch_tokens), strict=True
    ):
        for number in numbers:
            out[number] = found
    return out


def _following(
    subject: Subject, told: dict[_Ids, list[_Ids]], batch_tokens: int | None
) -> Iterator[tuple[tuple[_Ids, _Ids], Tensor]]:
    """By (prompt, response) the log-probabilities of the response's tokens."""
    prompts, size = list(told), pass_tokens(subject, batch_tokens)
    for group in batches([len(ids) for ids in prompts], size):
        ours = [prompts[index] for index in group]
        inputs = {"input_ids": _padded(subject, ours), "past_key_values": DynamicCache(), "use_cache": True}
        width = inputs["input_ids"].shape[1]
        last = torch.tensor([row * width + len(ids) - 1 for row, ids in enumerate(ours)])
        output = run(subject, inputs, {}, partial(picked, last))
        starts = output.logits[0].float().log_softmax(-1)
        rows = [(place, tree) for place, ids in enumerate(ours) for tree in _trees(subject, ids, told[ids])]
        # The last token of a response chooses nothing: several may end the same text.
        ends: dict[tuple[int, _Ids], list[_Ids]] = {}
        for place, ids in enumerate(ours):
            for response in told[ids]:
                ends.setdefault((place, response[:-1]), []).append(response)
        room = most_rows(subject, max((len(ours[place]) + len(tree) for place, tree in rows), default=1))
        for part in batches([len(tree) for _, tree in rows], size, room):
            # Beside each other those that go on from one prompt: its keys and values are then placed once.
            for together in _fitting(sorted((rows[index] for index in part), key=_place), ours, subject.context):
                logits = _continued(subject, output.past_key_values, ours, together)
                said: list[tuple[int, _Ids]] = []
                nodes: list[np.ndarray] = []
                begun = 0
                for place, tree in together:
                    for text, path in zip(tree.texts, tree.paths, strict=True):
                        for response in ends.pop((place, text)):
                            said.append((place, response))
                            nodes.append(np.add(path, begun))
                    begun += len(tree)
                tokens = np.concatenate([response[1:] for _, response in said])
                rests = token_logprobs(logits, tokens, np.concatenate(nodes))
                yield from _named(ours, said, starts, rests)
        alone = [(place, response) for (place, _), responses in ends.items() for response in responses]
        yield from _named(ours, alone, starts, torch.empty(0, dtype=torch.float64))


def _named(
    prompts: Sequence[_Ids], said: Sequence[tuple[int, _Ids]], starts: Tensor, rests: Tensor
) -> Iterator[tuple[tuple[_Ids, _Ids], Tensor]]:
    """By (prompt, response) its log-probabilities. said: whose prompt, and the response; starts: [prompts, vocabulary], of
    the first tokens; rests: of all others, one response behind the other."""
    if not said:
        return
    counts = torch.tensor([len(response) for _, response in said])
    is_first = torch.zeros(int(counts.sum()), dtype=torch.bool)
    is_first[counts.cumsum(0) - counts] = True
    at, chosen = torch.tensor([(place, response[0]) for place, response in said], device=starts.device).T
    found = torch.empty(len(is_first), dtype=torch.float64)
    found[is_first], found[~is_first] = starts[at, chosen].double().cpu(), rests
    for (place, response), logprobs in zip(said, found.split(counts.tolist()), strict=True):
        yield (prompts[place], response), logprobs


def _place(row: _Row) -> int:
    return row[0]


def _trees(subject: Subject, prompt: _Ids, responses: Sequence[_Ids]) -> list[Tree]:
    """What is run of the responses after their prompt, all of each but its last token."""
    room = 0.0
    if takes_trees(subject):
        room = math.inf if subject.context is None else subject.context - len(prompt)
    return trees({response[:-1] for response in responses if len(response) > 1}, room)


def _fitting(rows: list[_Row], prompts: Sequence[_Ids], context: int | None) -> Iterator[list[_Row]]:
    """Rows that run together: beside each other a long prompt and a long response may be longer than the context."""
    width = max(len(prompts[place]) for place, _ in rows) + max(len(tree) for _, tree in rows)
    if context is None or width <= context or len(rows) == 1:
        yield rows
        return
    rows = sorted(rows, key=lambda row: len(prompts[row[0]]))
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        yield from _fitting(half, prompts, context)


def _continued(subject: Subject, prefilled: Any, prompts: Sequence[_Ids], rows: Sequence[_Row]) -> Tensor:
    """The logits after all tokens of the trees, one behind the other: [tokens, vocabulary]."""
    # Right-padded: no token sees what comes after it.
    ids = _padded(subject, [tuple(tree.ids) for _, tree in rows])
    width = ids.shape[1]
    lengths = [len(prompts[place]) for place, _ in rows]
    inputs = {"input_ids": ids, "use_cache": True}
    if takes_trees(subject):
        columns = max(lengths)
        inputs["past_key_values"] = _begun(prefilled, [place for place, _ in rows], columns)
        inputs |= tree_inputs(
            subject, [(length, tree) for length, (_, tree) in zip(lengths, rows, strict=True)], columns
        )
    else:
        store = SlotStore()
        store.adopt(prefilled, [place for place, _ in rows], lengths)
        inputs["past_key_values"], mask = store.for_step(width)
        if mask is not None:
            inputs["attention_mask"] = mask.to(ids.device)
        if subject.takes_positions:
            positions = torch.tensor(lengths)[:, None] + torch.arange(width)
            inputs["position_ids"] = positions.to(ids.device)
    flat = torch.cat([torch.arange(row * width, row * width + len(tree)) for row, (_, tree) in enumerate(rows)])
    return run(subject, inputs, {}, partial(picked, flat)).logits[0].float()


def _begun(prefilled: DynamicCache, places: Sequence[int], columns: int) -> DynamicCache:
    """A cache whose rows hold the first columns of the prompts at these places."""
    cache, at = DynamicCache(), torch.tensor(places)
    for number, layer in enumerate(prefilled.layers):
        assert layer.keys is not None and layer.values is not None
        keys, values = (held[:, :, :columns].index_select(0, at.to(held.device)) for held in (layer.keys, layer.values))
        cache.update(keys, values, number)
    return cache


def _padded(subject: Subject, texts: Sequence[_Ids]) -> Tensor:
    """[texts, longest]: ids padded on the right."""
    width = max(map(len, texts))
    return torch.tensor(padded(texts, width), device=subject.input_device)
