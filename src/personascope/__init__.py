"""Personascope: find, watch, steer, explain and transport personas in open-weight language models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personascope.comparing import diff, screen
    from personascope.corpora import Corpus, Record, Transcript, read_corpus, read_transcripts
    from personascope.directions import Direction, DirectionSet
    from personascope.directions.doors import load_directions
    from personascope.engine import ablate, activations, add, cap, generate, load, replace
    from personascope.errors import NonFinite, PersonascopeError, UserError
    from personascope.extraction import assistant_axis, extract, extract_from_texts
    from personascope.features import SAE, decompose, explain, find_features, load_sae, mine_features, steer_features
    from personascope.persistence.continuous import persistence
    from personascope.persistence.insertion import insertion
    from personascope.transfer import fit_map
    from personascope.transfer.experiment import transfer
    from personascope.watching import watch

__version__ = "0.1.0"

# Jobs that share their name with the package they live in; the package can be called.
_JOBS = ("persistence", "transfer")
# Each name is imported when it is first used: torch and transformers take seconds that `personascope traits` can do without.
_HOMES = {
    "Corpus": "corpora",
    "Direction": "directions",
    "DirectionSet": "directions",
    "NonFinite": "errors",
    "PersonascopeError": "errors",
    "Record": "corpora",
    "SAE": "features",
    "Transcript": "corpora",
    "UserError": "errors",
    "ablate": "engine",
    "activations": "engine",
    "add": "engine",
    "assistant_axis": "extraction",
    "cap": "engine",
    "decompose": "features.decompose",
    "diff": "comparing",
    "explain": "features.explain",
    "extract": "extraction",
    "extract_from_texts": "extraction",
    "find_features": "features",
    "fit_map": "transfer",
    "generate": "engine",
    "insertion": "persistence.insertion",
    "load": "engine",
    "load_directions": "directions.doors",
    "load_sae": "features",
    "mine_features": "features",
    "read_corpus": "corpora",
    "read_transcripts": "corpora",
    "replace": "engine",
    "screen": "comparing",
    "steer_features": "features.steering",
    "watch": "watching",
}

__all__ = [
    "SAE",
    "Corpus",
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
    "decompose",
    "diff",
    "explain",
    "extract",
    "extract_from_texts",
    "find_features",
    "fit_map",
    "generate",
    "insertion",
    "load",
    "load_directions",
    "load_sae",
    "mine_features",
    "persistence",
    "read_corpus",
    "read_transcripts",
    "replace",
    "screen",
    "steer_features",
    "transfer",
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
