"""SAEs of EleutherAI's sparsify: `sae.safetensors` with `cfg.json`, in a folder named after its module."""

import re
from pathlib import Path

from personascope.errors import UserError
from personascope.features.activation import TopK
from personascope.features.formats.asked import Asked, layer_of
from personascope.features.formats.config import Config
from personascope.features.formats.weights import read_safetensors
from personascope.features.sae import SAE

# A folder named as a module path, layers.5 or layers.5.mlp.
_MODULE = re.compile(r"(?:[A-Za-z_]+\.)*(?:layers|h)\.\d+(?:\.\w+)*|embed_tokens|wte|embed_in")


def read(path: Path, asked: Asked) -> SAE:
    """A TopK SAE. Raises `UserError` on a transcoder, on groupmax, and on one of another place than the residual stream."""
    asked.refuse_spare()
    config = Config.read(path.parent / "cfg.json")
    if config.is_on("transcode") or config.is_on("skip_connection"):
        raise UserError(
            f"{asked.name} is a transcoder, from one place to another; choose an SAE of the residual stream"
        )
    activation = config.text("activation") or "topk"
    if activation != "topk" or config.is_on("signed"):
        raise UserError(
            f"{config.path} has activation={activation!r}{' and signed codes' if config.is_on('signed') else ''}; "
            "Personascope reads topk of sparsify"
        )
    module = path.parent.name
    layer = asked.agreed(layer_of(module, asked.name) if _MODULE.fullmatch(module) else None)
    weights = read_safetensors(path)
    features, width = weights.size("encoder.weight")
    said = config.whole("num_latents") or (config.whole("d_in") or 0) * (config.whole("expansion_factor") or 0)
    if said and said != features:
        raise UserError(
            f"{path} has {features} features, and the settings beside it say {said}; one of the two is wrong"
        )
    k = config.whole("k")
    if k is None or not 1 <= k <= features:
        raise UserError(f"{config.path} needs a k from 1 to its {features} features, not {k}")
    bias = weights.take("b_dec", width)
    return SAE(
        weights.take("encoder.weight", features, width),
        weights.take("encoder.bias", features),
        weights.take("W_dec", features, width),
        bias,
        TopK(k),
        centre=bias,
        layer=layer,
        name=asked.name,
        promised_l0=float(k),
        model=Config.read_if_there(path.parent.parent / "config.json").text("model"),
        format="sparsify",
        config=config.values,
    )
