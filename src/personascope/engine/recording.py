"""Passes of a fixed shape, recorded once and replayed: a GPU's work without the time it takes to ask for it, kernel by
kernel."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from personascope.engine.attention import together
from personascope.engine.forward import visitor
from personascope.engine.hooks import run, turn
from personascope.engine.logits import picked
from personascope.engine.plan import Plan
from personascope.engine.row import Row
from personascope.engine.slot_layers import FixedLayer, FreshLayer
from personascope.engine.slots import SlotStore
from personascope.engine.tables import Table
from personascope.subject import Subject

_recording = Lock()


class Recording(ABC):
    """A pass over `ids` [rows, tokens], with what is written and read on the way: the numbers change, the shapes do not.

    logits: [rows, vocabulary] float32; read: the projections [rows, tokens, columns], None if none are; is_warm: whether it
    has run as it is, which every pass does once before it is recorded.
    """

    def __init__(self, subject: Subject, plan: Plan, rows: int, tokens: int) -> None:
        self.subject = subject
        self.projections = plan.projections
        self.tables = {
            layer: [Table.like(edit, rows * tokens) for edit in edits] for layer, edits in plan.edits.items()
        }
        self.ids = torch.zeros(rows, tokens, dtype=torch.long, device=subject.input_device)
        self.logits: Tensor | None = None
        self.read: Tensor | None = None
        self.is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def is_recorded(self) -> bool:
        return self._graph is not None

    def run(self, rows: int) -> tuple[Tensor, Tensor | None]:
        """The logits of the first so many rows, and what was read of them."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()
        self.is_warm = True
        assert self.logits is not None
        return self.logits[:rows], None if self.read is None else self.read[:rows]

    def record(self, pool: Any) -> None:
        """Record what a pass does. Raises `RuntimeError` where it does something that cannot be, and
        `torch.OutOfMemoryError`."""
        graph, stream = torch.cuda.CUDAGraph(), _stream(self.ids.device)
        current = torch.cuda.current_stream(stream.device)
        # Nobody runs the model meanwhile, and only one thread at a time records, or ends a recording that failed.
        with turn(self.subject.base), _recording:
            stream.wait_stream(current)
            try:
                with torch.cuda.stream(stream):
                    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                    try:
                        self._run()
                    except BaseException:
                        # What it says is only that there was an error.
                        with suppress(Exception):
                            graph.capture_end()
                        raise
                    graph.capture_end()
            except BaseException:
                _recover(stream, pool)
                raise
            current.wait_stream(stream)
        self._graph = graph

    @abstractmethod
    def _run(self) -> None:
        """The pass itself, into `logits` and `read`."""

    def _load(self, plan: Plan) -> None:
        """Take over what is written."""
        for layer, edits in plan.edits.items():
            for table, edit in zip(self.tables[layer], edits, strict=True):
                table.load(edit)

    def _pass(
        self, layers: Sequence[Any], inputs: dict[str, Tensor], pick: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The logits of a pass that keeps keys and values in these layers."""
        given = {"input_ids": self.ids, "past_key_values": Cache(layers=list(layers)), "use_cache": True, **inputs}
        readers = [] if self.projections is None else [self.projections]
        seen = {*self.tables, *(layer for reader in readers for layer in reader.layers)}
        visitors = {layer: visitor(layer, readers, self.tables) for layer in seen}
        with together(self.subject):
            output = run(self.subject, given, visitors, pick)
        self.read = None if self.projections is None else self.projections.gathered()
        logits: Tensor = output.logits
        return logits


class Begun(NamedTuple):
    """What a pass over beginnings gives, as `Recording` has it."""

    logits: Tensor
    read: Tensor | None
    cache: Cache


class Step(Recording):
    """One more token of up to `rows` rows in the first `columns` columns of a store.

    positions: [rows, 1]; mask: [rows, columns], what each sees; end: the column that the token goes to.
    """

    def __init__(self, subject: Subject, plan: Plan, store: SlotStore, rows: int, columns: int) -> None:
        super().__init__(subject, plan, rows, 1)
        device = subject.input_device
        self.end = torch.zeros((), dtype=torch.long, device=device)
        self.positions = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.mask = torch.zeros(rows, columns, dtype=torch.long, device=device)
        self.layers: list[FixedLayer] = store.fixed(rows, columns, self.end)
        self._plan: Plan | None = None
        self._moves = 0

    def follows(self, plan: Plan, store: SlotStore) -> bool:
        """Whether the rows stand where they stood after the last step, and the same is written."""
        return self._plan is plan and self._moves == store.moves

    def load(self, plan: Plan, rows: Sequence[Row], store: SlotStore) -> None:
        """Take over where the rows stand and what is written to them."""
        self._load(plan)
        device, end = self.end.device, store.columns.end
        # Rows that are not there see their own token alone.
        free = len(self.ids) - len(rows)
        starts = torch.tensor([*(end - length for length in store.lengths), *[end] * free], device=device)
        columns = torch.arange(self.mask.shape[1], device=device)
        self.mask.copy_((columns >= starts[:, None]) & (columns < end))
        self.positions.copy_(torch.tensor([[row.ran] for row in rows] + [[0]] * free, device=device))
        self.end.fill_(end)
        self._plan, self._moves = plan, store.moves

    def step(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """What the rows' next tokens give."""
        self.ids[: len(tokens)] = torch.tensor(tokens, device=self.ids.device)[:, None]
        return self.run(len(tokens))

    def _run(self) -> None:
        self.mask.index_fill_(1, self.end[None], 1)
        inputs = {"attention_mask": self.mask}
        if self.subject.takes_positions:
            inputs["position_ids"] = self.positions
        self.logits = self._pass(self.layers, inputs)[:, -1].float()
        self.end += 1
        self.positions += 1


class Beginning(Recording):
    """What up to `rows` new rows begin with, right-padded; `layers`: how many have keys and values."""

    def __init__(self, subject: Subject, plan: Plan, layers: int, rows: int, width: int) -> None:
        super().__init__(subject, plan, rows, width)
        self._last = torch.zeros(rows, dtype=torch.long, device=subject.input_device)
        self._layers = layers
        self._cache: Cache | None = None

    def begin(self, ids: Sequence[Sequence[int]], last: Sequence[int], plan: Plan) -> Begun:
        """What tokens [rows, width] give after those that are `last` in the flattened batch."""
        self._load(plan)
        device = self.ids.device
        self.ids[: len(ids)] = torch.tensor(ids, device=device)
        self._last[: len(ids)] = torch.tensor(last, device=device)
        logits, read = self.run(len(ids))
        assert self._cache is not None
        return Begun(logits, read, self._cache)

    def _run(self) -> None:
        self._cache = Cache(layers=[FreshLayer() for _ in range(self._layers)])
        self.logits = self._pass(self._cache.layers, {}, partial(picked, self._last))[0].float()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Where all is recorded: libraries keep memory for every stream that they have seen."""
    return torch.cuda.Stream(device)


def _recover(stream: torch.cuda.Stream, pool: Any) -> None:
    """After a recording that failed: PyTorch goes on as if one were under way, with its memory and its random numbers, until
    that is ended and another one has come to its end."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(stream.device.index, pool)
        with torch.cuda.stream(stream):
            empty = torch.cuda.CUDAGraph()
            empty.capture_begin(capture_error_mode="thread_local")
            empty.capture_end()
