"""Rollouts as cells of a run: found again by everything that determines them, written down as they finish."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from personascope.engine.rows import Generation, Request, TokenLogprobs
from personascope.runs import Journal, cell_key
from personascope.runs.files import aside
from personascope.subject import Subject, Turn

_SHARD_ROWS = 64
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
        reads=dict(reads) if request.reads else None,
    )


class Cells:
    """The finished rollouts of a run folder. Means go to HDF5 shards; a rollout is entered only once its shard is there."""

    def __init__(self, folder: Path, journal: Journal, attributes: Mapping[str, Any]) -> None:
        self.folder = folder
        self.journal = journal
        self.attributes = dict(attributes)
        self._pending: list[tuple[str, Generation]] = []

    def get(self, key: str) -> Generation | None:
        """A finished rollout, None if it is not in or its shard is gone."""
        plain = self.journal.get(key)
        if plain is None:
            return None
        means = None
        if plain["shard"] is not None:
            try:
                with h5py.File(self.folder / plain["shard"], "r") as file:
                    index = plain["index"]
                    # A shard that was lost and made again may hold other cells.
                    if index >= len(file["cells"]) or file["cells"][index].decode() != key:
                        raise KeyError(key)
                    means = torch.from_numpy(file["means"][index])
            except (OSError, KeyError):
                self.journal.drop(key)
                return None
        return _generation(plain, means)

    def put(self, key: str, generation: Generation) -> None:
        """Enter a rollout: at once, or with the shard it belongs to. Failed ones are left to be tried again."""
        if generation.error is not None:
            return
        if generation.means is None:
            self.journal.put(key, _KIND, {**_plain(generation), "shard": None})
            return
        self._pending.append((key, generation))
        if len(self._pending) >= _SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rollouts that wait for their shard to fill."""
        if not self._pending:
            return
        number = 1 + max((int(path.stem.split("-")[1]) for path in self.folder.glob("activations-*.h5")), default=0)
        name = f"activations-{number:04d}.h5"
        means = np.stack([generation.means.numpy() for _, generation in self._pending if generation.means is not None])
        with aside(self.folder / name) as part, h5py.File(part, "w") as file:
            file.create_dataset("means", data=means)
            file.create_dataset("cells", data=[key for key, _ in self._pending])
            file.attrs.update({**self.attributes, "shape": "rollouts, layers, selections, hidden", "dtype": "float32"})
        for index, (key, generation) in enumerate(self._pending):
            self.journal.put(key, _KIND, {**_plain(generation), "shard": name, "index": index})
        self._pending.clear()


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
