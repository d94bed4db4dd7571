"""The random models that the benchmarks run, what they are asked, and hooks on them as users write them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, LlamaConfig

import personascope as ps
from personascope.engine.rows import Request
from personascope.organisms.package import organism_folder
from personascope.subject import Prompt, Subject

# The shapes of models that people run, as their publishers' configs give them; and one that 2 cores run.
SHAPES: dict[str, Callable[[], Any]] = {
    "llama-512": lambda: LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        pad_token_id=0,
    ),
    "llama-3.1-8b": lambda: LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        pad_token_id=0,
    ),
    "gemma-2-27b": lambda: Gemma2Config(
        vocab_size=256_000,
        hidden_size=4608,
        intermediate_size=36_864,
        num_hidden_layers=46,
        num_attention_heads=32,
        num_key_value_heads=16,
        head_dim=128,
        query_pre_attn_scalar=144,
        sliding_window=4096,
        max_position_embeddings=8192,
        pad_token_id=0,
    ),
}


def random_model(shape: str, device: str, dtype: torch.dtype) -> Subject:
    """A model of one of the shapes with random weights, made where it runs."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=dtype).eval()
    # Any tokenizer: prompts are given as ids.
    return ps.load(model.to(device), tokenizer=AutoTokenizer.from_pretrained(organism_folder("llama")))


def weight_bytes(subject: Subject) -> int:
    """What a step has to read of the model: all of it, but of an embedding that is no output head only a few rows."""
    looked_up = subject.base.get_input_embeddings().weight
    tied = subject.base.get_output_embeddings().weight is looked_up
    return sum(one.numel() * one.element_size() for one in subject.base.parameters() if tied or one is not looked_up)


def watched(subject: Subject, vectors: torch.Tensor) -> tuple[ps.Direction, ...]:
    """Vectors [directions, hidden] as directions at every layer."""
    return tuple(
        ps.Direction(vector, layer, f"d{number}")
        for layer in range(subject.n_layers)
        for number, vector in enumerate(vectors)
    )


def random_ids(subject: Subject, rows: int, tokens: int) -> list[tuple[int, ...]]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 1000, (rows, tokens), generator=draw)
    return [tuple(row) for row in ids.tolist()]


def requests(ids: list[tuple[int, ...]], new: int, **settings: Any) -> list[Request]:
    return [Request(Prompt(row, (), ""), seed, new, suppress_eos=True, **settings) for seed, row in enumerate(ids)]


def sampled(new: int) -> dict[str, Any]:
    """What `generate` is told, to draw so many tokens from the model's own distribution."""
    return {"max_new_tokens": new, "min_new_tokens": new, "do_sample": True, "top_k": 0}


@contextmanager
def raw_hooks(subject: Subject, hook: Callable[..., Any], layers: list[int]) -> Iterator[None]:
    handles = [subject.layers[layer].register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
