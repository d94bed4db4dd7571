"""The engine: reading and writing the residual stream, and generating meanwhile."""

from personascope.engine.activations import activations
from personascope.engine.generate import generate
from personascope.engine.load import load
from personascope.engine.rows import Generation, Request
from personascope.engine.stream import RowStream
from personascope.engine.writes import Write, ablate, add, cap, replace

__all__ = [
    "Generation",
    "Request",
    "RowStream",
    "Write",
    "ablate",
    "activations",
    "add",
    "cap",
    "generate",
    "load",
    "replace",
]
