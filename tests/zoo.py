"""Tiny models of many architectures with random weights, and a tokenizer that writes bytes."""

import os
from collections.abc import Callable
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import personascope as ps
from personascope.subject import Subject

# Where the zoo's models run: set PERSONASCOPE_TEST_DEVICE=cuda to test the engine there.
DEVICE = os.environ.get("PERSONASCOPE_TEST_DEVICE", "cpu")
SPECIALS = ["<pad>", "<s>", "</s>", "<|start|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
VOCABULARY = 256 + len(SPECIALS)

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GATED = {**_COMMON, "intermediate_size": 48, "num_key_value_heads": 2}
_GEMMA = {**_GATED, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaConfig(**_GATED),
    "qwen2": lambda: tf.Qwen2Config(**_GATED),
    "qwen3": lambda: tf.Qwen3Config(**_GATED, head_dim=8),
    "gemma2": lambda: tf.Gemma2Config(**_GEMMA),
    "gemma3": lambda: tf.Gemma3TextConfig(**_GEMMA, layer_types=["sliding_attention", "full_attention"] * 2),
    "mistral": lambda: tf.MistralConfig(**_GATED, sliding_window=8),
    "phi3": lambda: tf.Phi3Config(**_GATED),
    "gpt2": lambda: tf.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=4,
        n_head=4,
        n_positions=512,
        initializer_range=0.25,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**_COMMON, intermediate_size=48),
    "opt": lambda: tf.OPTConfig(**{**_COMMON, "init_std": 0.25}, ffn_dim=48, word_embed_proj_dim=32),
    "olmo2": lambda: tf.Olmo2Config(**_GATED),
    "mixtral": lambda: tf.MixtralConfig(**_GATED, num_local_experts=4, num_experts_per_tok=2),
}


def byte_tokenizer(template: str | None = TEMPLATE, specials: list[str] = SPECIALS) -> PreTrainedTokenizerFast:
    """One token a byte; the first five specials are pad, BOS, EOS and two marks for chats."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: index for index, token in enumerate([*specials, *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=specials[0], bos_token=specials[1], eos_token=specials[2]
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(name: str, seed: int = 0) -> Any:
    """A model with random weights, in float32 on the CPU."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[name](), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Fresh weights leave norms at exactly one and biases at zero, which would hide mistakes.
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
            if "embed" in parameter_name or "wte" in parameter_name:
                parameter.normal_(std=0.5)
    return model


def tiny_subject(name: str, seed: int = 0) -> Subject:
    return ps.load(tiny_model(name, seed).to(DEVICE), tokenizer=byte_tokenizer())
