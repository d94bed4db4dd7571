"""Personascope: find, watch, steer, explain and transport personas in open-weight language models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personascope.comparing import diff, screen
    from personascope.corpora import Record, Transcript, read_transcripts
    from personascope.directions import Direction, DirectionSet
    from personascope.directions.doors import load_directions
    from personascope.engine import ablate, activations, add, cap, generate, load, replace
    from personascope.errors import NonFinite, PersonascopeError, UserError
    from personascope.extraction import assistant_axis, extract, extract_from_texts
    from personascope.persistence.continuous import persistence
    from personascope.persistence.insertion import insertion
    from personascope.watching import watch

__version__ = "0.1.0"

# Jobs that share their name with the package they live in; the package can be called.
_JOBS = ("persistence",)
# Each name is imported when it is first used: torch and transformers take seconds that `personascope traits` can do without.
_HOMES = {
    "Direction": "directions",
    "DirectionSet": "directions",
    "NonFinite": "errors",
    "PersonascopeError": "errors",
    "Record": "corpora",
    "Transcript": "corpora",
    "UserError": "errors",
    "ablate": "engine",
    "activations": "engine",
    "add": "engine",
    "assistant_axis": "extraction",
    "cap": "engine",
    "diff": "comparing",
    "extract": "extraction",
    "extract_from_texts": "extraction",
    "generate": "engine",
    "insertion": "persistence.insertion",
    "load": "engine",
    "load_directions": "directions.doors",
    "read_transcripts": "corpora",
    "replace": "engine",
    "screen": "comparing",
    "watch": "watching",
}

__all__ = [
    "Direction",
    "DirectionSet",
    "NonFinite",
    "PersonascopeError",
    "Record",
    "Transcript",
    "UserError",
    "ablate",
    "activations",
    "add",
    "assistant_axis",
    "cap",
    "diff",
    "extract",
    "extract_from_texts",
    "generate",
    "insertion",
    "load",
    "load_directions",
    "persistence",
    "read_transcripts",
    "replace",
    "screen",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _JOBS:
        return import_module(f"personascope.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'personascope' has no attribute {name!r}")
    value = getattr(import_module(f"personascope.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_JOBS})
