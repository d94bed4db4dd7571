"""Carrying a persona from one model to another: paired activations, and linear maps fitted to them."""

import sys
from types import ModuleType
from typing import Any

from personascope.transfer.config import TransferConfig
from personascope.transfer.config_file import load_config
from personascope.transfer.experiment import transfer
from personascope.transfer.gathering import gather
from personascope.transfer.map import LinearMap
from personascope.transfer.pairing import pair_activations
from personascope.transfer.pairs import PairedActivations
from personascope.transfer.procrustes import procrustes
from personascope.transfer.reduced_rank import reduced_rank
from personascope.transfer.result import TransferResult
from personascope.transfer.ridge import fit_map, fit_map_from, ridge

__all__ = [
    "LinearMap",
    "PairedActivations",
    "TransferConfig",
    "TransferResult",
    "fit_map",
    "fit_map_from",
    "gather",
    "load_config",
    "pair_activations",
    "procrustes",
    "reduced_rank",
    "ridge",
    "transfer",
]


class _Job(ModuleType):
    """The job and the package it lives in have one name: called, the package does the job."""

    def __call__(self, *given: Any, **settings: Any) -> TransferResult:
        return transfer(*given, **settings)


sys.modules[__name__].__class__ = _Job
