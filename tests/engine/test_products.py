"""Products had another way are PyTorch's own, to rounding, and only where we run a model."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from zoo import byte_tokenizer, tiny_model, tiny_subject

import personascope as ps
from personascope.engine import products as module
from personascope.engine.hooks import run
from personascope.engine.products import products
from personascope.subject import Subject


@pytest.fixture
def cpu_subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A model whose products are ours, on machines without MKL too: the numbers do not depend on it."""
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    return ps.load(tiny_model("llama"), tokenizer=byte_tokenizer())


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


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
        assert module._is_ours(states, weight, bias) == (states.numel() > 0 and states.is_contiguous())
        found = module._multiply(states, weight, bias)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert torch.allclose(found, expected, atol=1e-5)


class Odd(Tensor):
    pass


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
@pytest.mark.parametrize("tokens", [1, 3, 700])
def test_what_is_not_just_numbers_is_pytorchs_business(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    states, weight, bias = drawn(tokens, 16), drawn(8, 16), drawn(8)
    with torch.inference_mode():
        assert module._is_ours(states, weight, bias)
        for odd in (
            (states.double(), weight.double(), None),
            (states.bfloat16(), weight.bfloat16(), None),
            (states.as_subclass(Odd), weight, None),
            (states, weight.as_subclass(Odd), None),
            (states, drawn(16, 8).T, None),
            (states, drawn(16), None),
            (states, weight, drawn()),
            (states, weight, drawn(1, 8)),
            (states, weight, drawn(tokens, 8)),
            (torch.nested.nested_tensor([drawn(2, 16), drawn(tokens, 16)]), weight, bias),
        ):
            assert not module._is_ours(*odd)
            found, expected = module._multiply(*odd), linear(*odd)
            assert found.is_nested or torch.equal(found, expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert module._multiply(states, weight).dtype == torch.bfloat16
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.functional, "linear", lambda *_: "theirs")
            assert module._multiply(states, weight) == "theirs"
        monkeypatch.setattr(module, "_ONEDNN", None)
        assert torch.allclose(module._multiply(states, weight), linear(states, weight), atol=1e-5)


def test_gradients_are_not_lost_meanwhile(cpu_subject: Subject) -> None:
    """A thread that trains the model while we run it gets PyTorch's products."""
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    head = cpu_subject.model.lm_head.weight
    with products(cpu_subject):
        cpu_subject.model(**inputs).logits.sum().backward()
    assert head.grad is not None
    assert head.grad.abs().sum() > 0


def test_a_pass_uses_them_and_leaves_nothing_behind(cpu_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []

    def spy(states: Tensor, *rest: Any) -> Tensor:
        asked.append(states)
        return linear(states, *rest)

    monkeypatch.setattr(module, "_multiply", spy)
    layers = [layer for layer in cpu_subject.model.modules() if type(layer) is torch.nn.Linear]
    run(cpu_subject, {"input_ids": torch.tensor([[1, 2, 3]])}, {})
    assert len(asked) == len(layers)
    with pytest.raises(ZeroDivisionError), products(cpu_subject), products(cpu_subject):
        raise ZeroDivisionError
    assert not any("forward" in vars(layer) for layer in layers)


def test_a_forward_that_somebody_put_there_stays(cpu_subject: Subject) -> None:
    head = cpu_subject.model.lm_head
    mine = head.forward = lambda states: torch.zeros(*states.shape[:-1], 7)
    assert run(cpu_subject, {"input_ids": torch.tensor([[1, 2, 3]])}, {}).logits.shape[-1] == 7
    assert head.forward is mine


class Calls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.__name__)
        return function(*args, **(kwargs or {}))


def test_who_looks_at_every_call_sees_pytorchs_own(cpu_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    layers = [layer for layer in cpu_subject.model.modules() if type(layer) is torch.nn.Linear]
    with Calls() as calls:
        run(cpu_subject, inputs, {})
    assert calls.names.count("linear") == len(layers)
    with FlopCounterMode(display=False) as counter:
        run(cpu_subject, inputs, {})
    with FlopCounterMode(display=False) as expected, torch.inference_mode():
        cpu_subject.model(**inputs)
    assert counter.get_total_flops() == expected.get_total_flops() > 0
    asked = []
    real = torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, states: asked.append(self) or real(self, states))
    run(cpu_subject, inputs, {})
    assert len(asked) == len(layers)


def test_a_layer_that_became_another_kind_is_left_alone(cpu_subject: Subject) -> None:
    class Nothing(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return torch.zeros(*input.shape[:-1], self.out_features)

    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    assert run(cpu_subject, inputs, {}).logits.abs().sum() > 0
    cpu_subject.model.lm_head.__class__ = Nothing
    assert run(cpu_subject, inputs, {}).logits.abs().sum() == 0


def test_half_precision_and_other_libraries_are_left_to_pytorch(
    cpu_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = ps.load(tiny_model("llama").bfloat16(), tokenizer=byte_tokenizer())
    with products(half):
        assert not any("forward" in vars(layer) for layer in half.model.modules())
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    with products(cpu_subject):
        assert not any("forward" in vars(layer) for layer in cpu_subject.model.modules())


@pytest.mark.parametrize("how", ["the whole", "wrapped", "its parts"])
def test_a_compiled_model_is_compiled_once(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tiny_subject("llama")
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    if how == "the whole":
        subject.model.compile(backend=backend)
    elif how == "wrapped":
        monkeypatch.setattr(subject, "model", torch.compile(subject.model, backend=backend))
    else:
        for layer in subject.layers:
            layer.mlp.compile(backend=backend)
    inputs = {"input_ids": torch.tensor([[5, 6, 7]], device=subject.input_device), "use_cache": False}
    counts = []
    for _ in range(4):
        run(subject, inputs, {})
        counts.append(len(compiled))
    assert counts[0] and len(set(counts)) == 1
