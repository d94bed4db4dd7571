"""What steering does where nothing was asked of it: how far it moves a model's predictions on neutral responses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from personascope.corpora import neutral_questions
from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage
from personascope.engine.generate import run_requests
from personascope.engine.logits import logits_of
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.engine.writes import add
from personascope.statistics import mean_interval
from personascope.subject import Subject

NEUTRAL_ROLLOUTS, NEUTRAL_TOKENS = 8, 32


def neutral_kl(
    subject: Subject,
    doses: Sequence[tuple[Direction, float]],
    seed: int = 0,
    batch_size: int | None = None,
    store: Cells | None = None,
) -> list[dict[str, Any]]:
    """For each (direction, α) KL(unsteered ‖ steered) of the next token's distribution.

    Mean over the response tokens of eight neutral questions, whose responses the model itself sampled unsteered, in
    nats a token, with a 95 % interval that resamples questions: `kl`, `kl_interval`; None where it is nowhere finite.
    """
    requests = [
        Request(
            prompt=subject.chat.prompt(question, chat=subject.chat.has_template),
            seed=derive_seed("neutral", seed, question),
            max_new_tokens=NEUTRAL_TOKENS,
            sampling=Sampling(1.0),
        )
        for question in neutral_questions()[:NEUTRAL_ROLLOUTS]
    ]
    generations = run_requests(subject, requests, batch_size, cells=store)
    passages = [
        Passage(request.prompt, tuple(generation.response_ids))
        for request, generation in zip(requests, generations, strict=True)
        if generation.response_ids and generation.error is None
    ]
    still = [logits.double().log_softmax(-1) for logits in logits_of(subject, passages)]
    found: list[dict[str, Any]] = []
    for direction, alpha in doses:
        steered = [replace(passage, writes=(add(direction, alpha),)) for passage in passages]
        values, units = [], []
        for number, (before, logits) in enumerate(zip(still, logits_of(subject, steered), strict=True)):
            after = logits.double().log_softmax(-1)
            # Where a token cannot come at all it adds nothing, whatever the steered model says of it.
            terms = torch.where(before.exp() > 0, before.exp() * (before - after), 0.0)
            divergence = terms.sum(-1)
            divergence = divergence[divergence.isfinite()]
            values += divergence.tolist()
            units += [number] * len(divergence)
        if not values:
            found.append({"kl": None, "kl_interval": None})
            continue
        nats = np.asarray(values)
        interval = mean_interval(nats, units)
        found.append({"kl": interval.estimate, "kl_interval": [interval.low, interval.high]})
    return found
