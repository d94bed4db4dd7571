"""SAEs of the dictionary_learning library: `ae.pt` with `config.json` beside it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personascope.errors import UserError
from personascope.features.activation import Activation, Gated, Relu, Threshold, TopK
from personascope.features.formats.asked import Asked
from personascope.features.formats.config import Config
from personascope.features.formats.weights import Weights, read_pickled
from personascope.features.sae import SAE

# What the threshold buffer holds from the start; training sets it after some steps, and never to less than 0.
_NEVER_SET = 0.0
_ELSEWHERE = re.compile(r"mlp|att")


def read(path: Path, asked: Asked) -> SAE:
    """An SAE by the `dict_class` in its settings. asked.threshold: for a BatchTopK one whose training ended before it set
    its own. Raises `UserError` on a class, a shape or a submodule that is none of the known.
    """
    home = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    config = Config.read(home / "config.json")
    trainer = config.part("trainer")
    kind = trainer.text("dict_class")
    if kind not in _READERS:
        raise UserError(
            f"{config.path} names the class {kind!r}; Personascope reads {', '.join(_READERS)} of dictionary_learning"
        )
    if kind not in _BATCH:
        asked.refuse_spare()
    asked.refuse_spare(threshold=True)
    held = read_pickled(path)
    # Training that was cut off leaves the biases in units of the scaled activations, and the factor beside them.
    unfinished = isinstance(held.get("ae"), dict)
    weights = Weights.of(path, held["ae"] if unfinished else held)
    factor = _factor(held.get("norm_factor"), path) if unfinished else 1.0
    parts = _READERS[kind](weights, trainer, factor, asked)
    return SAE(
        **parts,
        layer=asked.agreed(_layer(trainer, asked)),
        name=asked.name,
        promised_l0=parts["activation"].k if isinstance(parts["activation"], TopK) else _promise(trainer),
        model=trainer.text("lm_name"),
        format="dictionary_learning",
        config=config.values,
    )


def _standard(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    """At unit decoder norm, as the library's own loader makes it: the codes change, the reconstruction does not."""
    encoder, encoder_bias, decoder = _linear(weights, factor)
    bias = weights.take("bias", encoder.shape[1]) * factor
    norms = decoder.norm(dim=1)
    if not torch.allclose(norms, torch.ones_like(norms)):
        if not norms.all():
            raise UserError(f"{weights.path} has a feature without a decoder, which cannot be brought to length 1")
        encoder, encoder_bias, decoder = encoder * norms[:, None], encoder_bias * norms, decoder / norms[:, None]
    return _parts(encoder, encoder_bias, decoder, bias, Relu(), bias)


def _april(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    encoder, encoder_bias, decoder = _linear(weights, factor)
    decoder_bias = weights.take("decoder.bias", encoder.shape[1]) * factor
    return _parts(encoder, encoder_bias, decoder, decoder_bias, Relu())


def _gated(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    features, width = weights.size("encoder.weight")
    bias = weights.take("decoder_bias", width) * factor
    activation = Gated(
        weights.take("r_mag", features).exp(),
        weights.take("mag_bias", features) * factor,
        weights.take("gate_bias", features) * factor,
    )
    encoder, decoder = (
        weights.take("encoder.weight", features, width),
        weights.take("decoder.weight", width, features).T,
    )
    return _parts(encoder, torch.zeros(features), decoder, bias, activation, bias)


def _jump_relu(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    encoder, encoder_bias, decoder, bias = _columns(weights, factor)
    activation = Threshold(weights.take("threshold", len(encoder)) * factor)
    centre = bias if trainer.is_on("apply_b_dec_to_input") else None
    return _parts(encoder, encoder_bias, decoder, bias, activation, centre)


def _top_k(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    encoder, encoder_bias, decoder = _linear(weights, factor)
    bias = weights.take("b_dec", encoder.shape[1]) * factor
    return _parts(encoder, encoder_bias, decoder, bias, TopK(_k(weights, trainer, len(encoder))), bias)


def _batch_top_k(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    encoder, encoder_bias, decoder = _linear(weights, factor)
    bias = weights.take("b_dec", encoder.shape[1]) * factor
    return _parts(encoder, encoder_bias, decoder, bias, _threshold(weights, factor, asked), bias)


def _matryoshka(weights: Weights, trainer: Config, factor: float, asked: Asked) -> dict[str, Any]:
    encoder, encoder_bias, decoder, bias = _columns(weights, factor)
    return _parts(encoder, encoder_bias, decoder, bias, _threshold(weights, factor, asked), bias)


_READERS: dict[str, Callable[[Weights, Config, float, Asked], dict[str, Any]]] = {
    "AutoEncoder": _standard,
    "AutoEncoderNew": _april,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jump_relu,
    "AutoEncoderTopK": _top_k,
    "BatchTopKSAE": _batch_top_k,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
_BATCH = ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")


def _linear(weights: Weights, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder [F, D], its bias and decoder [F, D] of two linear modules."""
    features, width = weights.size("encoder.weight")
    return (
        weights.take("encoder.weight", features, width),
        weights.take("encoder.bias", features) * factor,
        weights.take("decoder.weight", width, features).T,
    )


def _columns(weights: Weights, factor: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encoder [F, D], its bias, decoder [F, D] and its bias of matrices `W_enc` [D, F] and `W_dec` [F, D]."""
    width, features = weights.size("W_enc")
    return (
        weights.take("W_enc", width, features).T,
        weights.take("b_enc", features) * factor,
        weights.take("W_dec", features, width),
        weights.take("b_dec", width) * factor,
    )


def _parts(
    encoder: Tensor,
    encoder_bias: Tensor,
    decoder: Tensor,
    decoder_bias: Tensor,
    activation: Activation,
    centre: Tensor | None = None,
) -> dict[str, Any]:
    parts = {"encoder": encoder, "encoder_bias": encoder_bias, "decoder": decoder, "decoder_bias": decoder_bias}
    return {**parts, "activation": activation, "centre": centre}


def _threshold(weights: Weights, factor: float, asked: Asked) -> Threshold:
    found = weights.scalar("threshold")
    if found is not None and found >= _NEVER_SET:
        if asked.threshold is not None:
            raise UserError(f"{asked.name} has its own threshold, {found:g}; leave threshold= out")
        return Threshold(torch.tensor(found * factor, dtype=torch.float32))
    if asked.threshold is None:
        raise UserError(
            f"{asked.name} was never given its threshold: training ended before it was set, and without one every feature "
            "fires that is above 0; give one as threshold= (--threshold), or take a later checkpoint"
        )
    return Threshold(torch.tensor(asked.threshold, dtype=torch.float32))


def _k(weights: Weights, trainer: Config, features: int) -> int:
    held, said = weights.scalar("k"), trainer.whole("k")
    if held is not None and said is not None and held != said:
        raise UserError(
            f"{weights.path} has k={held:g}, and the settings beside it say {said}; one of the two is wrong"
        )
    k = int(held) if held is not None else said
    if k is None or not 1 <= k <= features:
        raise UserError(f"{weights.path} needs a k from 1 to its {features} features, not {k}")
    return k


def _factor(value: Any, path: Path) -> float:
    number = float(value) if isinstance(value, int | float | Tensor) else 1.0 if value is None else float("nan")
    if not 0 < number < float("inf"):
        raise UserError(f"{path} has norm_factor={value!r}, which should be a number above 0")
    return number


def _layer(trainer: Config, asked: Asked) -> int | None:
    """What the settings say. Raises `UserError` where they name another place than the residual stream."""
    submodule, layer = trainer.text("submodule_name") or "", trainer.whole("layer")
    if _ELSEWHERE.search(submodule):
        raise UserError(
            f"{asked.name} was trained on {submodule}, and Personascope reads the residual stream after a block; choose one "
            "that was trained there"
        )
    if layer is None or not submodule.startswith("resid_pre"):
        return layer
    if layer == 0:
        raise UserError(f"{asked.name} was trained on the embeddings, before any block; choose one of a later layer")
    return layer - 1


def _promise(trainer: Config) -> float | None:
    return trainer.number("k") or trainer.number("target_l0")
