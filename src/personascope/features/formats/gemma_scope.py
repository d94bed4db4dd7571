"""Gemma Scope: `params.npz` in folders `layer_i/width_16k/average_l0_n`; and Gemma Scope 2, `params.safetensors`."""

import re
from pathlib import Path

from personascope.errors import UserError
from personascope.features.activation import Threshold
from personascope.features.formats.asked import Asked, layer_of
from personascope.features.formats.config import Config
from personascope.features.formats.weights import read_npz, read_safetensors
from personascope.features.sae import SAE

_LAYER = re.compile(r"(?:^|[/_])layer_(\d+)(?=/|_|$)")
_L0 = re.compile(r"average_l0_(\d+(?:\.\d+)?)")
_REPO = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(\w+)")
_ELSEWHERE = re.compile(r"embedding|transcoder|attn_out|mlp_out|(?:^|/)clt")


def read(path: Path, asked: Asked) -> SAE:
    """JumpReLU SAEs, whose place and L0 stand in the names of their folders. They were not trained on BOS.

    Raises `UserError` where the names say that they were trained elsewhere than on the residual stream.
    """
    asked.refuse_spare()
    where = path.parent.as_posix()
    repo, elsewhere = _REPO.search(asked.name) or _REPO.search(where), _ELSEWHERE.search(asked.name)
    if elsewhere or (repo and repo[3] != "res"):
        raise UserError(
            f"{asked.name} was trained on {elsewhere[0] if elsewhere else repo and repo[3]}, and Personascope reads the "
            "residual stream after a block; choose one of Gemma Scope's -res SAEs"
        )
    weights = read_npz(path) if path.suffix == ".npz" else read_safetensors(path)
    config = Config.read_if_there(path.parent / "config.json")
    encode, decode = ("W_enc", "W_dec") if "W_enc" in weights else ("w_enc", "w_dec")
    if "affine_skip_connection" in weights:
        raise UserError(
            f"{asked.name} is a transcoder, from one place to another; choose an SAE of the residual stream"
        )
    width, features = weights.size(encode)
    return SAE(
        weights.take(encode, width, features).T,
        weights.take("b_enc", features),
        weights.take(decode, features, width),
        weights.take("b_dec", width),
        Threshold(weights.take("threshold", features)),
        layer=asked.agreed(_layer(config, asked)),
        name=asked.name,
        promised_l0=_promise(asked.name),
        model=config.text("model_name") or (_model(repo) if repo else None),
        format="Gemma Scope",
        config=config.values,
    )


def _layer(config: Config, asked: Asked) -> int | None:
    if hook := config.text("hf_hook_point_in"):
        return layer_of(hook, asked.name)
    found = _LAYER.findall(asked.name)
    return int(found[-1]) if found else None


def _promise(name: str) -> float | None:
    found = _L0.findall(name)
    return float(found[-1]) if found else None


def _model(repo: re.Match[str]) -> str:
    return f"google/gemma-2-{repo[1]}" + ("-it" if repo[2] == "it" else "")
