"""Attention of a step asked otherwise than models ask it: rows of very different lengths each over about as many columns as
they have, and heads that share keys together."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.backends import cuda as kernels
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from personascope.engine.batches import cuts
from personascope.engine.swap import Swap
from personascope.subject import Subject

# What another call costs, in bytes of keys and values that could be read meanwhile: 40 µs at 16 GB/s, as measured.
_CALL_BYTES = 640_000
# The least share of a step's columns that must be nobody's before it is worth to think about.
_WASTE = 0.1


@dataclass(frozen=True)
class Part:
    """Rows beside each other, and the first column that any of them has."""

    rows: slice
    start: int


def parts(lengths: Sequence[int], column_bytes: int) -> list[Part]:
    """How to cut a batch whose rows end together into parts, so that reading keys and values takes least.

    lengths: how many columns each row has; column_bytes: of one row's keys and values in one column of one layer.
    """
    counts, longest = np.array(lengths), max(lengths)
    if counts.sum() >= (1 - _WASTE) * len(counts) * longest:
        return [Part(slice(0, len(counts)), 0)]
    return [Part(rows, longest - int(counts[rows].max())) for rows in cuts(lengths, _CALL_BYTES / column_bytes)]


def attending(cut: Sequence[Part], columns: int) -> AbstractContextManager[None]:
    """While it lasts, PyTorch's attention of a step over so many columns is asked part by part, in this thread. Models with
    another attention run as they do."""
    return nullcontext() if len(cut) < 2 else _SDPA.on(_Cut(cut, columns))


@contextmanager
def together(subject: Subject) -> Iterator[None]:
    """While it lasts, a model's attention of a step is asked once for all heads that share keys, in this thread: transformers
    copies keys and values for every head, and reads and writes several times what the step would. The first time of a layer
    both are tried, and where they differ it is asked as ever. cuDNN's attention, which takes half a second to get ready for
    every number of columns, is not used."""
    with _swap(subject).on(_TOGETHER), _WITHOUT_CUDNN:
        yield


def _swap(subject: Subject) -> "Swap[_Asking]":
    file = type(subject.layers[0]).__module__
    own = vars(sys.modules[file])
    if subject.text_config._attn_implementation != "eager" or "eager_attention_forward" not in own:
        return _SDPA
    if file not in _EAGER:
        _EAGER.setdefault(file, Swap[_Asking](own, "eager_attention_forward", _ask))
    return _EAGER[file]


class _Call(NamedTuple):
    """What a model asks a function for. query: [rows, heads, tokens, size]; key, value: [rows, heads that have keys, columns,
    size]; mask: [rows, heads, tokens, columns], or what broadcasts to it."""

    real: Callable[..., tuple[Tensor, Any]]
    module: Any
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    settings: dict[str, Any]

    def made(self) -> tuple[Tensor, Any]:
        return self.real(self.module, self.query, self.key, self.value, self.mask, **self.settings)


class _Asking(Protocol):
    """Another way to make a call."""

    def ask(self, call: _Call) -> tuple[Tensor, Any]: ...


@dataclass(frozen=True)
class _Cut:
    """In parts of rows."""

    parts: Sequence[Part]
    columns: int

    def ask(self, call: _Call) -> tuple[Tensor, Any]:
        rows, _, tokens, _ = call.query.shape
        is_step = tokens == 1 and rows == self.parts[-1].rows.stop and call.settings.get("position_bias") is None
        if not is_step or call.mask is None or len(call.mask) != rows:
            return call.made()
        # A model may have left out the oldest columns, which no row of a window sees.
        gone, out = self.columns - call.key.shape[2], []
        for part in self.parts:
            rest = slice(max(0, part.start - gone), None)
            own = call._replace(
                query=call.query[part.rows],
                key=call.key[part.rows, :, rest],
                value=call.value[part.rows, :, rest],
                mask=call.mask[part.rows, ..., rest],
            )
            out.append(own.made()[0])
        return torch.cat(out), None


class _Together:
    """Heads that share keys and values as if they were tokens of one head, since else each gets a copy of them."""

    def __init__(self) -> None:
        # Whether it gives the same, by module and function: modules of one kind may differ.
        self._tried: WeakKeyDictionary[Any, dict[object, bool]] = WeakKeyDictionary()

    def ask(self, call: _Call) -> tuple[Tensor, Any]:
        heads, tokens, own = *call.query.shape[1:3], call.key.shape[1]
        may_be = tokens == 1 and own < heads == own * (heads // own) and call.settings.get("position_bias") is None
        if not may_be or call.mask is None or call.mask.shape[1:3] not in ((1, 1), (heads, 1)):
            return call.made()
        tried, kind = self._tried.setdefault(call.module, {}), (call.real, call.query.dtype)
        if kind in tried:
            return _shared(call) if tried[kind] else call.made()
        expected, weights = call.made()
        if not (call.query.is_cuda and torch.cuda.is_current_stream_capturing()):
            # Too little memory says nothing about what it gives.
            with suppress(torch.OutOfMemoryError):
                tried[kind] = _gives(expected, lambda: _shared(call))
        return expected, weights


def _shared(call: _Call) -> tuple[Tensor, Any]:
    rows, heads, _, size = call.query.shape
    own, mask = call.key.shape[1], call.mask
    if mask is not None and mask.shape[1] > 1:
        mask = mask.reshape(len(mask), own, heads // own, -1)
    packed = call._replace(module=_Alone(call.module), query=call.query.reshape(rows, own, -1, size), mask=mask)
    out, weights = packed.made()
    weights = weights.reshape(rows, heads, 1, -1) if isinstance(weights, Tensor) else weights
    return out.transpose(1, 2).reshape(rows, 1, heads, -1), weights


def _gives(expected: Tensor, function: Callable[[], tuple[Tensor, Any]]) -> bool:
    """Whether a function gives the same, but for rounding."""
    try:
        found = function()[0]
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    near = 1e-4 if expected.dtype == torch.float32 else 0.03
    slack = near * float(expected.float().abs().nan_to_num(0, 0, 0).max())
    return found.shape == expected.shape and torch.allclose(found, expected, near, slack, equal_nan=True)


class _Alone:
    """An attention module all of whose heads have keys of their own."""

    num_key_value_groups = 1

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _WithoutCuDNN:
    """While any thread is inside, PyTorch does not choose cuDNN's attention."""

    def __init__(self) -> None:
        self._lock, self._inside, self._was = Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._was = kernels.cudnn_sdp_enabled()
                # Somebody may have asked for nothing else.
                others = kernels.mem_efficient_sdp_enabled() and kernels.math_sdp_enabled()
                kernels.enable_cudnn_sdp(self._was and not others)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                kernels.enable_cudnn_sdp(self._was)


def _ask(
    real: Callable[..., tuple[Tensor, Any]],
    way: _Asking,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, Any]:
    return way.ask(_Call(real, module, query, key, value, attention_mask, settings))


_SDPA = Swap[_Asking](ALL_ATTENTION_FUNCTIONS, "sdpa", _ask)
# By the file of a model, its own attention.
_EAGER: dict[str, Swap[_Asking]] = {}
_TOGETHER, _WITHOUT_CUDNN = _Together(), _WithoutCuDNN()
