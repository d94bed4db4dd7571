"""Activations of texts."""

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor

from personascope.engine.forward import Passage, activations_of, means_of
from personascope.engine.generate import told_prompts
from personascope.engine.selection import Selection
from personascope.errors import UserError
from personascope.subject import PromptLike, Subject


def activations(
    subject: Subject,
    texts: PromptLike | Sequence[PromptLike],
    layers: Sequence[int] | None = None,
    tokens: str | Selection = "prompt[-1]",
    reduce: Literal["mean"] | None = "mean",
    batch_tokens: int | None = None,
) -> Tensor | list[Tensor]:
    """The residual stream after the chosen layers, from one pass that stops at the deepest.

    texts: strings are raw text, lists of messages are chats with their generation header. layers: all by default.
    Returns float32 on the CPU: [texts, layers, hidden], the mean over the selected tokens, where several prompt tokens
    leave BOS and attention sinks out; with reduce=None a list of [tokens, layers, hidden].
    Raises `UserError` where a mean's selection is empty or a text too long, `NonFinite` naming layer and text.
    """
    Subject.check(subject)
    if reduce not in ("mean", None):
        raise UserError(f"reduce={reduce!r} is not known; use 'mean' or None")
    if layers is not None and (not isinstance(layers, Iterable) or not len(layers := tuple(layers))):
        raise UserError(f"layers={layers!r} names no layer; give a list such as [3, 4], or leave it out for all")
    chosen = tuple(dict.fromkeys(range(subject.n_layers) if layers is None else map(subject.check_layer, layers)))
    if layers is not None and len(chosen) < len(layers):
        raise UserError(f"layers={list(layers)} names a layer twice; give each once")
    passages = [Passage(subject.chat.prompt(text, chat=False)) for text in told_prompts(texts)]
    if reduce is None:
        return activations_of(subject, passages, chosen, tokens, batch_tokens=batch_tokens)
    return means_of(subject, passages, chosen, [tokens], batch_tokens=batch_tokens)[:, 0]
