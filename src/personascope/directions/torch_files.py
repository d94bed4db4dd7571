"""PyTorch files of the field: persona vectors, persona bundles, role vectors, the assistant axis, capping files."""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personascope.directions.direction_set import DirectionSet
from personascope.errors import UserError
from personascope.runs.files import aside

# How persona-vectors names its files, and which tokens the name stands for.
_PERSONA_VECTORS = re.compile(r"(?P<trait>.+)_(?P<tokens>prompt_avg|response_avg|prompt_last)_diff")
_TOKENS = {"prompt_avg": "prompt", "response_avg": "response", "prompt_last": "prompt[-1]"}
KINDS = ("persona-vectors", "blocks")


def read_torch(path: Path, name: str | None, layer: int | None, kind: str | None) -> list[DirectionSet]:
    """The directions of a `.pt` file. kind says what the rows of a bare tensor are: `persona-vectors` (row r is block
    r − 1's output) or `blocks` (row r is block r's). layer: where a single vector belongs.

    Raises `UserError` on a file that wants to run code, and on one of another shape.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and plain values, and is not loaded") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} is not a readable PyTorch file: {error}") from error
    if isinstance(value, Tensor):
        return [_tensor(path, value, name, layer, kind)]
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} and no vectors")
    if "contrast_vectors" in value:
        return _bundle(path, value)
    if "experiments" in value and "vectors" in value:
        return _capping(path, value)
    if "axis" in value:
        return [_blocks(path, value["axis"], name or path.stem, layer, {"source": "assistant-axis", "kind": "axis"})]
    if "vector" in value:
        role = str(value.get("role") or name or path.stem)
        source = {"source": "assistant-axis", "kind": "role vector", "type": str(value.get("type", ""))}
        return [_blocks(path, value["vector"], name or role, layer, source)]
    raise UserError(f"{path} holds {', '.join(map(str, value)) or 'nothing'}, and none of the known kinds of vectors")


def write_persona_vectors(path: Path, directions: DirectionSet, n_layers: int | None = None) -> Path:
    """Write `[n_layers + 1, hidden]`, where row r is block r − 1's output, as persona-vectors does.

    Rows 0 (the embedding) and n_layers (after the final norm) are no block's output and hold zeros, and so do rows of
    layers that are not there. Raises `UserError` on a direction at the last block, which has no row.
    """
    count = block_count(directions, n_layers)
    if directions.layers[-1] > count - 2:
        raise UserError(
            f"persona-vectors files have no row for the last of {count} blocks (theirs is after the final norm); leave "
            f"layer {directions.layers[-1]} out with --layers"
        )
    rows = torch.zeros(count + 1, directions.vectors.shape[1])
    rows[[layer + 1 for layer in directions.layers]] = directions.vectors
    with aside(path) as part:
        torch.save(rows, part)
    return path


def block_count(directions: DirectionSet, n_layers: int | None) -> int:
    """How many blocks the directions' model has: as said, as the directions remember, or just enough for them."""
    return n_layers or int(directions.provenance.get("layers", directions.layers[-1] + 2))


def _tensor(path: Path, value: Tensor, name: str | None, layer: int | None, kind: str | None) -> DirectionSet:
    named = _PERSONA_VECTORS.fullmatch(path.stem)
    if kind is None and value.ndim == 2 and named is None:
        raise UserError(
            f"{path} is a bare tensor, and its name does not say what its rows are; say --as persona-vectors (row 1 is "
            "block 0) or --as blocks (row 0 is block 0)"
        )
    if kind == "blocks" or value.ndim != 2:
        return _blocks(path, value, name or path.stem, layer, {"source": "tensor"})
    _check(path, value, 2)
    if len(value) < 3:
        raise UserError(f"{path} has {len(value)} rows; a persona-vectors file has one for each block and one more")
    # Row 0 is the embedding, and the last row has been through the final norm: neither is a block's output.
    source: dict[str, Any] = {
        "source": "persona-vectors",
        "rows": f"row r of {len(value)} is block r - 1; rows 0 and {len(value) - 1} are left out",
        "layers": len(value) - 1,
    }
    if named is not None:
        source["tokens"] = _TOKENS[named["tokens"]]
    trait = name or (named["trait"] if named is not None else path.stem)
    # A row of zeros stands for a layer that was not written.
    kept = [row for row in range(1, len(value) - 1) if bool(value[row].any())]
    if not kept:
        raise UserError(f"{path} holds zeros only")
    return DirectionSet(trait, tuple(row - 1 for row in kept), value[kept].float(), provenance=source)


def _blocks(path: Path, value: Any, name: str, layer: int | None, source: Mapping[str, Any]) -> DirectionSet:
    """A tensor whose row is the block; a single vector belongs to `layer`."""
    if not isinstance(value, Tensor) or value.ndim not in (1, 2):
        raise UserError(f"{path} should hold a tensor [layers, hidden] or [hidden]")
    _check(path, value, value.ndim)
    if value.ndim == 1:
        if layer is None:
            raise UserError(f"{path} holds one vector and does not say at which layer; give --layer")
        return DirectionSet(name, (layer,), value[None].float(), provenance=dict(source))
    return DirectionSet(name, tuple(range(len(value))), value.float(), provenance={**source, "layers": len(value)})


def _bundle(path: Path, value: Mapping[str, Any]) -> list[DirectionSet]:
    """persona-subspace: contrast vectors [personas, layers, hidden] with their names; layer index = block index."""
    vectors, names = value["contrast_vectors"], value.get("persona_names")
    if not isinstance(vectors, Tensor) or vectors.ndim != 3 or not isinstance(names, Sequence):
        raise UserError(f"{path} should hold contrast_vectors [personas, layers, hidden] and persona_names")
    if len(names) != len(vectors):
        raise UserError(f"{path} has {len(names)} persona names and {len(vectors)} rows of vectors; they must agree")
    _check(path, vectors, 3)
    readable = value.get("personas", {}).get("personas", {}) if isinstance(value.get("personas"), dict) else {}
    layers = tuple(range(vectors.shape[1]))
    return [
        DirectionSet(
            str(name),
            layers,
            rows.float(),
            provenance={
                "source": "persona-subspace",
                "layers": len(layers),
                "readable_name": str(readable.get(name, {}).get("readable_name", name)),
            },
        )
        for name, rows in zip(names, vectors, strict=True)
    ]


def _capping(path: Path, value: Mapping[str, Any]) -> list[DirectionSet]:
    """Vectors with the ceilings that experiments put on them: `choices["ceilings"]`, by experiment."""
    ceilings: dict[str, dict[str, float]] = {}
    for experiment in value["experiments"]:
        for intervention in experiment["interventions"]:
            caps = ceilings.setdefault(str(intervention["vector"]), {})
            caps[str(experiment["id"])] = float(intervention["cap"])
    unknown = sorted(set(ceilings) - set(map(str, value["vectors"])))
    if unknown:
        raise UserError(f"{path} caps {unknown[0]!r}, which is not among its vectors")
    found = []
    for name, entry in value["vectors"].items():
        one = _blocks(path, entry["vector"], str(name), int(entry["layer"]), {"source": "assistant-axis capping"})
        found.append(
            DirectionSet(one.name, one.layers, one.vectors, {}, {"ceilings": ceilings.get(name, {})}, one.provenance)
        )
    return found


def _check(path: Path, value: Tensor, dimensions: int) -> None:
    if value.ndim != dimensions or not value.numel():
        raise UserError(f"{path} holds a tensor of shape {list(value.shape)}, which is no set of vectors")
    if not torch.isfinite(value).all():
        row = (~torch.isfinite(value)).nonzero()[0].tolist()
        raise UserError(f"{path} holds NaN or infinity in row {row[-2] if len(row) > 1 else 0}; extract it again")
