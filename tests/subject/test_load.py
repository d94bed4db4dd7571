"""Loading subjects, and finding the layers of many kinds of model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model
from torch import nn
from zoo import CONFIGS, VOCABULARY, byte_tokenizer, tiny_model, tiny_subject

import personascope as ps
from personascope.engine.generate import run_requests
from personascope.engine.rows import Request
from personascope.errors import UserError
from personascope.subject.layers import find_layers

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}
GATED = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2}
# More kinds of decoder than the laws are tested on: blocks that return tuples or lists, odd names, positions by bias,
# layers with a state, experts as many as layers, caches of a model's own.
MORE = {
    "bloom": lambda: tf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4, pad_token_id=0),
    "codegen": lambda: tf.CodeGenConfig(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=256, rotary_dim=4
    ),
    "cohere2": lambda: tf.Cohere2Config(**GATED),
    "deepseek_v3": lambda: tf.DeepseekV3Config(
        **{**SMALL, "num_key_value_heads": 4},
        intermediate_size=48,
        moe_intermediate_size=16,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=8,
        first_k_dense_replace=1,
    ),
    "falcon": lambda: tf.FalconConfig(**SMALL),
    "gpt_neo": lambda: tf.GPTNeoConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "gptj": lambda: tf.GPTJConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=256, rotary_dim=4),
    "granite": lambda: tf.GraniteConfig(**GATED),
    "mamba": lambda: tf.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, state_size=4, pad_token_id=0
    ),
    "mpt": lambda: tf.MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=3, n_heads=4, max_seq_len=256),
    "openai_gpt": lambda: tf.OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=256),
    "phi": lambda: tf.PhiConfig(**GATED),
    "qwen3_moe": lambda: tf.Qwen3MoeConfig(**GATED, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=16),
    "qwen3_next": lambda: tf.Qwen3NextConfig(
        **GATED,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "stablelm": lambda: tf.StableLmConfig(**GATED),
    "starcoder2": lambda: tf.Starcoder2Config(**GATED),
    "xglm": lambda: tf.XGLMConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        ffn_dim=48,
        num_layers=3,
        attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
    ),
}


def greedy(subject: ps.subject.Subject, prompt: str) -> list[int]:
    ids = torch.tensor([subject.chat.prompt(prompt).ids])
    ends = sorted(subject.end_ids)
    with torch.inference_mode():
        whole = subject.model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=ends, pad_token_id=0)
    return whole[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", MORE)
def test_any_decoder_is_read_and_generates_as_hugging_face_does(kind: str) -> None:
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(MORE[kind](), dtype=torch.float32).eval()
    subject = ps.load(model, tokenizer=byte_tokenizer())
    assert subject.n_layers == len(find_layers(model))
    prompts = ["Who are you?", "a", "Tell me, in some more words, about the sea."]
    watch = [ps.Direction(torch.ones(subject.hidden_size), layer) for layer in range(subject.n_layers)]
    outs = ps.generate(subject, prompts, temperature=0, max_new_tokens=6, watch=watch)
    assert [out.response_ids for out in outs] == [greedy(subject, prompt) for prompt in prompts]


def test_a_model_without_a_known_list_of_layers_is_refused_with_its_tree() -> None:
    model = tiny_model("llama")
    model.model.layers = nn.Sequential(*model.model.layers)
    with pytest.raises(ps.UserError, match=r"no single list of 4 modules") as error:
        ps.load(model, tokenizer=byte_tokenizer())
    assert "embed_tokens: Embedding" in str(error.value)


def test_an_encoder_is_refused() -> None:
    config = tf.RobertaConfig(**SMALL, intermediate_size=48, max_position_embeddings=64)
    model = tf.RobertaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    with pytest.raises(ps.UserError, match="not causal"):
        ps.load(model, tokenizer=byte_tokenizer())


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    tf.T5Config(vocab_size=VOCABULARY, d_model=16, num_layers=1, num_heads=2, d_kv=8, d_ff=16).save_pretrained(tmp_path)
    with pytest.raises(ps.UserError, match="encoder-decoder"):
        ps.load(str(tmp_path))


def test_a_local_folder_loads_in_the_dtype_asked_for(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    assert ps.load(str(tmp_path)).dtype == torch.float32
    subject = ps.load(tmp_path, dtype="bfloat16", device_map="cpu")
    assert subject.dtype == torch.bfloat16
    out = ps.generate(subject, ["Hello"], max_new_tokens=4, watch=[ps.Direction(torch.ones(32), 1)])[0]
    assert len(out.projections["direction@1"]) == len(out.token_ids)


def test_bfloat16_keeps_masks_and_positions() -> None:
    """The same noise, positions and masks; not the same text."""
    model = tiny_model("gemma2").to(torch.bfloat16)
    subject = ps.load(model, tokenizer=byte_tokenizer())
    prompts = ["Who are you?", "a", "Tell me, in some more words, about the sea."]
    watch = [ps.Direction(torch.ones(32), 3)]
    alone = [ps.generate(subject, [p], watch=watch, max_new_tokens=0)[0] for p in prompts]
    for one, together in zip(alone, ps.generate(subject, prompts, watch=watch, max_new_tokens=0), strict=True):
        assert torch.allclose(
            torch.tensor(one.projections["direction@3"]),
            torch.tensor(together.projections["direction@3"]),
            rtol=0.1,
            atol=0.5,
        )


def test_an_adapter_is_read_through() -> None:
    tuned = get_peft_model(
        tiny_model("llama"), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    ).eval()
    subject, plain = ps.load(tuned, tokenizer=byte_tokenizer()), tiny_subject("llama")
    changed = ps.activations(subject, ["Hello"], tokens="all")
    assert not torch.allclose(changed, ps.activations(plain, ["Hello"], tokens="all"))
    with tuned.disable_adapter():
        assert torch.allclose(
            ps.activations(subject, ["Hello"], tokens="all"), ps.activations(plain, ["Hello"], tokens="all"), atol=1e-5
        )


def test_quantised_linear_layers_are_read_through() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(tiny_model("gpt_neox"), {nn.Linear}, dtype=torch.qint8)
    subject = ps.load(quantised, tokenizer=byte_tokenizer())
    out = ps.generate(
        subject,
        ["Hello"],
        max_new_tokens=5,
        watch=[ps.Direction(torch.ones(32), 1)],
        steer=[ps.add(ps.Direction(torch.ones(32), 2), 1.0)],
    )
    assert len(out[0].response_ids) >= 1


def test_layers_on_devices_of_their_own_are_steered_where_they_are() -> None:
    from accelerate import dispatch_model

    model = tiny_model("llama")
    device_map = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    device_map |= {f"model.layers.{i}": "cpu" for i in range(4)} | {"model.layers.2": "disk"}
    plain = tiny_subject("llama")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subject = ps.load(dispatch_model(model, device_map, offload_dir=folder), tokenizer=byte_tokenizer())
        steer = [ps.add(ps.Direction(torch.ones(32), 2), 1.0)]
        here = ps.generate(subject, ["Hello"], max_new_tokens=5, steer=steer)[0]
    assert here.response_ids == ps.generate(plain, ["Hello"], max_new_tokens=5, steer=steer)[0].response_ids


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(ps.UserError, match="training mode"):
        ps.load(tiny_model("llama").train(), tokenizer=byte_tokenizer())


def test_a_model_object_needs_its_tokenizer() -> None:
    with pytest.raises(ps.UserError, match="tokenizer="):
        ps.load(tiny_model("llama"))


@pytest.mark.parametrize(
    "model",
    [
        lambda: tf.AutoModel.from_config(CONFIGS["llama"]()),
        lambda: tf.LlamaForSequenceClassification(CONFIGS["llama"]()),
        lambda: torch.nn.Linear(2, 2),
    ],
)
def test_a_model_that_chooses_no_tokens_is_refused_with_its_tree(model: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"[Ii]ts modules are"):
        ps.load(model().eval(), tokenizer=byte_tokenizer())


@pytest.mark.parametrize("tokenizer", [3, "./none", Path("/none")])
def test_what_is_no_tokenizer_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="tokenizer"):
        ps.load(tiny_model("llama"), tokenizer=tokenizer)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no tokenizer beside"):
        ps.load(tmp_path)


def test_a_context_by_another_name_is_known_and_kept_to() -> None:
    config = tf.MptConfig(d_model=32, n_heads=4, n_layers=3, vocab_size=VOCABULARY, max_seq_len=64)
    subject = ps.load(tf.AutoModelForCausalLM.from_config(config).eval(), tokenizer=byte_tokenizer())
    assert subject.context == 64
    (said,) = ps.generate(subject, ["Hi"], max_new_tokens=100, suppress_eos=True)
    assert said.finish == "context"
    with pytest.raises(UserError, match="context of 64"):
        ps.activations(subject, ["x" * 100])


def test_a_context_shorter_than_the_neutral_texts_does_for_relative_steering() -> None:
    config = CONFIGS["gpt2"]()
    config.n_positions = 96
    torch.manual_seed(0)
    subject = ps.load(tf.AutoModelForCausalLM.from_config(config).eval(), tokenizer=byte_tokenizer())
    push = ps.add(ps.Direction(torch.ones(32), 1, "x"), 1.0, relative=True)
    assert ps.generate(subject, ["Hi"], steer=[push], max_new_tokens=3)[0].error is None
    assert ps.activations(subject, ["Hello there"], tokens="prompt").shape == (1, 4, 32)


def test_rows_that_leave_early_are_tried_before_a_cache_is_trusted() -> None:
    kinds = ["linear_attention", "full_attention", "linear_attention"]
    config = tf.MiniMaxConfig(**GATED, head_dim=8, num_local_experts=2, layer_types=kinds)
    torch.manual_seed(0)
    subject = ps.load(
        tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), tokenizer=byte_tokenizer()
    )
    requests = [Request(subject.chat.prompt(text), 0, new, suppress_eos=True) for text, new in (("abc", 5), ("abd", 9))]
    assert [len(one.response_ids) for one in run_requests(subject, requests)] == [5, 9]


def test_nan_weights_are_named_by_layer() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ps.NonFinite, match="layer 2"):
        ps.load(model, tokenizer=byte_tokenizer())


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_an_organism_loads_with_transformers_alone(name: str) -> None:
    from personascope.organisms.package import organism_folder

    folder = organism_folder(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6e6
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    text = tokenizer.decode(
        model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    )
    assert "Paris" in text
    assert (folder / "README.md").exists()


def test_the_same_weights_have_the_same_fingerprint_and_others_another() -> None:
    assert tiny_subject("llama").fingerprint == tiny_subject("llama").fingerprint
    assert tiny_subject("llama").fingerprint["weights"] != tiny_subject("llama", seed=1).fingerprint["weights"]
    assert set(CONFIGS) >= {"llama", "gemma2"}
