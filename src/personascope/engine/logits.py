"""Teacher-forced passes up to the output head: logits, and log-probabilities of responses."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from personascope.engine.forward import Passage, default_tokens, groups, run_group
from personascope.engine.selection import Selection, select
from personascope.subject import Subject

# Logits held at once where each is used where it was made, in numbers: a large vocabulary makes passes smaller.
_LOGITS = 2**28


def logits_of(
    subject: Subject,
    passages: Sequence[Passage],
    tokens: str | Selection = "sampling",
    batch_tokens: int | None = None,
) -> list[Tensor]:
    """Per passage the logits after each selected token: [selected tokens, vocabulary] float32 on the CPU."""
    selection = select(tokens)
    out: list[Tensor] = [torch.empty(0)] * len(passages)
    for group in groups(subject, passages, batch_tokens):
        places = group.places(selection)
        flat = torch.tensor([place for row in places for place in row], dtype=torch.long)
        output = run_group(subject, group, [], partial(picked, flat))
        rows = output.logits[0].float().cpu().split([len(row) for row in places])
        for index, part in zip(group.indices, rows, strict=True):
            out[index] = part
    return out


def logprobs_of(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None = None) -> list[Tensor]:
    """Per passage the natural log-probability of every token of its response: [response] float64 on the CPU. The logits do
    not leave the device."""
    selection, out = select("sampling"), [torch.empty(0, dtype=torch.float64)] * len(passages)
    for group in groups(subject, passages, pass_tokens(subject, batch_tokens)):
        places = group.places(selection)
        flat = torch.tensor([place for row in places for place in row], dtype=torch.long)
        logits = run_group(subject, group, [], partial(picked, flat)).logits[0].float()
        tokens = [token for passage in group.passages for token in passage.response]
        rows = token_logprobs(logits, tokens).split([len(row) for row in places])
        for index, part in zip(group.indices, rows, strict=True):
            out[index] = part
    return out


def pass_tokens(subject: Subject, batch_tokens: int | None) -> int:
    """How many tokens run together where each has its logits."""
    most = max(1, _LOGITS // len(subject.tokenizer))
    return min(most, default_tokens(subject) if batch_tokens is None else batch_tokens)


def token_logprobs(logits: Tensor, tokens: ArrayLike, rows: ArrayLike | None = None) -> Tensor:
    """[tokens] float64 on the CPU: the log-probability of each token under a row of the logits, [rows, vocabulary]: `rows`
    says which, the tokens' own order if None."""
    chosen = np.asarray(tokens, dtype=np.int64)
    places = np.arange(len(chosen)) if rows is None else np.asarray(rows, dtype=np.int64)
    at, of = torch.from_numpy(np.stack([places, chosen])).to(logits.device)
    # On a CPU a whole softmax is one pass over the logits, and logsumexp several.
    return logits.log_softmax(-1)[at, of].double().cpu()


def picked(flat: Tensor, hidden: Tensor) -> Tensor:
    """The chosen tokens of the last hidden states: [1, chosen, hidden] of [rows, tokens, hidden]."""
    return hidden.reshape(1, -1, hidden.shape[-1]).index_select(1, flat.to(hidden.device))
