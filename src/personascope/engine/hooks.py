"""The only place where hooks touch a model. They live for one forward pass and are gone whatever happens in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from personascope.engine.products import products
from personascope.errors import PersonascopeError
from personascope.subject import Subject

# Sees a block's output [rows, tokens, hidden], which it may change in place.
Visitor = Callable[[Tensor], None]


_TURNS: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()
_making = Lock()


def turn(model: nn.Module) -> RLock:
    """What a thread holds while it runs a model."""
    with _making:
        return _TURNS.setdefault(model, RLock())


class _Enough(Exception):
    """Raised inside a forward pass when nothing below is needed."""


def run(
    subject: Subject,
    inputs: Mapping[str, Any],
    visitors: Mapping[int, Visitor],
    pick: Callable[[Tensor], Tensor] | None = None,
    stop_after: int | None = None,
) -> Any:
    """One forward pass with a visitor at each of some layers; the model's output, None if it was stopped.

    pick: chooses what the output head sees of the last hidden states [rows, tokens, hidden].
    stop_after: the deepest layer that is needed.
    Threads that share a model take turns: a hook sees every pass that runs while it is there.
    """
    seen: set[int] = set()
    with (
        turn(subject.base),
        torch.inference_mode(),
        products(subject),
        _attached(subject, visitors, seen, pick, stop_after),
    ):
        try:
            output = subject.model(**inputs)
        except _Enough:
            output = None
    missed = set(visitors) - seen
    if missed:
        raise PersonascopeError(
            f"the hook at layer {min(missed)} never ran: the model seems to be compiled or to skip the layer; "
            "hand in the model as transformers loads it"
        )
    return output


@contextmanager
def _attached(
    subject: Subject,
    visitors: Mapping[int, Visitor],
    seen: set[int],
    pick: Callable[[Tensor], Tensor] | None,
    stop_after: int | None,
) -> Iterator[None]:
    handles = []
    try:
        for layer in sorted({*visitors, *([] if stop_after is None else [stop_after])}):
            hook = _hook(layer, visitors.get(layer), seen, layer == stop_after)
            handles.append(subject.layers[layer].register_forward_hook(hook))
        if pick is not None:
            head = subject.base.get_output_embeddings()
            assert isinstance(head, nn.Module)
            handles.append(head.register_forward_pre_hook(lambda _, args: (pick(args[0]), *args[1:])))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(layer: int, visitor: Visitor | None, seen: set[int], is_last: bool) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if visitor is not None:
            stream = output[0] if isinstance(output, (tuple, list)) else output
            visitor(stream)
            seen.add(layer)
        if is_last:
            raise _Enough
        return output

    return hook
