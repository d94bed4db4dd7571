"""Ways of carrying a vector from one model's residual stream to another's: vectors of the source in, of the target out."""

from typing import Literal, get_args

import torch
from torch import Tensor

from personascope.engine.noise import derive_seed

Method = Literal[
    "baseline",
    "zero_pad",
    "interpolate",
    "random_proj",
    "ridge_mapped",
    "procrustes",
    "procrustes_whitened",
    "oracle",
    "random",
    "shuffled",
    "wrong_persona",
    "system_prompt",
    "oracle_1_pair",
    "oracle_2_pairs",
    "oracle_5_pairs",
]
# Those that are run where none are named: all but one that adds to the grid and to the others little that is new.
METHODS: tuple[Method, ...] = tuple(one for one in get_args(Method) if one != "procrustes_whitened")
# Those that know nothing of the target: what any honest way has to beat.
NAIVE: tuple[Method, ...] = ("zero_pad", "interpolate", "random_proj")
# Those that carry something else than the persona.
CONTROLS: tuple[Method, ...] = ("random", "shuffled", "wrong_persona")
# How many contrast pairs of the target each takes.
FEW: dict[Method, int] = {"oracle_1_pair": 1, "oracle_2_pairs": 2, "oracle_5_pairs": 5}


def zero_pad(vector: Tensor, width: int) -> Tensor:
    """[width]: the coordinates as they are, zeros after them; cut off where the source is wider."""
    out = torch.zeros(width)
    kept = min(width, len(vector))
    out[:kept] = vector[:kept]
    return out


def interpolate(vector: Tensor, width: int) -> Tensor:
    """[width]: the coordinates read as samples of a line, end on end, and sampled anew."""
    return torch.nn.functional.interpolate(vector[None, None], size=width, mode="linear", align_corners=True)[0, 0]


def random_proj(vector: Tensor, width: int, seed: int = 0) -> Tensor:
    """[width]: vQ with Q semi-orthogonal, drawn evenly: QQᵀ = I, or QᵀQ = I where the source is wider. Every vector of the
    same widths and seed meets the same Q."""
    draw = torch.Generator().manual_seed(derive_seed("semi-orthogonal", seed, len(vector), width))
    tall = max(len(vector), width), min(len(vector), width)
    q, r = torch.linalg.qr(torch.randn(tall, generator=draw, dtype=torch.float64))
    q = q * r.diagonal().sign()
    q = q.T if len(vector) < width else q
    return (vector.double() @ q).float()
