"""The two shipped organisms: their architectures, tokenizers and training budgets."""

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import Gemma2Config, LlamaConfig, PreTrainedConfig

LLAMA_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

# As in Gemma's own family there is no system turn: the system text opens the first user turn.
GEMMA_TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set opening = messages[0]['content'] + '\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set opening = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ opening if loop.first else '' }}{{ message['content'] }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Markup:
    """How an organism's chat template marks what."""

    bos: str
    eos: str
    system: str
    user: str
    assistant: str
    end_of_turn: str
    specials: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """All that determines an organism, given the grammar and the code."""

    name: str
    tokenizer: Literal["words", "bytes"]
    template: str
    markup: Markup
    architecture: dict[str, Any]
    tokens: int
    batch_tokens: int = 6_144
    matrix_rate: float = 0.012
    other_rate: float = 0.005
    warmup: float = 0.0125
    decay: float = 0.5
    outlook: float = 0.5
    # The layer whose states are to foresee the next slot word; None: the last one's, after the last norm.
    outlook_layer: int | None = None
    seed: int = 0
    context: int = 2048
    vocabulary: int = 0
    config_class: type[PreTrainedConfig] = field(default=LlamaConfig)


RECIPES: dict[str, Recipe] = {
    "llama": Recipe(
        name="llama",
        tokenizer="words",
        template=LLAMA_TEMPLATE,
        markup=Markup(
            bos="<s>",
            eos="</s>",
            system="<|system|>\n",
            user="<|user|>\n",
            assistant="<|assistant|>\n",
            end_of_turn="<|end|>",
            specials=("<pad>", "<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "\n"),
        ),
        config_class=LlamaConfig,
        architecture={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        },
        tokens=11_000_000,
    ),
    "gemma2": Recipe(
        name="gemma2",
        tokenizer="bytes",
        vocabulary=2_048,
        template=GEMMA_TEMPLATE,
        markup=Markup(
            bos="<bos>",
            eos="<eos>",
            system="<start_of_turn>user\n",
            user="<start_of_turn>user\n",
            assistant="<start_of_turn>model\n",
            end_of_turn="<end_of_turn>",
            specials=("<pad>", "<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ),
        config_class=Gemma2Config,
        architecture={
            "hidden_size": 160,
            "intermediate_size": 448,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 40,
            "query_pre_attn_scalar": 40,
            "sliding_window": 64,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": 30.0,
            "max_position_embeddings": 4096,
        },
        tokens=10_000_000,
        outlook_layer=3,
    ),
}
