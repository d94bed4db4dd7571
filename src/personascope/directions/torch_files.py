"""PyTorch files of the field: persona vectors, persona bundles, role vectors, the assistant axis, capping files."""

import math
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personascope.directions.direction import real_numbers
from personascope.directions.direction_set import DirectionSet
from personascope.errors import UserError
from personascope.runs.files import aside

# How persona-vectors names its files, and which tokens the name stands for.
_PERSONA_VECTORS = re.compile(r"(?P<trait>.+)_(?P<tokens>prompt_avg|response_avg|prompt_last)_diff")
_TOKENS = {"prompt_avg": "prompt", "response_avg": "response", "prompt_last": "prompt[-1]"}
KINDS = ("persona-vectors", "blocks")


def read_torch(path: Path, layer: int | None, kind: str | None) -> list[DirectionSet]:
    """The directions of a `.pt` file. kind says what the rows of a bare tensor are: `persona-vectors` (row r is block
    r − 1's output) or `blocks` (row r is block r's). layer: where a single vector belongs.

    Raises `UserError` on a file that wants to run code, and on one of another shape.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and plain values, and is not loaded") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # What is no pickle is taken for one, and fails as whatever its bytes happen to ask for: a KeyError, an IndexError.
        raise UserError(f"{path} is not a readable PyTorch file; it is damaged or something else") from error
    if isinstance(value, Tensor):
        return [_tensor(path, value, layer, kind)]
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} and no vectors")
    if "contrast_vectors" in value:
        return _bundle(path, value)
    if "experiments" in value and "vectors" in value:
        return _capping(path, value)
    if "axis" in value:
        return [_blocks(path, value["axis"], path.stem, layer, {"source": "assistant-axis", "kind": "axis"})]
    if "vector" in value:
        role = str(value.get("role") or path.stem)
        source = {"source": "assistant-axis", "kind": "role vector", "type": str(value.get("type", ""))}
        return [_blocks(path, value["vector"], role, layer, source)]
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
    """How many blocks the directions' model has: as said, as the directions remember, or just enough for them.

    Raises `UserError` where as many as said do not reach up to the directions.
    """
    if n_layers is None:
        return int(directions.provenance.get("layers", directions.layers[-1] + 2))
    if n_layers <= directions.layers[-1]:
        raise UserError(
            f"{directions.name!r} has a direction at layer {directions.layers[-1]}, which a model of {n_layers} layers does "
            "not have; give the number of layers of the model that it comes from"
        )
    return n_layers


def _tensor(path: Path, value: Tensor, layer: int | None, kind: str | None) -> DirectionSet:
    named = _PERSONA_VECTORS.fullmatch(path.stem)
    if kind is None and value.ndim == 2 and named is None:
        raise UserError(
            f"{path} is a bare tensor, and its name does not say what its rows are; say --as persona-vectors (row 1 is "
            "block 0) or --as blocks (row 0 is block 0)"
        )
    if kind == "blocks" or value.ndim != 2:
        return _blocks(path, value, path.stem, layer, {"source": "tensor"})
    value = _numbers(path, value, 2)
    if len(value) < 3:
        raise UserError(f"{path} has {len(value)} rows; a persona-vectors file has one for each block and one more")
    # Row 0 is the embedding, and the last row has been through the final norm: neither is a block's output.
    source: dict[str, Any] = {
        "source": "persona-vectors",
        "rows": f"row r of {len(value)} is block r - 1; rows 0 (embedding) and {len(value) - 1} (after the final norm) are "
        "left out",
        "layers": len(value) - 1,
    }
    if named is not None:
        source["tokens"] = _TOKENS[named["tokens"]]
    trait = named["trait"] if named is not None else path.stem
    # A row of zeros stands for a layer that was not written.
    kept = [row for row in range(1, len(value) - 1) if bool(value[row].any())]
    if not kept:
        raise UserError(f"{path} holds zeros only")
    return DirectionSet(trait, tuple(row - 1 for row in kept), value[kept], provenance=source)


def _blocks(path: Path, value: Any, name: str, layer: int | None, source: Mapping[str, Any]) -> DirectionSet:
    """A tensor whose row is the block; a single vector belongs to `layer`."""
    if not isinstance(value, Tensor) or value.ndim not in (1, 2):
        raise UserError(f"{path} should hold a tensor [layers, hidden] or [hidden]")
    value = _numbers(path, value, value.ndim)
    if value.ndim == 1:
        if layer is None:
            raise UserError(f"{path} holds one vector and does not say at which layer; give --layer")
        return DirectionSet(name, (layer,), value[None], provenance=dict(source))
    return DirectionSet(name, tuple(range(len(value))), value, provenance={**source, "layers": len(value)})


def _bundle(path: Path, value: Mapping[str, Any]) -> list[DirectionSet]:
    """persona-subspace: contrast vectors [personas, layers, hidden] with their names; layer index = block index."""
    vectors, names = value["contrast_vectors"], value.get("persona_names")
    is_listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not isinstance(vectors, Tensor) or vectors.ndim != 3 or names is None or not is_listed:
        raise UserError(
            f"{path} should hold contrast_vectors [personas, layers, hidden] and persona_names, a list of as many texts"
        )
    if len(names) != len(vectors):
        raise UserError(f"{path} has {len(names)} persona names and {len(vectors)} rows of vectors; they must agree")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two personas named {twice!r}; give each a name of its own, or one would be lost")
    vectors = _numbers(path, vectors, 3)
    readable = _readable_names(path, value.get("personas"))
    layers = tuple(range(vectors.shape[1]))
    return [
        DirectionSet(
            name,
            layers,
            rows,
            provenance={
                "source": "persona-subspace",
                "layers": len(layers),
                "readable_name": readable.get(name, name),
            },
        )
        for name, rows in zip(names, vectors, strict=True)
    ]


def _readable_names(path: Path, personas: Any) -> dict[str, str]:
    """What a bundle calls its personas: `{"personas": {name: {"readable_name"}}}`; it may say nothing."""
    if personas is None:
        return {}
    entries = personas.get("personas", {}) if isinstance(personas, Mapping) else personas
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        raise UserError(f"{path}: its personas should be an object for each name, with a readable_name in it")
    return {str(name): str(entry.get("readable_name", name)) for name, entry in entries.items()}


def _capping(path: Path, value: Mapping[str, Any]) -> list[DirectionSet]:
    """Vectors with the ceilings that experiments put on them: `choices["ceilings"]`, by experiment."""
    vectors, experiments = value["vectors"], value["experiments"]
    if not isinstance(vectors, Mapping) or not vectors:
        raise UserError(f"{path}: its vectors should be an object for each name, with a vector and a layer in it")
    ceilings: dict[str, dict[str, float]] = {}
    for experiment in _listed(path, "experiments", experiments):
        label, interventions = _fields(path, "an experiment", experiment, "id", "interventions")
        for intervention in _listed(path, f"the interventions of {label}", interventions):
            vector, cap = _fields(path, f"an intervention of {label}", intervention, "vector", "cap")
            ceilings.setdefault(str(vector), {})[str(label)] = _finite(path, f"the cap of {label}", cap)
    unknown = sorted(set(ceilings) - set(map(str, vectors)))
    if unknown:
        raise UserError(f"{path} caps {unknown[0]!r}, which is not among its vectors")
    found = []
    for name, entry in vectors.items():
        vector, at = _fields(path, f"vector {str(name)!r}", entry, "vector", "layer")
        layer = _finite(path, f"the layer of {str(name)!r}", at)
        if not layer.is_integer():
            raise UserError(f"{path}: the layer of {str(name)!r} is {layer:g}, and should be a whole number")
        one = _blocks(path, vector, str(name), int(layer), {"source": "assistant-axis capping"})
        choices = {"ceilings": ceilings.get(str(name), {})}
        found.append(DirectionSet(one.name, one.layers, one.vectors, {}, choices, one.provenance))
    return found


def _fields(path: Path, what: str, entry: Any, *names: str) -> tuple[Any, ...]:
    """The fields of an entry. Raises `UserError` naming the one it lacks."""
    lacking = [name for name in names if not isinstance(entry, Mapping) or name not in entry]
    if lacking:
        raise UserError(f"{path}: {what} has no {lacking[0]!r}; it should have {' and '.join(names)}")
    return tuple(entry[name] for name in names)


def _listed(path: Path, what: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise UserError(f"{path}: {what} should be a list")
    return value


def _finite(path: Path, what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{path}: {what} should be a number") from error
    if not math.isfinite(number):
        raise UserError(f"{path}: {what} is {number}, and should be a finite number")
    return number


def _numbers(path: Path, value: Tensor, dimensions: int) -> Tensor:
    """The tensor in float32. Raises `UserError` where it is of another shape or not of finite, real numbers."""
    value = real_numbers(value, str(path))
    if value.ndim != dimensions or not value.numel():
        raise UserError(f"{path} holds a tensor of shape {list(value.shape)}, which is no set of vectors")
    if not torch.isfinite(value).all():
        row = (~torch.isfinite(value)).nonzero()[0].tolist()
        raise UserError(f"{path} holds NaN or infinity in row {row[-2] if len(row) > 1 else 0}; extract it again")
    return value
