"""Passes over a stream's rows: their beginnings, one more token of each, or the whole of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from personascope.engine.attention import attending, together
from personascope.engine.batches import padded
from personascope.engine.cache import Store
from personascope.engine.forward import visitor
from personascope.engine.hooks import run
from personascope.engine.logits import picked
from personascope.engine.plan import Plan, Planner
from personascope.engine.recorder import Recorder
from personascope.engine.row import Row
from personascope.engine.slots import SlotStore
from personascope.subject import Subject


class Passed(NamedTuple):
    """What a pass came to. logits: [rows, vocabulary] float32, after each row's last token; read: the projections
    [rows, tokens, columns], None if none were read; cache: what the model returns."""

    logits: Tensor
    read: np.ndarray | None
    cache: Any = None


class Passes:
    """Runs what a stream's planner has planned, with the keys and values of its store."""

    def __init__(self, subject: Subject, store: Store, planner: Planner) -> None:
        self.subject = subject
        self._store = store
        self._planner = planner
        self._recorder = Recorder(subject, store) if subject.replays and isinstance(store, SlotStore) else None

    @property
    def replays(self) -> bool:
        """Whether steps are recorded and replayed, as far as is known."""
        return self._recorder is not None and self.subject.replays

    def width(self, rows: Sequence[Row], tokens: int) -> int:
        """How wide to make the pass over what new rows begin with, of up to so many tokens."""
        if self._recorder is None or any(row.request.reads for row in rows):
            return tokens
        return self._recorder.width(len(rows), tokens)

    def beginnings(self, rows: Sequence[Row], plan: Plan, width: int, left: int) -> Passed:
        """The tokens given to new rows but the last `left` of each, right-padded to `width`."""
        ids = padded([[*row.request.prompt.ids, *row.response][: row.given - left] for row in rows], width)
        last = [index * width + row.given - left - 1 for index, row in enumerate(rows)]
        begun = self._recorder.begin(ids, last, plan) if self._recorder is not None else None
        if begun is None:
            return self._padded(ids, plan, last)
        return Passed(begun.logits, None if begun.read is None else begun.read.cpu().numpy(), begun.cache)

    def one_more(self, rows: Sequence[Row], plan: Plan) -> Passed:
        """One more token of every row of the store."""
        replayed = self._recorder.step(rows, plan) if self._recorder is not None else None
        if replayed is not None:
            logits, read = replayed
            return Passed(logits, None if read is None else read.cpu().numpy())
        device = self.subject.input_device
        cache, mask = self._store.for_step()
        inputs = {
            "input_ids": torch.tensor([[row.next_token] for row in rows], device=device),
            "past_key_values": cache,
            "use_cache": True,
        }
        if mask is not None:
            inputs["attention_mask"] = mask.to(device)
        if self.subject.takes_positions:
            inputs["position_ids"] = torch.tensor([[row.ran] for row in rows], device=device)
        # On a GPU it is the calls that take time.
        way = (
            together(self.subject)
            if device.type == "cuda"
            else attending(() if mask is None else self._store.parts(), 0 if mask is None else mask.shape[1])
        )
        with way:
            return self._run(inputs, plan, None)

    def wholes(self, rows: Sequence[Row], plan: Plan) -> Passed:
        """Rows from their beginnings to one more token of each, right-padded: what `one_more` does without a store."""
        width = max(row.ran for row in rows) + 1
        ids = [[*row.request.prompt.ids, *row.response[: row.ran + 1 - row.prompt]] for row in rows]
        last = [index * width + row.ran for index, row in enumerate(rows)]
        return self._padded(padded(ids, width), plan, last)

    def _padded(self, ids: list[list[int]], plan: Plan, last: list[int]) -> Passed:
        """last: where in the flattened batch the rows' last tokens are."""
        inputs = {"input_ids": torch.tensor(ids, device=self.subject.input_device), **self._store.for_prefill()}
        return self._run(inputs, plan, torch.tensor(last))

    def _run(self, inputs: dict[str, Any], plan: Plan, last: Tensor | None) -> Passed:
        """last: None if each row has a single token."""
        readers = self._planner.readers(plan)
        layers = {*plan.edits, *(layer for reader in readers for layer in reader.layers)}
        visitors = {layer: visitor(layer, readers, plan.edits) for layer in layers}
        output = run(self.subject, inputs, visitors, None if last is None else partial(picked, last))
        logits = output.logits[:, -1] if last is None else output.logits[0]
        read = None if plan.projections is None else plan.projections.collect()
        return Passed(logits.float(), read, getattr(output, "past_key_values", None))
