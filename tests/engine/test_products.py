"""Products had another way are PyTorch's own, to rounding, and only where we run a model."""

from threading import Thread
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear
from zoo import byte_tokenizer, tiny_model

import personascope as ps
from personascope.engine import products as module
from personascope.engine.hooks import run
from personascope.engine.products import products
from personascope.subject import Subject

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="PyTorch has no MKL here")


@pytest.fixture
def cpu_subject() -> Subject:
    return ps.load(tiny_model("llama"), tokenizer=byte_tokenizer())


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_mkl
@given(
    st.sampled_from([(1,), (), (1, 1), (2, 1), (3,), (1, 4), (2, 3), (9,), (2, 40), (0,), (2, 0)]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
)
def test_products_are_pytorchs_own(shape: tuple[int, ...], inner: int, outer: int, biased: bool, strided: bool) -> None:
    states, weight = drawn(*shape, inner), drawn(outer, inner)
    if strided and len(shape) > 1:
        states = states.transpose(0, 1)
    bias = drawn(outer) if biased else None
    expected = linear(states, weight, bias)
    with torch.inference_mode():
        found = module._multiply(linear, True, states, weight, bias)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert torch.allclose(found, expected, atol=1e-5)


@needs_mkl
@pytest.mark.parametrize("tokens", [1, 3, 700])
def test_the_fast_ways_are_gone_where_they_do_not_hold(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other precisions and other kinds of tensors are PyTorch's business, a missing oneDNN too."""
    asked = []

    def spy(*args: Any) -> Tensor:
        asked.append(args)
        return linear(*args)

    class Odd(Tensor):
        pass

    states, weight = drawn(tokens, 16), drawn(8, 16)
    for one, other in (
        (states.double(), weight.double()),
        (states.bfloat16(), weight.bfloat16()),
        (states.as_subclass(Odd), weight),
        (states, weight.as_subclass(Odd)),
        (states, drawn(16, 8).T),
        (states, drawn(16)),
    ):
        asked.clear()
        module._multiply(spy, True, one, other)
        assert len(asked) == 1
    monkeypatch.setattr(module, "_ONEDNN", None)
    asked.clear()
    assert torch.allclose(module._multiply(spy, True, states, weight), linear(states, weight), atol=1e-5)
    assert len(asked) == (tokens > 4)


@needs_mkl
def test_a_pass_uses_them_and_no_other_thread_does(cpu_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, real = [], torch.nn.functional.linear

    def spy(*args: Any) -> Tensor:
        ours.append(args)
        return real(*args[2:])

    monkeypatch.setattr(module._LINEAR, "_ours", spy)
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    run(cpu_subject, inputs, {})
    assert ours
    assert torch.nn.functional.linear is real
    ours.clear()
    with products(cpu_subject):
        other = Thread(target=lambda: cpu_subject.model(**inputs))
        other.start()
        other.join()
    assert not ours


@needs_mkl
def test_an_error_puts_everything_back(cpu_subject: Subject) -> None:
    real = torch.nn.functional.linear
    with pytest.raises(ZeroDivisionError), products(cpu_subject), products(cpu_subject):
        raise ZeroDivisionError
    assert torch.nn.functional.linear is real


def test_half_precision_is_left_to_pytorch(cpu_subject: Subject) -> None:
    half = ps.load(tiny_model("llama").bfloat16(), tokenizer=byte_tokenizer())
    real = torch.nn.functional.linear
    with products(half):
        assert torch.nn.functional.linear is real
    with torch.autocast("cpu", torch.bfloat16), products(cpu_subject):
        assert torch.nn.functional.linear is real
