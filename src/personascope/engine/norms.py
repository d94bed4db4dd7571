"""How long the residual stream is at a layer: the unit of relative steering."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from personascope.corpora import neutral_texts
from personascope.engine.hooks import run
from personascope.errors import NonFinite
from personascope.subject import Prompt, Subject

# A position whose norm is this many times the median is a sink: BOS, and on some models a few others.
SINK_RATIO = 10.0


def median_norm(subject: Subject, layer: int) -> float:
    """Median length of the residual stream at a layer, over a shipped neutral text, unsteered, sinks left out.

    Measured once for a subject, at all layers, and kept in `subject.norms`. Raises `NonFinite` naming the layer.
    """
    if not subject.norms:
        subject.norms.update(_measure(subject))
    return subject.norms[subject.check_layer(layer)]


def _measure(subject: Subject) -> dict[int, float]:
    lengths: dict[int, list[Tensor]] = {layer: [] for layer in range(subject.n_layers)}

    def measure(layer: int, skip: int, stream: Tensor) -> None:
        lengths[layer].append(stream[0, skip:].float().norm(dim=1).cpu())

    for text in neutral_texts():
        prompt = subject.chat.raw(text)
        ids = torch.tensor([prompt.ids[: subject.context]], device=subject.input_device)
        inputs = {"input_ids": ids, "use_cache": False}
        visitors = {layer: partial(measure, layer, prompt.turns[0].start) for layer in lengths}
        run(subject, inputs, visitors, stop_after=subject.n_layers - 1)
    return {layer: _median(subject, layer, torch.cat(parts)) for layer, parts in lengths.items()}


def _median(subject: Subject, layer: int, values: Tensor) -> float:
    if not torch.isfinite(values).all():
        raise NonFinite(f"the residual stream of {subject.name} is not finite at layer {layer}, on neutral text")
    return float(values[values <= SINK_RATIO * values.median()].median())


def sinks(prompt: Prompt, positions: Sequence[int]) -> list[bool]:
    """Which of a row's selected positions are left out of a mean if their norm is a sink's: those of the prompt,
    unless the selection holds no more than one of them."""
    inside = [position < len(prompt) for position in positions]
    return inside if sum(inside) > 1 else [False] * len(inside)
