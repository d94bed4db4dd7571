"""A step recorded without a GPU, with a CUDA graph's semantics: which calls are made on which memory is settled when it is
recorded, and nothing else is asked when it is replayed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What waits for the GPU, and what brings numbers from the CPU: neither can be recorded.
_ASKING = ("_local_scalar_dense", "nonzero", "is_nonzero", "item", "equal", "masked_select", "unique", "lift_fresh")


@dataclass
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    # The memory that it fills anew; None for each result that is a view of something or was written in place.
    made: list[Tensor | None]


@dataclass
class Tape(TorchDispatchMode):
    """Calls as a CUDA graph keeps them. Recording leaves no trace in memory that was there before, as on a GPU, where
    nothing runs meanwhile; a replay spoils its own memory afterwards, all but `kept`, as the next graph of a pool may."""

    calls: list[_Call] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    _made: dict[int, Tensor] = field(default_factory=dict)
    _before: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        settings = kwargs or {}
        name = function.overloadpacket.__name__
        if name in _ASKING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        given = [one for one in tree_leaves((args, settings)) if isinstance(one, Tensor)]
        changed = _changed(function, args, settings)
        for one in changed:
            self._keep(one)
        out = function(*args, **settings)
        sources = {_memory(one) for one in given}
        results = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        made = [None if _memory(one) in sources else one for one in results]
        for one in made:
            if one is not None:
                self._made[_memory(one)] = one
        if changed or any(one is not None for one in made):
            self.calls.append(_Call(function, args, settings, made))
        return out

    def _keep(self, changed: Tensor) -> None:
        """What memory held that a call is about to change and that was there before."""
        memory = _memory(changed)
        if memory not in self._made and memory not in self._before:
            whole = _whole(changed)
            self._before[memory] = whole, whole.clone()

    @torch.inference_mode()
    def record(self, step: Callable[[], object]) -> None:
        """Take down what a step does."""
        try:
            with self, pytest.MonkeyPatch.context() as patch:
                for name in ("cpu", "tolist", "numpy", "item"):
                    patch.setattr(Tensor, name, _refused)
                step()
        finally:
            for whole, before in self._before.values():
                whole.copy_(before)
            self._before.clear()

    @torch.inference_mode()
    def replay(self) -> None:
        """Make the same calls on the same memory."""
        for call in self.calls:
            out = call.function(*call.arguments, **call.settings)
            results = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
            for new, held in zip(results, call.made, strict=True):
                if held is not None:
                    held.copy_(new)
        kept = {_memory(one) for one in self.kept}
        for memory, one in self._made.items():
            if memory not in kept and one.is_floating_point():
                _whole(one).fill_(float("nan"))


def _refused(tensor: Tensor, *args: Any) -> None:
    raise RuntimeError("operation not permitted when stream is capturing: numbers asked of the GPU")


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _whole(tensor: Tensor) -> Tensor:
    """All of the memory that a tensor looks at a part of."""
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())


def _changed(function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> list[Tensor]:
    """The arguments that a call writes to."""
    found = []
    for place, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = settings.get(argument.name, args[place] if place < len(args) else None)
            found += [one for one in tree_leaves(value) if isinstance(one, Tensor)]
    return found
