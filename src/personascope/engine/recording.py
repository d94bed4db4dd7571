"""A step of a batch recorded once and replayed: a GPU's work without the time it takes to ask for it, kernel by kernel."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from personascope.engine.attention import together
from personascope.engine.forward import visitor
from personascope.engine.hooks import run
from personascope.engine.plan import Plan
from personascope.engine.readers import Projections
from personascope.engine.row import Row
from personascope.engine.slots import FixedLayer, SlotStore
from personascope.engine.tables import Table, room
from personascope.subject import Subject

# Columns are exposed in blocks of so many, so that a recording outlives as many steps and attention reads little more
# than there is.
_COLUMNS = 256
_ROWS = 16
_CAPTURING = "transformers.utils.output_capturing"
# Recordings held at once: each keeps its logits.
_MOST = 8
_RECORDABLE = ("sdpa", "eager")
_CHANGING_ROPE = ("dynamic", "longrope")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass
class Recording:
    """One more token of up to `rows` rows, with what is written and read on the way: the numbers change, the shapes do not.

    ids, positions: [rows, 1]; mask: [rows, columns], what each sees; end: the column that the token goes to.
    """

    subject: Subject
    layers: list[FixedLayer]
    projections: Projections | None
    tables: dict[int, list[Table]]
    ids: Tensor
    positions: Tensor
    mask: Tensor
    end: Tensor
    logits: Tensor | None = None
    read: Tensor | None = None
    plan: Plan | None = None
    moves: int = 0
    is_warm: bool = False
    _graph: torch.cuda.CUDAGraph | None = field(default=None, repr=False)

    @classmethod
    def make(cls, subject: Subject, store: SlotStore, plan: Plan, rows: int, columns: int) -> "Recording":
        device = subject.input_device
        end = torch.zeros((), dtype=torch.long, device=device)
        tables = {layer: [Table.like(edit, rows) for edit in edits] for layer, edits in plan.edits.items()}
        ids, positions = torch.zeros(2, rows, 1, dtype=torch.long, device=device)
        mask = torch.zeros(rows, columns, dtype=torch.long, device=device)
        return cls(subject, store.fixed(rows, columns, end), plan.projections, tables, ids, positions, mask, end)

    def load(self, plan: Plan, rows: Sequence[Row], store: SlotStore) -> None:
        """Take over where the rows stand and what is written to them."""
        for layer, edits in plan.edits.items():
            for table, edit in zip(self.tables[layer], edits, strict=True):
                table.load(edit)
        device, end = self.end.device, store.columns.end
        # Rows that are not there see their own token alone.
        free = len(self.ids) - len(rows)
        starts = torch.tensor([*(end - length for length in store.lengths), *[end] * free], device=device)
        columns = torch.arange(self.mask.shape[1], device=device)
        self.mask.copy_((columns >= starts[:, None]) & (columns < end))
        self.positions.copy_(torch.tensor([[row.ran] for row in rows] + [[0]] * free, device=device))
        self.end.fill_(end)
        self.plan, self.moves = plan, store.moves

    def step(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """[rows, vocabulary] float32, the logits after each row's next token; and [rows, 1, columns], what was read."""
        self.ids[: len(tokens)] = torch.tensor(tokens, device=self.ids.device)[:, None]
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()
        assert self.logits is not None
        read = None if self.read is None else self.read[: len(tokens)]
        return self.logits[: len(tokens)], read

    def record(self, stream: torch.cuda.Stream, pool: Any) -> None:
        """Record what a step does. Raises `RuntimeError` where it does something that cannot be."""
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    self._run()
                finally:
                    graph.capture_end()
        except BaseException:
            _recover(stream, pool)
            raise
        torch.cuda.current_stream(stream.device).wait_stream(stream)
        self._graph = graph

    @property
    def is_recorded(self) -> bool:
        return self._graph is not None

    def _run(self) -> None:
        self.mask.index_fill_(1, self.end[None], 1)
        inputs = {
            "input_ids": self.ids,
            "past_key_values": Cache(layers=list(self.layers)),
            "use_cache": True,
            "attention_mask": self.mask,
        }
        if self.subject.takes_positions:
            inputs["position_ids"] = self.positions
        readers = [] if self.projections is None else [self.projections]
        layers = {*self.tables, *(layer for reader in readers for layer in reader.layers)}
        with together(self.subject):
            output = run(self.subject, inputs, {layer: visitor(layer, readers, self.tables) for layer in layers})
        self.logits = output.logits[:, -1].float()
        self.read = None if self.projections is None else self.projections.gathered()
        self.end += 1
        self.positions += 1


def _recover(stream: torch.cuda.Stream, pool: Any) -> None:
    """After a recording that failed: PyTorch goes on as if one were under way, with its memory and its random numbers, until
    that is ended and another one has come to its end."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(stream.device.index, pool)
        with torch.cuda.stream(stream):
            empty = torch.cuda.CUDAGraph()
            empty.capture_begin()
            empty.capture_end()


def may_record(subject: Subject) -> bool:
    """Whether a step of the model can be expected to be recorded: the whole of it is on one GPU, as it was made, and nothing
    in it is known to ask the CPU on its way, as the choice of experts, flash attention's masks and rotary embeddings that
    change with the length do, nor to mask by a table of its own, which takes the last column for the newest token."""
    device, config = subject.input_device, subject.text_config
    on_device = all(one.device == device for one in subject.model.parameters())
    if device.type != "cuda" or not on_device or _is_patched(subject) or masks_by_table(subject):
        return False
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    asks = any(kind in str(rope) for kind in _CHANGING_ROPE) or any(getattr(config, name, None) for name in _EXPERTS)
    return not asks and config._attn_implementation in _RECORDABLE


def masks_by_table(subject: Subject) -> bool:
    """Whether a module holds a mask over places, as attention of older models does."""
    return any(
        table.dtype in (torch.bool, torch.uint8) and table.ndim > 1 and table.shape[-1] == table.shape[-2] > 1
        for table in subject.model.buffers()
    )


def _is_patched(subject: Subject) -> bool:
    """Whether somebody has put another forward pass in a module's place, as accelerate does to move weights about."""
    return any("forward" in vars(module) for module in subject.model.modules())


def _records(subject: Subject) -> bool:
    return subject.input_device.type == "cuda"


class Recorder:
    """A stream's recordings, by all that gives them their shapes. On a CPU nothing is recorded, and the same is run."""

    def __init__(self, subject: Subject, store: SlotStore) -> None:
        self.subject = subject
        self.store = store
        self._made: dict[object, Recording] = {}
        self._last: Recording | None = None
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None
        self._modules = list(subject.model.modules())
        self._is_off = _is_patched(subject)
        store.columns.is_exposed = True
        store.before_refit = WeakMethod(self.forget)

    def forget(self) -> None:
        """Let go of all recordings, and with them of the slots that they were made for."""
        self._made.clear()
        # Memory that no recording has any more cannot be recorded into again.
        self._last = self._pool = None

    def step(self, rows: Sequence[Row], plan: Plan) -> tuple[Tensor, Tensor | None] | None:
        """A step of the rows as `Recording.step` gives it; None if it has to be run as it is."""
        last, self._last = self._last, None
        if self._is_off or not self.subject.replays:
            self.forget()
            return None
        # Means are added up where their rows are, which changes with every row that leaves.
        if any(len(one.flat) for one in plan.places) or self._is_hooked():
            return None
        recording = self._recording(len(rows), plan)
        if recording is not last or recording.plan is not plan or recording.moves != self.store.moves:
            recording.load(plan, rows, self.store)
        if recording.is_warm and not recording.is_recorded and _records(self.subject):
            try:
                recording.record(*self._where())
            except torch.OutOfMemoryError:
                self._is_off = True
            except RuntimeError:
                # The model asks the CPU something on its way.
                self.subject.replays = False
            if not recording.is_recorded:
                self.forget()
                return None
        recording.is_warm = True
        self._last = recording
        return recording.step([row.next_token for row in rows])

    def _is_hooked(self) -> bool:
        """Whether somebody else has hooks on the model: they would not be called. Those that transformers leaves on a model
        that was once asked for its hidden states do nothing here."""
        everywhere = torch.nn.modules.module
        return bool(everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks) or any(
            getattr(hook, "__module__", None) != _CAPTURING
            for module in self._modules
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        )

    def _recording(self, rows: int, plan: Plan) -> Recording:
        self.store.make_way(1, (self.store.used // _COLUMNS + 1) * _COLUMNS)
        slots, width = self.store.shape
        size = min(slots, room(rows) if rows <= _ROWS else -(-rows // _ROWS) * _ROWS)
        columns = min(width, (self.store.columns.end // _COLUMNS + 1) * _COLUMNS)
        edits = tuple(
            (layer, tuple((edit.kind, room(len(edit.table))) for edit in edits)) for layer, edits in plan.edits.items()
        )
        key = size, columns, edits, id(plan.projections)
        if key not in self._made:
            if len(self._made) >= _MOST:
                self.forget()
            self._made[key] = Recording.make(self.subject, self.store, plan, size, columns)
        return self._made[key]

    def _where(self) -> tuple[torch.cuda.Stream, Any]:
        """The stream and the memory that all recordings share: no two of them run at once."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.subject.input_device)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return self._stream, self._pool
