"""Rows of a stream: what is asked for, and what came of it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from personascope.directions import Direction
from personascope.engine.choose import Sampling
from personascope.engine.readers import When
from personascope.engine.writes import Write
from personascope.subject import Prompt, Turn


@dataclass(frozen=True, eq=False)
class Request:
    """One rollout to sample. `forced`: response tokens that are given; sampling goes on after them, and counts
    `max_new_tokens` from there. `reads`: whether the stream's mean reads are taken of it. `when`: whether what is watched is
    read before or after the row's own writes at the same layer."""

    prompt: Prompt
    seed: int
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    writes: tuple[Write, ...] = ()
    watch: tuple[Direction, ...] = ()
    stop: tuple[str, ...] = ()
    suppress_eos: bool = False
    logprobs: int = 0
    reads: bool = False
    forced: tuple[int, ...] = ()
    when: When = "before"


@dataclass(frozen=True)
class TokenLogprobs:
    """Natural-log probabilities at one response token, before temperature and filters: its own, and the highest ones."""

    chosen: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class Generation:
    """A sampled response and what was read while it was sampled.

    text, response_ids: the response alone (its end token is in the ids, not in the text). token_ids, tokens, and every
    array of projections and norms run over prompt and response and have equal lengths: row t is the state after token
    t, which chooses token t + 1. projections: by `name@layer`, [tokens], in residual-stream units; norms: by layer,
    [tokens]. writes: what was done to the row. means: [layers, selections, hidden] where means were asked for.
    finish: `end`, `stop`, `length`, `context`, `cancelled` or `non-finite`; error says more about the last.
    """

    text: str
    response_ids: list[int]
    token_ids: list[int]
    tokens: list[str]
    prompt_length: int
    turns: tuple[Turn, ...]
    seed: int
    finish: str
    writes: list[dict[str, Any]] = field(default_factory=list)
    projections: dict[str, np.ndarray] = field(default_factory=dict)
    norms: dict[int, np.ndarray] = field(default_factory=dict)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    means: Tensor | None = None
    error: str | None = None

    @cached_property
    def cosines(self) -> dict[str, np.ndarray]:
        """By `name@layer`, [tokens]: the projection over the norm of the stream."""
        return {
            key: values / np.maximum(self.norms[int(key.rpartition("@")[2])], 1e-30)
            for key, values in self.projections.items()
        }

    @property
    def response_tokens(self) -> list[str]:
        return self.tokens[self.prompt_length :]

    def __repr__(self) -> str:
        return f"Generation({self.text[:60]!r}, tokens={len(self.response_ids)}, finish={self.finish!r})"

    def _repr_html_(self) -> str:
        """The response, coloured by the first projection."""
        if not self.projections:
            return f"<p>{html.escape(self.text)}</p>"
        key, values = next(iter(self.projections.items()))
        response = values[self.prompt_length :]
        low, high = float(response.min(initial=0.0)), float(response.max(initial=1e-9))
        spans = [
            f'<span style="background:rgba(214,94,0,{(value - low) / max(high - low, 1e-9):.2f})" title="{value:.3f}">'
            f"{html.escape(token)}</span>"
            for token, value in zip(self.response_tokens, response, strict=False)
        ]
        return f"<p><b>{html.escape(key)}</b></p><p>{''.join(spans)}</p>"


class Event(NamedTuple):
    """A token was chosen for a row, or a row ended (token None)."""

    row: int
    token: int | None
    generation: Generation | None = None


def duplicates(directions: Sequence[Direction]) -> str | None:
    """A `name@layer` that two directions share, if any."""
    seen: set[str] = set()
    for direction in directions:
        if direction.key in seen:
            return direction.key
        seen.add(direction.key)
    return None
