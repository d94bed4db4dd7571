"""Many endings of one text: the beginning is run once, the endings in batches from where they fork off."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from personascope.engine.cache import most_rows
from personascope.engine.forward import Passage, activations_of, finite, visitor
from personascope.engine.hooks import run
from personascope.engine.logits import logprobs_of, pass_tokens, picked, token_logprobs
from personascope.engine.readers import Activations
from personascope.engine.spans import batches
from personascope.errors import UserError
from personascope.subject import Prompt, Subject
from personascope.subject.encoding import shared_beginning


@dataclass(frozen=True)
class Forked:
    """What forks read, and what it took. states: [forks, layers, hidden] float32 on the CPU, after each one's last token.

    ran: tokens that went through the model: the longest common beginnings once and each ending once.
    """

    states: Tensor
    ran: int


def last_states(subject: Subject, prompts: Sequence[Prompt], layers: Sequence[int]) -> Forked:
    """The streams after the last token of prompts that begin alike, such as one conversation with many next questions.

    The beginnings that neighbours share are run once, with a cache, and each prompt's own ending as a row of a batch with
    those that fork off at the same token. Equal to whole runs to rounding, sliding windows included. A model that keeps more
    than keys and values (a recurrent state) is run whole. Raises `UserError` on
    an empty prompt, on one longer than the context, and where there are no prompts or no layers.
    """
    layers = tuple(map(subject.check_layer, layers))
    for prompt in prompts:
        subject.check_length(len(prompt))
    if not layers or not prompts:
        raise UserError("there is nothing to read; give at least one prompt and one layer")
    states = torch.empty(len(prompts), len(layers), subject.hidden_size)
    if subject.cache != "slots":
        whole = activations_of(subject, [Passage(prompt, is_open=True) for prompt in prompts], layers, "prompt[-1]")
        for number, each in enumerate(whole):
            states[number] = each[0]
        count = sum(map(len, prompts))
        return Forked(states, count)
    trunk = _trunk(sorted(prompt.ids for prompt in prompts))
    # The last token is what is asked about: a prompt forks off before it at the latest.
    forks = [min(shared_beginning(prompt.ids, trunk), len(prompt) - 1) for prompt in prompts]
    reader = Activations(layers, "before")
    visitors = {layer: visitor(layer, [reader], {}) for layer in layers}
    root, done, ran = DynamicCache(), 0, 0
    for cut in sorted(set(forks)):
        if cut > done:
            reader.places = torch.empty(0, dtype=torch.long)
            inputs = {"input_ids": torch.tensor([trunk[done:cut]], device=subject.input_device)}
            run(subject, {**inputs, "past_key_values": root, "use_cache": True}, visitors, stop_after=max(layers))
            reader.collect()
            ran, done = ran + cut - done, cut
        ours = sorted((n for n, fork in enumerate(forks) if fork == cut), key=lambda number: len(prompts[number]))
        room = most_rows(subject, max(len(prompts[number]) for number in ours))
        for group in _alike(ours, [len(prompts[number]) - cut for number in ours], room):
            endings = [prompts[number].ids[cut:] for number in group]
            found = _endings(subject, root if cut else None, endings, reader, visitors, max(layers))
            for number, state in zip(group, found, strict=True):
                states[number] = finite(state, 0, layers, prompts[number], subject)
            ran += sum(map(len, endings))
    return Forked(states, ran)


def ending_logprobs(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None = None) -> list[Tensor]:
    """Per passage the natural log-probability of every token of its response: [response] float64 on the CPU.

    A prompt that several responses follow is run once, and they are rows of batches that go on from it. Equal to
    `logprobs_of` to rounding, which runs the others, passages with writes, and models that keep more than keys and values.
    """
    out: list[Tensor] = [torch.empty(0, dtype=torch.float64)] * len(passages)
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for number, passage in enumerate(passages):
        subject.check_length(len(passage))
        if passage.response and not passage.writes and subject.cache == "slots":
            by_prompt.setdefault(passage.prompt.ids, []).append(number)
    forked = {ids: numbers for ids, numbers in by_prompt.items() if len(numbers) > 1}
    for ids, numbers in forked.items():
        responses = [passages[number].response for number in numbers]
        for number, found in zip(numbers, _responses(subject, ids, responses, batch_tokens), strict=True):
            out[number] = found
    inside = {number for numbers in forked.values() for number in numbers}
    alone = [number for number in range(len(passages)) if number not in inside]
    whole = logprobs_of(subject, [passages[number] for number in alone], batch_tokens)
    for number, found in zip(alone, whole, strict=True):
        out[number] = found
    return out


def _responses(
    subject: Subject, prompt: tuple[int, ...], responses: Sequence[tuple[int, ...]], batch_tokens: int | None
) -> list[Tensor]:
    """Per response the log-probabilities of its tokens, after one prompt."""
    root = DynamicCache()
    inputs = {"input_ids": torch.tensor([prompt], device=subject.input_device)}
    last = torch.tensor([len(prompt) - 1])
    output = run(subject, {**inputs, "past_key_values": root, "use_cache": True}, {}, partial(picked, last))
    start = output.logits[0].float().log_softmax(-1)[0]
    firsts = start[torch.tensor([one[0] for one in responses], device=start.device)].double().cpu()
    out = [firsts[place : place + 1] for place in range(len(responses))]
    # The last token of a response chooses nothing.
    given = [place for place, response in enumerate(responses) if len(response) > 1]
    room = most_rows(subject, len(prompt) + max(map(len, responses)))
    for group in batches([len(responses[place]) - 1 for place in given], pass_tokens(subject, batch_tokens)):
        for begin in range(0, len(group), room):
            ours = [given[place] for place in group[begin : begin + room]]
            for place, found in zip(ours, _continued(subject, root, [responses[one] for one in ours]), strict=True):
                out[place] = torch.cat([out[place], found])
    return out


def _continued(subject: Subject, root: Any, responses: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The log-probabilities of all tokens but the first; right-padded, since no token sees what comes after it."""
    width = max(map(len, responses)) - 1
    cache = copy.deepcopy(root)
    cache.batch_repeat_interleave(len(responses))
    rows = [[*one[:-1], *[subject.tokenizer.pad_token_id or 0] * (width - len(one) + 1)] for one in responses]
    inputs = {"input_ids": torch.tensor(rows, device=subject.input_device), "past_key_values": cache, "use_cache": True}
    flat = torch.tensor([row * width + place for row, one in enumerate(responses) for place in range(len(one) - 1)])
    logits = run(subject, inputs, {}, partial(picked, flat)).logits[0].float()
    tokens = [token for one in responses for token in one[1:]]
    return list(token_logprobs(logits, tokens).split([len(one) - 1 for one in responses]))


def _alike(numbers: Sequence[int], lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Batches of texts of one length, of at most `room`, from texts sorted by length: nothing is padded."""
    for _, group in groupby(zip(numbers, lengths, strict=True), key=lambda one: one[1]):
        ours = [number for number, _ in group]
        yield from (ours[start : start + room] for start in range(0, len(ours), room))


def _trunk(ids: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Of texts in order, the longest beginning that any two have in common."""
    longest = max(pairwise(ids), key=lambda pair: shared_beginning(*pair), default=((), ()))
    return longest[0][: shared_beginning(*longest)]


def _endings(
    subject: Subject,
    root: Any,
    endings: Sequence[Sequence[int]],
    reader: Activations,
    visitors: Any,
    deepest: int,
) -> Tensor:
    """[endings, layers, hidden]: rows of one length, from one cache."""
    width = len(endings[0])
    cache = DynamicCache() if root is None else copy.deepcopy(root)
    if root is not None:
        cache.batch_repeat_interleave(len(endings))
    reader.places = torch.arange(len(endings)) * width + width - 1
    inputs = {
        "input_ids": torch.tensor([list(ending) for ending in endings], device=subject.input_device),
        "past_key_values": cache,
        "use_cache": True,
    }
    run(subject, inputs, visitors, stop_after=deepest)
    return reader.collect()
