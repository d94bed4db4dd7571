"""SAEs of SAELens: `sae_weights.safetensors` with `cfg.json` beside it, of version 6 and before."""

from pathlib import Path

import torch
from torch import Tensor

from personascope.errors import UserError
from personascope.features.activation import Activation, Gated, Relu, Threshold, TopK
from personascope.features.formats.asked import Asked, layer_of
from personascope.features.formats.config import Config
from personascope.features.formats.weights import Weights, read_safetensors
from personascope.features.sae import SAE
from personascope.features.scaling import ConstantNorm, LayerNorm, Scaling

_KINDS = ("standard", "topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated")
_SCALINGS: dict[str, Scaling | None] = {
    "none": None,
    "constant_norm_rescale": ConstantNorm(),
    "layer_norm": LayerNorm(),
}
_AVERAGE = "expected_average_only_in"


def read(path: Path, asked: Asked) -> SAE:
    """An SAE by the architecture in its settings.

    asked.scale: the factor on its inputs, for one whose settings say that there was one (`expected_average_only_in`) and
    whose folder has lost it. Raises `UserError` on an architecture, a hook point or a normalisation that is none of the
    known.
    """
    config = Config.read(path.parent / "cfg.json")
    metadata = config.part("metadata") if config.values.get("metadata") else config
    kind = _kind(config)
    layer = _layer(config, metadata, asked)
    weights = read_safetensors(path)
    width, features = weights.size("W_enc")
    encoder, decoder = weights.take("W_enc", width, features).T, weights.take("W_dec", features, width)
    encoder_bias = torch.zeros(features) if kind == "gated" else weights.take("b_enc", features)
    decoder_bias = weights.take("b_dec", width)
    if config.is_on("rescale_acts_by_decoder_norm") and kind in ("topk", "batchtopk", "matryoshka_batchtopk"):
        # Codes are chosen and given as if the decoder's rows had length 1: so they get it.
        norms = decoder.norm(dim=1)
        if not norms.all():
            raise UserError(f"{path} has a feature without a decoder, which cannot be brought to length 1")
        encoder, encoder_bias, decoder = encoder * norms[:, None], encoder_bias * norms, decoder / norms[:, None]
    sae = SAE(
        encoder,
        encoder_bias,
        decoder,
        decoder_bias,
        _activation(kind, config, weights, features),
        centre=decoder_bias if config.is_on("apply_b_dec_to_input", otherwise=True) else None,
        scaling=_SCALINGS.get(_normalisation(config)),
        layer=asked.agreed(layer),
        name=asked.name,
        promised_l0=_k(config) or None,
        model=metadata.text("model_name"),
        format="SAELens",
        config=config.values,
        notes=_notes(metadata, asked),
    )
    scale = _scale(path, config, weights, asked)
    return sae if scale is None else sae.at_scale(scale)


def _kind(config: Config) -> str:
    kind = config.text("architecture") or "standard"
    function = config.text("activation_fn_str") or config.text("activation_fn") or "relu"
    if kind == "standard" and function == "topk":
        kind = "topk"
    if kind not in _KINDS or (function not in ("relu", "topk")):
        raise UserError(
            f"{config.path} names the architecture {kind!r} with {function!r}; Personascope reads {', '.join(_KINDS)} of "
            "SAELens"
        )
    return kind


def _layer(config: Config, metadata: Config, asked: Asked) -> int | None:
    hook = metadata.text("hook_name") or metadata.text("hook_point")
    for source, keys in ((metadata, ("hook_head_index", "hook_point_head_index")), (config, ("hook_name_out",))):
        if any(source.values.get(key) is not None for key in keys):
            raise UserError(f"{asked.name} was not trained on a layer's whole residual stream; choose an SAE that was")
    if metadata.values.get("hook_name_out") is not None:
        raise UserError(
            f"{asked.name} is a transcoder, from one place to another; choose an SAE of the residual stream"
        )
    return None if hook is None else layer_of(hook, asked.name)


def _activation(kind: str, config: Config, weights: Weights, features: int) -> Activation:
    if kind == "topk":
        k = _k(config)
        if not 1 <= k <= features or k != int(k):
            raise UserError(f"{config.path} needs a k from 1 to its {features} features, not {k:g}")
        return TopK(int(k))
    if kind == "jumprelu":
        return Threshold(weights.take("threshold", features))
    if kind == "gated":
        bias, gate = weights.take("b_mag", features), weights.take("b_gate", features)
        return Gated(weights.take("r_mag", features).exp(), bias, gate)
    if kind == "standard":
        return Relu()
    # A checkpoint of training: BatchTopK SAEs that are finished are kept as JumpReLU.
    threshold = weights.scalar("topk_threshold")
    if not threshold or threshold < 0:
        raise UserError(
            f"{weights.path} has no threshold yet: training ended before it was set, and without one every feature fires "
            "that is above 0; take a later checkpoint"
        )
    return Threshold(torch.tensor(threshold, dtype=torch.float32))


def _k(config: Config) -> float:
    return config.number("k") or config.part("activation_fn_kwargs").number("k") or 0.0


def _normalisation(config: Config) -> str:
    value = config.values.get("normalize_activations")
    if value is None or isinstance(value, bool):  # as versions before 3 said it
        return _AVERAGE if value else "none"
    name = config.text("normalize_activations") or "none"
    if name not in _SCALINGS and name != _AVERAGE:
        raise UserError(f"{config.path} has normalize_activations={name!r}, which Personascope cannot undo")
    return name


def _scale(path: Path, config: Config, weights: Weights, asked: Asked) -> float | None:
    """The constant factor on the inputs, None if there is none."""
    if "scaling_factor" in weights:
        factors: Tensor = weights.load("scaling_factor").float()
        if not torch.allclose(factors, torch.ones_like(factors)):
            raise UserError(f"{path} was fine-tuned with a scaling factor of its own, which Personascope does not read")
    averaged = _normalisation(config) == _AVERAGE
    kept = Config.read_if_there(path.parent / "activation_scaler.json").number("scaling_factor") if averaged else None
    asked.refuse_spare(scale=averaged and kept is None)
    if not averaged:
        return None
    scale = kept if kept is not None else asked.scale
    if scale is None:
        raise UserError(
            f"{asked.name} was trained on activations that were brought to an average norm of √{weights.size('W_enc')[0]}, "
            "and its folder has lost the factor; give it as scale= (--scale), or scale=1 if it was folded into the weights"
        )
    if not scale > 0:
        raise UserError(f"{asked.name} needs a scale above 0, not {scale}")
    return scale


def _notes(metadata: Config, asked: Asked) -> tuple[str, ...]:
    if metadata.part("model_from_pretrained_kwargs").values.get("center_writing_weights"):
        return (
            f"{asked.name} was trained on a residual stream with its mean taken off (center_writing_weights), and the stream "
            "of a Hugging Face model keeps it; its codes may differ",
        )
    return ()
