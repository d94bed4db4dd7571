"""The formats that are read, by the names of their files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from personascope.features.formats import dictionary_learning, gemma_scope, llama_scope, saelens, sparsify
from personascope.features.formats.asked import Asked
from personascope.features.sae import SAE


@dataclass(frozen=True)
class Format:
    """weights: names of the file with the weights, below the SAE's folder. beside: settings that may lie in that folder,
    or above it. read: the SAE of a file with weights.
    """

    name: str
    weights: tuple[str, ...]
    beside: tuple[str, ...]
    read: Callable[[Path, Asked], SAE]

    def home(self, file: PurePosixPath) -> PurePosixPath | None:
        """The SAE's folder, if the file holds weights of this format."""
        for name in self.weights:
            parts = PurePosixPath(name).parts
            if file.parts[-len(parts) :] == parts:
                return PurePosixPath(*file.parts[: -len(parts)])
        return None


FORMATS = (
    Format("dictionary_learning", ("ae.pt",), ("config.json",), dictionary_learning.read),
    Format(
        "SAELens",
        ("sae_weights.safetensors",),
        ("cfg.json", "activation_scaler.json"),
        saelens.read,
    ),
    Format("Gemma Scope", ("params.npz", "params.safetensors"), ("config.json",), gemma_scope.read),
    Format(
        "Llama Scope",
        ("checkpoints/final.safetensors", "final.safetensors"),
        ("hyperparams.json", "lm_config.json"),
        llama_scope.read,
    ),
    Format("sparsify", ("sae.safetensors",), ("cfg.json", "../config.json"), sparsify.read),
)


def format_of(file: PurePosixPath) -> tuple[Format, PurePosixPath] | None:
    """The format that a file of weights has by its name, and the SAE's folder; None if it is no such file."""
    for known in FORMATS:
        home = known.home(file)
        if home is not None:
            return known, home
    return None


def looked_for() -> str:
    """The files that make an SAE, in words."""
    return "; ".join(f"{' or '.join(known.weights)} ({known.name})" for known in FORMATS)
