"""What of a stream's passes is recorded, and when."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakMethod, WeakSet

import torch
from torch import Tensor, nn

from personascope.engine.plan import Plan
from personascope.engine.recording import Beginning, Begun, Recording, Step
from personascope.engine.row import Row
from personascope.engine.slots import SlotStore
from personascope.engine.tables import room
from personascope.subject import Subject

# Columns are exposed in blocks of so many, so that a recording outlives as many steps and attention reads little more
# than there is.
_COLUMNS = 256
_ROWS = 16
# What new rows begin with is padded to blocks of so many tokens, or a quarter of a power of two; beyond so many tokens a GPU
# is busy with a pass for as long as it takes to ask for it.
_GRAIN, _MOST_TOKENS = 16, 512
# Whose hooks do not matter: those that transformers leaves on a model that was once asked for its hidden states do nothing
# here, and ours are another thread's, which has its turn.
_HARMLESS = ("transformers.utils.output_capturing", "personascope.engine.hooks")
# Recordings of a kind held at once: each keeps its logits.
_MOST = 8
_RECORDABLE = ("sdpa", "eager")
_CHANGING_ROPE = ("dynamic", "longrope")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
# Models whose beginnings cannot be recorded, though their steps can.
_BEGINNINGS_REFUSED: WeakSet[nn.Module] = WeakSet()

Kind = TypeVar("Kind", bound=Recording)


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


class _Shelf(Generic[Kind]):
    """Recordings by all that gives them their shapes, and the memory that they share: no two of them run at once."""

    def __init__(self) -> None:
        self._made: dict[object, Kind] = {}
        self._pool: Any = None

    def get(self, key: object, make: Callable[[], Kind]) -> Kind:
        if key not in self._made:
            if len(self._made) >= _MOST:
                self.clear()
            self._made[key] = make()
        return self._made[key]

    def clear(self) -> None:
        self._made.clear()

    @property
    def pool(self) -> Any:
        # Memory that no recording has any more cannot be recorded into again.
        if not any(one.is_recorded for one in self._made.values()):
            self._pool = torch.cuda.graph_pool_handle()
        return self._pool


class Recorder:
    """A stream's recordings. On a CPU nothing is recorded, and the same is run."""

    def __init__(self, subject: Subject, store: SlotStore) -> None:
        self.subject = subject
        self.store = store
        self._steps, self._beginnings = _Shelf[Step](), _Shelf[Beginning]()
        self._last: Step | None = None
        self._modules = list(subject.model.modules())
        self._is_off = _is_patched(subject)
        store.columns.is_exposed = True
        store.before_refit = WeakMethod(self.forget_steps)

    def forget_steps(self) -> None:
        """Let go of the recordings of steps, and with them of the slots that they were made for."""
        self._steps.clear()
        self._last = None

    def step(self, rows: Sequence[Row], plan: Plan) -> tuple[Tensor, Tensor | None] | None:
        """A step of the rows as `Recording` gives it; None if it has to be run as it is."""
        if not self._may_record(plan):
            self._last = None
            return None
        # The last one is let go of here if the slots are laid out anew, so that it does not keep the old ones.
        step = self._step(len(rows), plan)
        last, self._last = self._last, None
        if step is not last or not step.follows(plan, self.store):
            step.load(plan, rows, self.store)
        if not self._recorded(step, self._steps):
            return None
        self._last = step
        return step.step([row.next_token for row in rows])

    def width(self, rows: int, tokens: int) -> int:
        """How wide to make a pass over the beginnings of so many rows, so that a recording fits many of them."""
        return self._wide(rows, tokens) or tokens

    def _wide(self, rows: int, tokens: int) -> int | None:
        """The same, None where nothing is recorded."""
        grain = max(_GRAIN, room(tokens) // 4)
        wide = -(-tokens // grain) * grain
        wide = max(tokens, min(wide, self.subject.context or wide))
        return wide if self._begins and room(rows) * wide <= _MOST_TOKENS else None

    def begin(self, ids: Sequence[Sequence[int]], last: Sequence[int], plan: Plan) -> Begun | None:
        """A pass over new rows' tokens [rows, width], with the logits after those that are `last` in the flattened batch.
        None if it has to be run as it is, as it has where the width is none that `width` gives."""
        width = len(ids[0])
        if self._wide(len(ids), width) != width or not self._may_record(plan):
            return None
        rows, layers = room(len(ids)), len(self.store.layers)
        beginning = self._beginnings.get(
            (rows, width, _shape(plan)), lambda: Beginning(self.subject, plan, layers, rows, width)
        )
        return beginning.begin(ids, last, plan) if self._recorded(beginning, self._beginnings) else None

    @property
    def _begins(self) -> bool:
        # How many layers have keys and values is known when the first rows are in.
        return bool(self.store.layers) and not self._is_off and self.subject.base not in _BEGINNINGS_REFUSED

    def _may_record(self, plan: Plan) -> bool:
        if self._is_off or not self.subject.replays:
            self.forget_steps()
            self._beginnings.clear()
            return False
        # Means are added up where their rows are, which changes with every row that leaves.
        return not any(len(one.flat) for one in plan.places) and not self._is_hooked()

    def _is_hooked(self) -> bool:
        """Whether somebody else has hooks on the model: they would not be called."""
        everywhere = torch.nn.modules.module
        return bool(everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks) or any(
            getattr(hook, "__module__", None) not in _HARMLESS
            for module in self._modules
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        )

    def _step(self, rows: int, plan: Plan) -> Step:
        self.store.make_way(1, (self.store.used // _COLUMNS + 1) * _COLUMNS)
        slots, width = self.store.shape
        size = min(slots, room(rows) if rows <= _ROWS else -(-rows // _ROWS) * _ROWS)
        columns = min(width, (self.store.columns.end // _COLUMNS + 1) * _COLUMNS)
        context = self.subject.context or columns
        if columns > context:
            # A model may know of no more columns than of tokens in a row.
            if self.store.columns.end >= context:
                self.store.settle()
            columns = context
        return self._steps.get(
            (size, columns, _shape(plan)), lambda: Step(self.subject, plan, self.store, size, columns)
        )

    def _recorded(self, recording: Recording, shelf: _Shelf[Any]) -> bool:
        """Have a recording recorded, where that is due and can be. Whether it can be run."""
        if not recording.is_warm or recording.is_recorded or not _records(self.subject):
            return True
        try:
            recording.record(shelf.pool)
        except torch.OutOfMemoryError:
            try:
                # What PyTorch keeps for later is of no use to a recording.
                torch.cuda.empty_cache()
                recording.record(shelf.pool)
            except RuntimeError:
                self._is_off = True
        except RuntimeError:
            # The model asks the CPU something on its way.
            if isinstance(recording, Step):
                self.subject.replays = False
            else:
                _BEGINNINGS_REFUSED.add(self.subject.base)
        if not recording.is_recorded:
            shelf.clear()
        return recording.is_recorded


def _shape(plan: Plan) -> object:
    """What a plan's writes and reads give a recording of its shapes."""
    edits = tuple(
        (layer, tuple((edit.kind, room(len(edit.table))) for edit in edits)) for layer, edits in plan.edits.items()
    )
    return edits, id(plan.projections)
