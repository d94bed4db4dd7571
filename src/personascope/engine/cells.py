"""Rollouts as cells of a run: found again by everything that determines them, written down as they finish."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personascope.engine.rows import Generation, Request, TokenLogprobs
from personascope.runs import Journal, Shards, cell_key
from personascope.subject import Subject, Turn

_KIND = "rollout"


def request_key(subject: Subject, request: Request, reads: Mapping[str, Any]) -> str:
    """A hash of everything that determines a rollout and what is read of it."""
    return cell_key(
        model=subject.fingerprint,
        dtype=str(subject.dtype),
        prompt=request.prompt.ids,
        forced=request.forced,
        seed=request.seed,
        tokens=request.max_new_tokens,
        sampling=asdict(request.sampling),
        stop=request.stop,
        suppress_eos=request.suppress_eos,
        logprobs=request.logprobs,
        writes=[[line, d.digest] for w in request.writes for line, d in zip(w.describe(), w.directions, strict=True)],
        watch=[[one.key, one.digest] for one in request.watch],
        when=request.when,
        reads=dict(reads) if request.reads else None,
    )


class Cells:
    """The finished rollouts of a run folder. Means go to HDF5 shards; a rollout is entered only once its shard is there."""

    def __init__(self, folder: Path, journal: Journal, attributes: Mapping[str, Any]) -> None:
        self.folder = folder
        self.journal = journal
        shape = "rollouts, layers, selections, hidden"
        self._shards = Shards(folder, journal, _KIND, "means", {**attributes, "shape": shape})

    def get(self, key: str) -> Generation | None:
        """A finished rollout, None if it is not in or its shard is gone."""
        found = self._shards.get(key)
        if found is None:
            return None
        plain, means = found
        return _generation(plain, None if means is None else torch.from_numpy(means))

    def put(self, key: str, generation: Generation) -> None:
        """Enter a rollout: at once, or with the shard it belongs to. Failed ones are left to be tried again."""
        if generation.error is None:
            means = generation.means
            self._shards.put(key, _plain(generation), None if means is None else means.numpy())

    def flush(self) -> None:
        """Write the rollouts that wait for their shard to fill."""
        self._shards.flush()


def _plain(generation: Generation) -> dict[str, Any]:
    return {
        "text": generation.text,
        "response_ids": generation.response_ids,
        "token_ids": generation.token_ids,
        "tokens": generation.tokens,
        "prompt_length": generation.prompt_length,
        "turns": [[turn.role, turn.start, turn.stop] for turn in generation.turns],
        "seed": generation.seed,
        "finish": generation.finish,
        "writes": generation.writes,
        "projections": {key: _packed(values) for key, values in generation.projections.items()},
        "norms": {str(layer): _packed(values) for layer, values in generation.norms.items()},
        "logprobs": [[token.chosen, token.top] for token in generation.logprobs],
    }


def _generation(plain: Mapping[str, Any], means: torch.Tensor | None) -> Generation:
    return Generation(
        text=plain["text"],
        response_ids=plain["response_ids"],
        token_ids=plain["token_ids"],
        tokens=plain["tokens"],
        prompt_length=plain["prompt_length"],
        turns=tuple(Turn(*turn) for turn in plain["turns"]),
        seed=plain["seed"],
        finish=plain["finish"],
        writes=plain["writes"],
        projections={key: _unpacked(text) for key, text in plain["projections"].items()},
        norms={int(layer): _unpacked(text) for layer, text in plain["norms"].items()},
        logprobs=[
            TokenLogprobs(chosen, tuple((token, value) for token, value in top)) for chosen, top in plain["logprobs"]
        ],
        means=means,
    )


def _packed(values: Sequence[float] | np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").copy()
