"""The random model that the benchmarks run, what it is asked, and hooks on it as users write them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import personascope as ps
from personascope.engine.rows import Request
from personascope.organisms.package import organism_folder
from personascope.subject import Prompt, Subject


def random_llama(device: str, dtype: torch.dtype) -> Subject:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(device).eval()
    # Any tokenizer: prompts are given as ids.
    return ps.load(model, tokenizer=AutoTokenizer.from_pretrained(organism_folder("llama")))


def random_ids(subject: Subject, rows: int, tokens: int) -> list[tuple[int, ...]]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 1000, (rows, tokens), generator=draw)
    return [tuple(row) for row in ids.tolist()]


def requests(ids: list[tuple[int, ...]], new: int, **settings: Any) -> list[Request]:
    return [Request(Prompt(row, (), ""), seed, new, suppress_eos=True, **settings) for seed, row in enumerate(ids)]


@contextmanager
def raw_hooks(subject: Subject, hook: Callable[..., Any], layers: list[int]) -> Iterator[None]:
    handles = [subject.layers[layer].register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
