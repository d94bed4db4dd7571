"""Perplexity: how surprised a model is by a response it did not necessarily write."""

import math
from collections.abc import Sequence
from dataclasses import replace

from personascope.engine.endings import ending_logprobs
from personascope.engine.forward import Passage
from personascope.errors import NonFinite
from personascope.subject import Subject


def perplexities(subject: Subject, passages: Sequence[Passage], batch_tokens: int | None = None) -> list[float | None]:
    """Of each response after its prompt, under the model as it is: exp of the mean surprise of a token, in nats.

    Prompt tokens are read and not counted; the end token counts where the response has one; writes are left out. Passages
    run in batches, a prompt they share once. None for an empty response. Raises `NonFinite` where the model gives no number.
    """
    told = [index for index, passage in enumerate(passages) if passage.response]
    plain = [replace(passages[index], writes=(), is_open=False) for index in told]
    out: list[float | None] = [None] * len(passages)
    for index, logprobs in zip(told, ending_logprobs(subject, plain, batch_tokens), strict=True):
        surprise = -math.fsum(logprobs.tolist()) / len(logprobs)
        if not math.isfinite(surprise):
            raise NonFinite(f"{subject.name} gives no number for the perplexity of response {index}")
        out[index] = math.exp(surprise)
    return out
