"""SAEs with random weights in every format that is read, each with its published formula written out in plain torch."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, F, K, LAYER = 12, 40, 5, 2


@dataclass(frozen=True)
class Written:
    """file: with the weights. encode: [n, D] → [n, F]; decode: codes and the activations they are of → [n, D]."""

    file: Path
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor, Tensor], Tensor]
    layer: int | None = LAYER
    promised: float | None = None


def activations(n: int = 50, seed: int = 1) -> Tensor:
    """[n, D], with a mean and a few long rows, as a residual stream has them."""
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) + torch.linspace(-1, 1, D)
    x[::10] *= 20
    return x


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


# dictionary_learning


def dictionary(folder: Path, kind: str, state: dict[str, Tensor], **trainer: Any) -> Path:
    settings = {"dict_class": kind, "activation_dim": D, "dict_size": F, "layer": LAYER, "lm_name": "tiny/model"}
    write_json(folder / "config.json", {"trainer": settings | trainer, "buffer": {"ctx_len": 128}})
    torch.save(state, folder / "ae.pt")
    return folder / "ae.pt"


def linear_state() -> dict[str, Tensor]:
    return {
        "encoder.weight": random(F, D),
        "encoder.bias": random(F),
        "decoder.weight": random(D, F, seed=1),
    }


def keep_largest(p: Tensor, k: int) -> Tensor:
    """p where it is above 0 and no fewer than all but k − 1 others are below it, else 0."""
    rank = (p.unsqueeze(-1) < p.unsqueeze(-2)).sum(-1)
    return torch.where((rank < k) & (p > 0), p, torch.zeros(()))


def batch_top_k(folder: Path, threshold: float = 2.0) -> Written:
    state = linear_state() | {"b_dec": random(D), "k": torch.tensor(K), "threshold": torch.tensor(threshold)}

    def encode(x: Tensor) -> Tensor:
        p = (x - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"]
        return torch.where((p > threshold) & (p > 0), p, torch.zeros(()))

    return Written(
        dictionary(folder, "BatchTopKSAE", state, k=K),
        encode,
        lambda f, x: f @ state["decoder.weight"].T + state["b_dec"],
        promised=K,
    )


def top_k(folder: Path) -> Written:
    state = linear_state() | {"b_dec": random(D), "k": torch.tensor(K), "threshold": torch.tensor(-1.0)}

    def encode(x: Tensor) -> Tensor:
        return keep_largest((x - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"], K)

    return Written(
        dictionary(folder, "AutoEncoderTopK", state, k=K),
        encode,
        lambda f, x: f @ state["decoder.weight"].T + state["b_dec"],
        promised=K,
    )


def matryoshka(folder: Path) -> Written:
    state = {"W_enc": random(D, F), "b_enc": random(F), "W_dec": random(F, D), "b_dec": random(D)}
    state |= {"k": torch.tensor(K), "threshold": torch.tensor(1.5), "group_sizes": torch.tensor([10, 30])}

    def encode(x: Tensor) -> Tensor:
        p = (x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
        return torch.where(p > 1.5, p, torch.zeros(()))

    return Written(
        dictionary(folder, "MatryoshkaBatchTopKSAE", state, k=K, group_fractions=[0.25, 0.75]),
        encode,
        lambda f, x: f @ state["W_dec"] + state["b_dec"],
        promised=K,
    )


def standard(folder: Path) -> Written:
    state = linear_state() | {"bias": random(D)}
    norms = state["decoder.weight"].norm(dim=0)

    def encode(x: Tensor) -> Tensor:
        p = (x - state["bias"]) @ state["encoder.weight"].T + state["encoder.bias"]
        return p.clamp(min=0) * norms

    return Written(
        dictionary(folder, "AutoEncoder", state, l1_penalty=0.1),
        encode,
        lambda f, x: (f / norms) @ state["decoder.weight"].T + state["bias"],
    )


def april(folder: Path) -> Written:
    state = linear_state() | {"decoder.bias": random(D)}
    return Written(
        dictionary(folder, "AutoEncoderNew", state),
        lambda x: (x @ state["encoder.weight"].T + state["encoder.bias"]).clamp(min=0),
        lambda f, x: f @ state["decoder.weight"].T + state["decoder.bias"],
    )


def gated(folder: Path) -> Written:
    state = {"encoder.weight": random(F, D), "decoder.weight": random(D, F, seed=1), "decoder_bias": random(D)}
    state |= {"r_mag": random(F), "gate_bias": random(F, seed=1), "mag_bias": random(F, seed=2)}

    def encode(x: Tensor) -> Tensor:
        e = (x - state["decoder_bias"]) @ state["encoder.weight"].T
        size = (state["r_mag"].exp() * e + state["mag_bias"]).clamp(min=0)
        return torch.where(e + state["gate_bias"] > 0, size, torch.zeros(()))

    return Written(
        dictionary(folder, "GatedAutoEncoder", state),
        encode,
        lambda f, x: f @ state["decoder.weight"].T + state["decoder_bias"],
    )


def jump_relu(folder: Path) -> Written:
    state = {"W_enc": random(D, F), "b_enc": random(F), "W_dec": random(F, D), "b_dec": random(D)}
    state["threshold"] = random(F, seed=3).abs()

    def encode(x: Tensor) -> Tensor:
        p = x @ state["W_enc"] + state["b_enc"]
        return torch.where(p > state["threshold"], p, torch.zeros(()))

    return Written(
        dictionary(folder, "JumpReluAutoEncoder", state, target_l0=7),
        encode,
        lambda f, x: f @ state["W_dec"] + state["b_dec"],
        promised=7,
    )


def unfinished(folder: Path) -> Written:
    """A run that was cut off: its biases and threshold belong to activations that were divided by the factor."""
    factor = 3.5
    whole = batch_top_k(folder)
    state = torch.load(whole.file, weights_only=True)
    torch.save({"ae": state, "norm_factor": factor}, whole.file)
    return Written(
        whole.file,
        lambda x: whole.encode(x / factor) * factor,
        lambda f, x: whole.decode(f / factor, x) * factor,
        promised=K,
    )


# SAELens


def lens(folder: Path, kind: str, state: dict[str, Tensor], **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "sae_weights.safetensors")
    metadata = {
        "model_name": "tiny-model",
        "hook_name": f"blocks.{LAYER}.hook_resid_post",
        "sae_lens_version": "6.5.0",
    }
    cfg = {"architecture": kind, "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", "metadata": metadata}
    write_json(folder / "cfg.json", cfg | settings)
    return folder / "sae_weights.safetensors"


def lens_state(**more: Tensor) -> dict[str, Tensor]:
    return {"W_enc": random(D, F), "W_dec": random(F, D), "b_dec": random(D), "b_enc": random(F)} | more


def lens_standard(folder: Path) -> Written:
    """With every token at length √D."""
    s = lens_state()

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x.norm(dim=-1, keepdim=True) / math.sqrt(D)

    return Written(
        lens(folder, "standard", s, normalize_activations="constant_norm_rescale"),
        lambda x: ((x / norm(x) - s["b_dec"]) @ s["W_enc"] + s["b_enc"]).clamp(min=0),
        lambda f, x: (f @ s["W_dec"] + s["b_dec"]) * norm(x),
    )


def lens_standard_old(folder: Path) -> Written:
    """As versions before 6 wrote it, before block LAYER + 1."""
    s = lens_state()
    file = lens(folder, "standard", s)
    old = {"d_in": D, "d_sae": F, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small"}
    old |= {"hook_point": f"blocks.{LAYER + 1}.hook_resid_pre", "hook_point_layer": LAYER + 1}
    write_json(folder / "cfg.json", old | {"normalize_activations": False, "hook_point_head_index": None})
    return Written(
        file,
        lambda x: ((x - s["b_dec"]) @ s["W_enc"] + s["b_enc"]).clamp(min=0),
        lambda f, x: f @ s["W_dec"] + s["b_dec"],
    )


def lens_top_k(folder: Path) -> Written:
    """Chosen by what the decoder makes of them, on normalised layers."""
    s = lens_state()
    norms = s["W_dec"].norm(dim=1)

    def encode(x: Tensor) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        return keep_largest(((x - s["b_dec"]) @ s["W_enc"] + s["b_enc"]) * norms, K)

    def decode(f: Tensor, x: Tensor) -> Tensor:
        return ((f / norms) @ s["W_dec"] + s["b_dec"]) * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)

    settings = {"k": K, "rescale_acts_by_decoder_norm": True, "normalize_activations": "layer_norm"}
    return Written(lens(folder, "topk", s, **settings), encode, decode, promised=K)


def lens_top_k_old(folder: Path) -> Written:
    s = lens_state()
    file = lens(folder, "standard", s)
    old = {"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", "architecture": "standard"}
    old |= {
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "hook_name": f"blocks.{LAYER}.hook_resid_post",
    }
    write_json(folder / "cfg.json", old | {"apply_b_dec_to_input": False, "model_name": "tiny-model"})
    return Written(
        file,
        lambda x: keep_largest(x @ s["W_enc"] + s["b_enc"], K),
        lambda f, x: f @ s["W_dec"] + s["b_dec"],
        promised=K,
    )


def lens_jump_relu(folder: Path) -> Written:
    s = lens_state(threshold=random(F, seed=3).abs())

    def encode(x: Tensor) -> Tensor:
        p = x @ s["W_enc"] + s["b_enc"]
        return torch.where(p > s["threshold"], p, torch.zeros(()))

    return Written(
        lens(folder, "jumprelu", s, apply_b_dec_to_input=False), encode, lambda f, x: f @ s["W_dec"] + s["b_dec"]
    )


def lens_gated(folder: Path) -> Written:
    s = lens_state(b_gate=random(F, seed=1), b_mag=random(F, seed=2), r_mag=random(F, seed=3))
    del s["b_enc"]

    def encode(x: Tensor) -> Tensor:
        e = (x - s["b_dec"]) @ s["W_enc"]
        return torch.where(e + s["b_gate"] > 0, (s["r_mag"].exp() * e + s["b_mag"]).clamp(min=0), torch.zeros(()))

    return Written(lens(folder, "gated", s), encode, lambda f, x: f @ s["W_dec"] + s["b_dec"])


# The others


def gemma_scope(folder: Path) -> Written:
    home = folder / f"layer_{LAYER}" / "width_16k" / "average_l0_82"
    home.mkdir(parents=True)
    s = {"W_enc": random(D, F), "b_enc": random(F), "W_dec": random(F, D), "b_dec": random(D)}
    s["threshold"] = random(F, seed=3).abs()
    np.savez(home / "params.npz", **{name: value.numpy() for name, value in s.items()})

    def encode(x: Tensor) -> Tensor:
        p = x @ s["W_enc"] + s["b_enc"]
        return torch.where(p > s["threshold"], p, torch.zeros(()))

    return Written(home / "params.npz", encode, lambda f, x: f @ s["W_dec"] + s["b_dec"], promised=82)


def gemma_scope_2(folder: Path) -> Written:
    one = gemma_scope(folder / "first")
    home = folder / "resid_post" / f"layer_{LAYER}_width_16k_l0_small"
    home.mkdir(parents=True)
    with np.load(one.file) as held:
        save_file({name.lower(): torch.from_numpy(held[name]) for name in held}, home / "params.safetensors")
    write_json(
        home / "config.json", {"hf_hook_point_in": f"model.layers.{LAYER}.output", "model_name": "google/gemma-3-1b-it"}
    )
    one.file.unlink()
    return Written(home / "params.safetensors", one.encode, one.decode)


def llama_scope(folder: Path, unit: bool = False) -> Written:
    """Inputs at an average norm of √D; the threshold belongs to unscaled inputs and decoder rows of length 1."""
    home = folder / f"Llama3_1-8B-Base-L{LAYER}R-8x"
    (home / "checkpoints").mkdir(parents=True)
    average, threshold = 7.0, 1.25
    s = {"encoder.weight": random(F, D), "encoder.bias": random(F), "decoder.bias": random(D)}
    decoder = random(D, F, seed=1)
    s["decoder.weight"] = decoder / decoder.norm(dim=0) if unit else decoder
    save_file({name: value.contiguous() for name, value in s.items()}, home / "checkpoints" / "final.safetensors")
    hook = f"blocks.{LAYER}.hook_resid_post"
    settings = {"d_model": D, "d_sae": F, "act_fn": "jumprelu", "jump_relu_threshold": threshold, "top_k": 50}
    settings |= {"hook_point_in": hook, "hook_point_out": hook, "norm_activation": "dataset-wise"}
    settings |= {"dataset_average_activation_norm": {"in": average, "out": average}, "use_decoder_bias": True}
    write_json(home / "hyperparams.json", settings | {"sparsity_include_decoder_norm": True})
    factor, norms = math.sqrt(D) / average, s["decoder.weight"].norm(dim=0)

    def encode(x: Tensor) -> Tensor:
        p = ((x * factor) @ s["encoder.weight"].T + s["encoder.bias"]) * norms / factor
        return torch.where(p > threshold, p, torch.zeros(()))

    def decode(f: Tensor, x: Tensor) -> Tensor:
        return ((f * factor / norms) @ s["decoder.weight"].T + s["decoder.bias"]) / factor

    return Written(home / "checkpoints" / "final.safetensors", encode, decode, promised=50)


def sparsify(folder: Path) -> Written:
    home = folder / f"layers.{LAYER}"
    home.mkdir(parents=True)
    s = {"encoder.weight": random(F, D), "encoder.bias": random(F), "W_dec": random(F, D), "b_dec": random(D)}
    save_file(s, home / "sae.safetensors")
    write_json(
        home / "cfg.json", {"d_in": D, "num_latents": F, "expansion_factor": 32, "k": K, "normalize_decoder": True}
    )
    write_json(folder / "config.json", {"model": "tiny/model"})
    return Written(
        home / "sae.safetensors",
        lambda x: keep_largest((x - s["b_dec"]) @ s["encoder.weight"].T + s["encoder.bias"], K),
        lambda f, x: f @ s["W_dec"] + s["b_dec"],
        promised=K,
    )


WRITERS: dict[str, Callable[[Path], Written]] = {
    function.__name__: function
    for function in (
        batch_top_k,
        top_k,
        matryoshka,
        standard,
        april,
        gated,
        jump_relu,
        unfinished,
        lens_standard,
        lens_standard_old,
        lens_top_k,
        lens_top_k_old,
        lens_jump_relu,
        lens_gated,
        gemma_scope,
        gemma_scope_2,
        llama_scope,
        sparsify,
    )
}
