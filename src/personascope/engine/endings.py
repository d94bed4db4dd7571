"""Log-probabilities of what follows a prompt: a prompt that several responses follow is run once."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from personascope.engine.cache import most_rows
from personascope.engine.forward import Passage
from personascope.engine.hooks import run
from personascope.engine.logits import logprobs_of, pass_tokens, picked, token_logprobs
from personascope.engine.slots import SlotStore
from personascope.engine.spans import batches
from personascope.subject import Subject

_Ids = tuple[int, ...]
# Which prompt, and its response.
_Row = tuple[int, _Ids]


def ending_logprobs(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None = None) -> list[Tensor]:
    """Per passage the natural log-probability of every token of its response: [response] float64 on the CPU.

    Passages that say the same are run once. So is a prompt that several responses follow: they are rows of batches that go
    on from its keys and values, whatever the prompts. Equal to `logprobs_of` to rounding, which runs the others, passages
    with writes, and models that keep more than keys and values.
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
        rows = [(place, response) for place, ids in enumerate(ours) for response in told[ids]]
        at, chosen = (
            torch.tensor(each, device=starts.device) for each in zip(*((p, r[0]) for p, r in rows), strict=True)
        )
        firsts = starts[at, chosen].double().cpu().split(1)
        found = dict(zip(rows, firsts, strict=True))
        # The last token of a response chooses nothing.
        going = [row for row in rows if len(row[1]) > 1]
        room = most_rows(subject, max(len(ours[place]) + len(response) for place, response in rows))
        for part in batches([len(response) - 1 for _, response in going], size, room):
            # Beside each other those that go on from one prompt: its keys and values are then placed once.
            for together in _fitting(sorted(going[index] for index in part), ours, subject.context):
                rests = _continued(subject, output.past_key_values, ours, together)
                for row, rest in zip(together, rests, strict=True):
                    found[row] = torch.cat([found[row], rest])
        for (place, response), logprobs in found.items():
            yield (ours[place], response), logprobs


def _fitting(rows: list[_Row], prompts: Sequence[_Ids], context: int | None) -> Iterator[list[_Row]]:
    """Rows that run together: beside each other a long prompt and a long response may be longer than the context."""
    width = max(len(prompts[place]) for place, _ in rows) + max(len(response) for _, response in rows) - 1
    if context is None or width <= context or len(rows) == 1:
        yield rows
        return
    rows = sorted(rows, key=lambda row: len(prompts[row[0]]))
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        yield from _fitting(half, prompts, context)


def _continued(subject: Subject, prefilled: Any, prompts: Sequence[_Ids], rows: Sequence[_Row]) -> Sequence[Tensor]:
    """The log-probabilities of all tokens but the first of each row's response."""
    store = SlotStore()
    lengths = [len(prompts[place]) for place, _ in rows]
    store.adopt(prefilled, [place for place, _ in rows], lengths)
    counts = [len(response) - 1 for _, response in rows]
    # Right-padded: no token sees what comes after it.
    ids = _padded(subject, [response[:-1] for _, response in rows])
    width = ids.shape[1]
    cache, mask = store.for_step(width)
    inputs = {"input_ids": ids, "past_key_values": cache, "use_cache": True}
    if mask is not None:
        inputs["attention_mask"] = mask.to(ids.device)
    if subject.takes_positions:
        positions = torch.tensor(lengths)[:, None] + torch.arange(width)
        inputs["position_ids"] = positions.to(ids.device)
    flat = torch.tensor([row * width + place for row, count in enumerate(counts) for place in range(count)])
    logits = run(subject, inputs, {}, partial(picked, flat)).logits[0].float()
    return token_logprobs(logits, [token for _, response in rows for token in response[1:]]).split(counts)


def _padded(subject: Subject, texts: Sequence[_Ids]) -> Tensor:
    """[texts, longest]: ids padded on the right."""
    width = max(map(len, texts))
    pad = subject.tokenizer.pad_token_id or 0
    return torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in texts], device=subject.input_device)
