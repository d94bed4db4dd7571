"""How personas live in time: whether they stay when steering stops, and along a conversation."""

import sys
from types import ModuleType
from typing import Any

from personascope.persistence.continuous import persistence
from personascope.persistence.crossing import Crossing, cross
from personascope.persistence.curves import Arm, Persistence
from personascope.persistence.decay import Decay, fit_decay
from personascope.persistence.insertion import insertion
from personascope.persistence.nearest import Classification, classify
from personascope.persistence.signature import Drift, Insertion
from personascope.persistence.simulate import scripts_from, simulate

__all__ = [
    "Arm",
    "Classification",
    "Crossing",
    "Decay",
    "Drift",
    "Insertion",
    "Persistence",
    "classify",
    "cross",
    "fit_decay",
    "insertion",
    "persistence",
    "scripts_from",
    "simulate",
]


class _Job(ModuleType):
    """The job and the package it lives in have one name: called, the package does the job."""

    def __call__(self, *given: Any, **settings: Any) -> Persistence:
        return persistence(*given, **settings)


sys.modules[__name__].__class__ = _Job
