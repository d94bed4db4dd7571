"""Carrying a persona from one model to another: paired activations, and linear maps fitted to them."""

from personascope.transfer.gathering import gather
from personascope.transfer.map import LinearMap
from personascope.transfer.pairing import pair_activations
from personascope.transfer.pairs import PairedActivations
from personascope.transfer.procrustes import procrustes
from personascope.transfer.reduced_rank import reduced_rank
from personascope.transfer.ridge import fit_map, fit_map_from, ridge

__all__ = [
    "LinearMap",
    "PairedActivations",
    "fit_map",
    "fit_map_from",
    "gather",
    "pair_activations",
    "procrustes",
    "reduced_rank",
    "ridge",
]
