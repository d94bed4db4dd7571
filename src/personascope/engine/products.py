"""Products with a model's weights on a CPU, asked of the library and in the form that is fastest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from personascope.subject import Subject

# Smaller weights stay in a core's cache, where calls cost more than products, unless many tokens share a call.
_LEAST_WEIGHTS, _LEAST_TOKENS = 2**18, 512
# Up to so many tokens MKL is asked for the transposed product: it then reads weights two to three times as fast.
_FEW = 4


@contextmanager
def products(subject: Subject) -> Iterator[None]:
    """While it lasts, the model's linear layers multiply float32 states with float32 weights on a CPU the fast way, the same
    to rounding: asked as PyTorch asks it, MKL reads large weights at a third of the memory's speed on some machines.

    For those who hold the model's turn. What else calls the model meanwhile, with gradients or from another thread, gets
    PyTorch's own or the same numbers.
    """
    is_ours = (
        subject.input_device.type == "cpu" and subject.dtype == torch.float32 and torch.backends.mkl.is_available()
    )
    # Who has put a forward of their own there, or made another kind of layer of it, keeps that.
    parts = _parts(subject.base) if is_ours and not _is_observed() else []
    if any(_is_compiled(part) for part in (subject.model, subject.base, *parts)):
        parts = []
    ours = [part for part in parts if type(part) is nn.Linear and "forward" not in vars(part)]
    try:
        for layer in ours:
            vars(layer)["forward"] = partial(_forward, layer)
        yield
    finally:
        for layer in ours:
            vars(layer).pop("forward", None)


_FORWARD = nn.Linear.forward
_PARTS: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()


def _parts(model: nn.Module) -> list[nn.Module]:
    """The modules in a model when it first ran: found once, since looking takes as long as a small step."""
    if model not in _PARTS:
        # Not the model itself, which this would keep alive.
        _PARTS[model] = [part for part in model.modules() if part is not model]
    return _PARTS[model]


def _is_observed() -> bool:
    """Whether somebody has put a forward of their own into the class, or looks at every call that PyTorch gets, as counters
    of operations do."""
    modes = torch._C._len_torch_function_stack() + torch._C._len_torch_dispatch_stack()
    return modes > 0 or nn.Linear.forward is not _FORWARD


def _is_compiled(part: nn.Module) -> bool:
    """Whether torch.compile has a module: it would compile it again for each forward that is new to it."""
    return part._compiled_call_impl is not None or "_orig_mod" in part._modules


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:
    return _multiply(input, layer.weight, layer.bias)


def _multiply(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `torch.nn.functional.linear` gives: [..., out] of states [..., in] and weight [out, in]."""
    if not _is_ours(states, weight, bias):
        return functional.linear(states, weight, bias)
    tokens = states.numel() // states.shape[-1]
    if tokens <= _FEW:
        # A single column would again be a product with a vector.
        rows = torch.cat((states, states)) if tokens == 1 else states
        columns = rows.reshape(-1, states.shape[-1]).t()
        product = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
        return product.t()[:tokens].contiguous().view(*states.shape[:-1], -1)
    if _ONEDNN is None or not torch.backends.mkldnn.enabled:
        return functional.linear(states, weight, bias)
    return _ONEDNN(states, weight, bias, "none", [], "")


def _is_ours(states: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the product is one that we know to be faster, of nothing but numbers, and nobody asked for more than it."""
    return (
        (weight.numel() >= _LEAST_WEIGHTS or states.numel() >= _LEAST_TOKENS * weight.shape[-1])
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and functional.linear is _PYTORCH
        and _is_plain(states)
        and _is_plain(weight)
        and weight.dim() == 2
        and states.numel() > 0
        and states.dim() > 0
        and states.shape[-1] == weight.shape[1]
        and (bias is None or (_is_plain(bias) and bias.shape == weight.shape[:1]))
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is just numbers: not quantised, spread over devices, or of another kind that looks like a tensor."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_nested
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
            off = found(states, weight, bias, "none", [], "") - functional.linear(states, weight, bias)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return found if float(off.abs().max()) < 1e-5 else None


# What PyTorch has there, unless somebody has put something of their own in its place.
_PYTORCH = torch._C._nn.linear
_ONEDNN = _onednn()
