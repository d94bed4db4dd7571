"""Many endings of one text: the beginning is run once, the endings in batches from where they fork off."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from personascope.engine.batches import padded
from personascope.engine.cache import most_rows
from personascope.engine.forward import Passage, activations_of, finite, visitor
from personascope.engine.hooks import run
from personascope.engine.readers import Activations
from personascope.errors import UserError
from personascope.subject import Prompt, Subject
from personascope.subject.encoding import shared_beginning

# The share of a batch's tokens that are no padding, at least: fewer passes save more than padding costs up to there.
_FULL = 0.5


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
    those that fork off at the same token, padded behind their last tokens. Equal to whole runs to rounding, sliding windows
    included. A model that keeps more than keys and values (a recurrent state) is run whole. Raises `UserError` on an empty
    prompt, on one longer than the context, and where there are no prompts or no layers.
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
        ours = [number for number, fork in enumerate(forks) if fork == cut]
        room = most_rows(subject, max(len(prompts[number]) for number in ours))
        for group in _together({number: len(prompts[number]) - cut for number in ours}, room):
            endings = [prompts[number].ids[cut:] for number in group]
            found = _endings(subject, root if cut else None, endings, reader, visitors, max(layers))
            for number, state in zip(group, found, strict=True):
                states[number] = finite(state, 0, layers, prompts[number], subject)
            ran += sum(map(len, endings))
    return Forked(states, ran)


def _together(lengths: Mapping[int, int], room: int) -> list[list[int]]:
    """Batches of texts, by number, the longest first, of at most `room` rows; so few that at most half of one is padding."""
    groups: list[list[int]] = []
    held = 0
    for number in sorted(lengths, key=lambda number: -lengths[number]):
        group = groups[-1] if groups else []
        padded = (len(group) + 1) * lengths[group[0] if group else number]
        if group and len(group) < room and padded * _FULL <= held + lengths[number]:
            group.append(number)
            held += lengths[number]
        else:
            groups.append([number])
            held = lengths[number]
    return groups


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
    """[endings, layers, hidden]: rows from one cache, right-padded without a mask, since no token sees what comes after it;
    masks of sliding windows count columns, so that no padding may stand before a token."""
    width = max(map(len, endings))
    cache = DynamicCache() if root is None else copy.deepcopy(root)
    if root is not None:
        cache.batch_repeat_interleave(len(endings))
    reader.places = torch.tensor([row * width + len(ending) - 1 for row, ending in enumerate(endings)])
    rows = padded(endings, width)
    inputs = {
        "input_ids": torch.tensor(rows, device=subject.input_device),
        "past_key_values": cache,
        "use_cache": True,
    }
    run(subject, inputs, visitors, stop_after=deepest)
    return reader.collect()
