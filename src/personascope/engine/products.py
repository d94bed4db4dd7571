"""Products with a model's weights on a CPU, asked of the library and in the form that is fastest."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from personascope.engine.swap import Swap
from personascope.subject import Subject

# Smaller weights stay in a core's cache, where calls cost more than products, unless many tokens share a call.
_LEAST_WEIGHTS, _LEAST_TOKENS = 2**18, 512
# Up to so many tokens MKL is asked for the transposed product: it then reads weights two to three times as fast.
_FEW = 4


def products(subject: Subject) -> AbstractContextManager[None]:
    """While it lasts, this thread's products of float32 states with float32 weights on a CPU are had the fast way, the same
    to rounding: asked as PyTorch asks it, MKL reads large weights at a third of the memory's speed on some machines."""
    is_ours = (
        subject.input_device.type == "cpu"
        and subject.dtype == torch.float32
        and torch.backends.mkl.is_available()
        and not torch.is_autocast_enabled("cpu")
    )
    return _LINEAR.on(True) if is_ours else nullcontext()


def _multiply(
    real: Callable[..., Tensor], _: bool, states: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What `torch.nn.functional.linear` gives: [..., out] of states [..., in] and weight [out, in]."""
    # Few calls here: a step of one row makes eighty of these products in fourteen milliseconds.
    is_large = weight.numel() >= _LEAST_WEIGHTS or states.numel() >= _LEAST_TOKENS * states.shape[-1]
    is_plain = is_large and _is_plain(states) and _is_plain(weight) and (bias is None or _is_plain(bias))
    if not is_plain or weight.dim() != 2 or not states.numel():
        return real(states, weight, bias)
    tokens = states.numel() // states.shape[-1]
    if tokens <= _FEW:
        # A single column would again be a product with a vector.
        rows = torch.cat((states, states)) if tokens == 1 else states
        columns = rows.view(-1, states.shape[-1]).t()
        product = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
        return product.t()[:tokens].contiguous().view(*states.shape[:-1], -1)
    return real(states, weight, bias) if _ONEDNN is None else _ONEDNN(states, weight, bias, "none", [], "")


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is just numbers: not quantised, spread over devices, or of another kind that looks like a tensor."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.is_cpu
        and tensor.is_contiguous()
    )


def _onednn() -> Callable[..., Tensor] | None:
    """oneDNN's product as this PyTorch offers it, where it does and gives what PyTorch's own does."""
    if not torch.backends.mkldnn.is_available():
        return None
    draw = torch.Generator().manual_seed(0)
    states, weight, bias = (torch.randn(shape, generator=draw) for shape in ((2, 3, 8), (5, 8), (5,)))
    try:
        found = torch.ops.mkldnn._linear_pointwise.default
        with torch.inference_mode():
            off = found(states, weight, bias, "none", [], "") - torch.nn.functional.linear(states, weight, bias)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return found if float(off.abs().max()) < 1e-5 else None


_ONEDNN = _onednn()
_LINEAR: Swap[Any] = Swap(vars(torch.nn.functional), "linear", _multiply)
