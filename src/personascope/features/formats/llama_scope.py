"""Llama Scope: `hyperparams.json` with the weights in `checkpoints/final.safetensors`."""

import math
from pathlib import Path

import torch

from personascope.errors import UserError
from personascope.features.activation import Activation, Relu, Threshold, TopK
from personascope.features.formats.asked import Asked, layer_of
from personascope.features.formats.config import Config
from personascope.features.formats.weights import read_safetensors
from personascope.features.sae import SAE
from personascope.features.scaling import ConstantNorm, Scaling


def read(path: Path, asked: Asked) -> SAE:
    """An SAE as Language-Model-SAEs reads it for inference: inputs as they are, decoder rows at length 1.

    The threshold in the settings belongs to that form, in units of the residual stream. Raises `UserError` on settings of
    another kind. Source: the SAE of OpenMOSS/Language-Model-SAEs as Llama Scope (2410.20526) was published with it.
    """
    asked.refuse_spare()
    home = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    config = Config.read(home / "hyperparams.json")
    hook, out = config.text("hook_point_in"), config.text("hook_point_out")
    if hook and out and hook != out:
        raise UserError(
            f"{asked.name} is a transcoder, from {hook} to {out}; choose an SAE of the residual stream (L…R in its name)"
        )
    if config.is_on("use_glu_encoder"):
        raise UserError(f"{asked.name} has a gated linear encoder, which Personascope does not read")
    layer = asked.agreed(layer_of(hook, asked.name) if hook else None)
    weights = read_safetensors(path)
    features, width = weights.size("encoder.weight")
    encoder, decoder = (
        weights.take("encoder.weight", features, width),
        weights.take("decoder.weight", width, features).T,
    )
    factor, scaling = _scaling(config, width)
    encoder_bias = (
        weights.take("encoder.bias", features) if config.is_on("use_encoder_bias", True) else torch.zeros(features)
    ) / factor
    has_bias = config.is_on("use_decoder_bias", otherwise="decoder.bias" in weights)
    decoder_bias = (weights.take("decoder.bias", width) if has_bias else torch.zeros(width)) / factor
    if config.is_on("sparsity_include_decoder_norm", otherwise=True):
        norms = decoder.norm(dim=1)
        if not norms.all():
            raise UserError(f"{path} has a feature without a decoder, which cannot be brought to length 1")
        encoder, encoder_bias, decoder = encoder * norms[:, None], encoder_bias * norms, decoder / norms[:, None]
    return SAE(
        encoder,
        encoder_bias,
        decoder,
        decoder_bias,
        _activation(config, features),
        centre=decoder_bias if config.is_on("apply_decoder_bias_to_pre_encoder") else None,
        scaling=scaling,
        layer=layer,
        name=asked.name,
        promised_l0=config.number("top_k"),
        model=_model(home),
        format="Llama Scope",
        config=config.values,
    )


def _scaling(config: Config, width: int) -> tuple[float, Scaling | None]:
    """The constant factor on the inputs, and what is done to each token."""
    norm = config.part("dataset_average_activation_norm").number("in")
    kind = config.text("norm_activation") or ("dataset-wise" if norm else "token-wise")
    if kind == "dataset-wise":
        if not norm or norm < 0:
            raise UserError(f"{config.path} scales inputs by the data's average norm, and does not give one above 0")
        return math.sqrt(width) / norm, None
    if kind == "token-wise":
        return 1.0, ConstantNorm()
    if kind in ("inference", "none"):
        return 1.0, None
    raise UserError(f"{config.path} has norm_activation={kind!r}, which Personascope does not read")


def _activation(config: Config, features: int) -> Activation:
    name, threshold = (config.text("act_fn") or "relu").lower(), config.number("jump_relu_threshold") or 0.0
    if name == "jumprelu" or (name == "topk" and threshold > 0):
        return Threshold(torch.tensor(threshold, dtype=torch.float32))
    if name == "relu":
        return Relu()
    k = config.whole("top_k") or 0
    if name != "topk" or not 1 <= k <= features:
        raise UserError(f"{config.path} has act_fn={name!r} with top_k={k}, which Personascope does not read")
    return TopK(k)


def _model(home: Path) -> str | None:
    return Config.read_if_there(home / "lm_config.json").text("model_name")
