"""Many endings of one text: the beginning is run once, the endings in batches from where they fork off."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from personascope.engine.cache import most_rows
from personascope.engine.forward import Passage, activations_of, finite, visitor
from personascope.engine.hooks import run
from personascope.engine.readers import Activations
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
