"""Directions from other tools' files, and into them."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from personascope.directions.direction import real_numbers
from personascope.directions.direction_set import FORMAT, DirectionSet
from personascope.directions.gguf import ControlVector, read_gguf, write_gguf
from personascope.directions.torch_files import KINDS, block_count, read_torch, write_persona_vectors
from personascope.errors import NonFinite, UserError
from personascope.runs.files import aside

_FOREIGN = (".pt", ".gguf", ".npz")
_LAYER = re.compile(r"layer\.([0-9]{1,9})")


def import_directions(
    path: str | Path, name: str | None = None, layer: int | None = None, kind: str | None = None
) -> list[DirectionSet]:
    """The directions of another tool's file, by its ending.

    `.pt`: persona-vectors (`{trait}_response_avg_diff.pt`), persona-subspace bundles, assistant-axis role vectors, axes
    and capping files. `.gguf`: control vectors of llama.cpp and repeng. `.npz`, `.safetensors`: our own, or tensors
    named `layer.N`. name: instead of the file's, where it holds one direction. layer: of a file with one vector that does
    not say where it belongs. kind: what the rows of a bare tensor are, `persona-vectors` (row = block + 1) or `blocks`.
    Raises `UserError` on a file that is none of these, and on a name or layer that the file has no use for.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise UserError(f"--as {kind!r} is not known; use {' or '.join(KINDS)}")
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file of vectors")
    sets = _read(path, layer, kind)
    if layer is not None and any(one.layers != (layer,) for one in sets):
        raise UserError(f"{path} says itself at which layers its vectors are; leave --layer out")
    if name is None:
        return sets
    if len(sets) > 1:
        held = ", ".join(one.name for one in sets[:5]) + (" …" if len(sets) > 5 else "")
        raise UserError(f"{path} holds {len(sets)} directions ({held}), which cannot all be {name!r}; leave --name out")
    return [sets[0].named(name)]


def _read(path: Path, layer: int | None, kind: str | None) -> list[DirectionSet]:
    if path.suffix == ".pt":
        return read_torch(path, layer, kind)
    if path.suffix == ".gguf":
        vector = read_gguf(path)
        provenance = {"source": "GGUF control vector", "model_hint": vector.model_hint}
        return [_from_layers(path, dict(vector.directions), vector.name or path.stem, provenance)]
    if path.suffix == ".npz":
        return [_from_named(path, _numpy_arrays(path), "numpy")]
    if path.suffix == ".safetensors":
        tensors = _foreign_tensors(path)
        return [DirectionSet.load(path)] if tensors is None else [_from_named(path, tensors, "safetensors")]
    if path.is_dir():
        return load_directions(path)
    raise UserError(f"{path} is of no known kind; use .pt, .gguf, .npz or .safetensors")


def load_directions(folder: str | Path | Sequence[str | Path]) -> list[DirectionSet]:
    """Every directions file of a folder (or of a run's `directions/`), by name; or those of one file, also of another
    tool's (`.pt`, `.gguf`, `.npz`); or those of several. Raises `UserError` where there are none, and where two of several
    have the same name.
    """
    if not isinstance(folder, str | Path):
        found = [one for each in folder for one in load_directions(each)]
        names = [one.name for one in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{twice!r} stands in two of the folders of directions; give only one of them")
        return found
    path = Path(folder)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a folder of directions, or a run that has some")
    if path.is_file():
        return import_directions(path) if path.suffix in _FOREIGN else [DirectionSet.load(path)]
    if (path / "directions").is_dir():
        path = path / "directions"
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} holds no directions; `personascope extract` or `personascope demo` writes some")
    return [DirectionSet.load(file) for file in files]


def export_directions(directions: DirectionSet, path: str | Path, n_layers: int | None = None) -> Path:
    """Write directions for another tool, by the file's ending: `.gguf` (llama.cpp, repeng), `.pt` (persona-vectors),
    `.npz` (numpy, one array `layer.N` each) or `.safetensors` (ours). n_layers: of the model, for `.pt`.

    Raises `UserError` where the format has no place for a layer.
    """
    path = Path(path)
    writers: dict[str, Callable[[], Path]] = {
        ".gguf": lambda: write_gguf(
            path,
            ControlVector(
                {one.layer: one.vector.numpy() for one in directions},
                str(directions.provenance.get("architecture", directions.provenance.get("model", ""))),
                directions.name,
            ),
        ),
        ".pt": lambda: write_persona_vectors(path, directions, n_layers),
        ".npz": lambda: _to_numpy(path, directions),
        ".safetensors": lambda: directions.save(path),
    }
    if path.suffix not in writers:
        raise UserError(f"{path} is of no known kind; use {', '.join(writers)}")
    return writers[path.suffix]()


def placed_layers(directions: DirectionSet, path: str | Path, n_layers: int | None = None) -> list[int]:
    """The layers that a file of this ending has a place for. n_layers: as for `export_directions`.

    Raises `UserError` where a model of n_layers has not all of the directions' layers.
    """
    count = block_count(directions, n_layers)
    if Path(path).suffix == ".gguf":
        return [layer for layer in directions.layers if layer >= 1]
    if Path(path).suffix == ".pt":
        return [layer for layer in directions.layers if layer <= count - 2]
    return list(directions.layers)


def _to_numpy(path: Path, directions: DirectionSet) -> Path:
    with aside(path) as part, open(part, "wb") as file:
        np.savez(file, **{f"layer.{one.layer}": one.vector.numpy() for one in directions})  # type: ignore[arg-type]
    return path


def _numpy_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{path} holds a single array and is an .npy file; save it with np.savez, as layer.N")
        with file:
            return {key: file[key] for key in file.files}
    except UserError:
        raise
    except Exception as error:
        # What is cut short or damaged fails as zip, as zlib or as numpy's header, each with errors of its own.
        raise UserError(f"{path} is not a readable .npz file; it is damaged or something else") from error


def _foreign_tensors(path: Path) -> dict[str, np.ndarray] | None:
    """The tensors of a safetensors file; None where it is ours, or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                return None
            keys = list(file.keys())
            # Before anything is read: the file may be a whole model's.
            for key in keys:
                _layer_of(path, key)
            return {key: real_numbers(file.get_tensor(key), f"{path}, {key}").numpy() for key in keys}
    except (SafetensorError, OSError):
        return None


def _layer_of(path: Path, key: str) -> int:
    matched = _LAYER.fullmatch(key)
    if matched is None:
        raise UserError(f"{path} holds an array {key!r}; name one-dimensional arrays layer.0, layer.1 …")
    return int(matched[1])


def _from_named(path: Path, arrays: Mapping[str, np.ndarray], source: str) -> DirectionSet:
    """From arrays named `layer.N`, [hidden] each."""
    layers: dict[int, np.ndarray] = {}
    for key, values in arrays.items():
        layer = _layer_of(path, key)
        if values.ndim != 1:
            raise UserError(f"{path}: {key} has shape {list(values.shape)}, and a direction is one-dimensional")
        if layer in layers:
            raise UserError(f"{path} has two arrays of layer {layer}; leave one of them out")
        if values.dtype.kind not in "fiu":
            raise UserError(f"{path}: {key} holds {values.dtype} values, and a direction has real numbers")
        layers[layer] = values
    return _from_layers(path, layers, path.stem, {"source": source})


def _from_layers(path: Path, layers: dict[int, np.ndarray], name: str, provenance: dict[str, str]) -> DirectionSet:
    if not layers:
        raise UserError(f"{path} holds no directions")
    widths: Sequence[int] = sorted({len(values) for values in layers.values()})
    if len(widths) > 1:
        raise UserError(f"{path} holds vectors of widths {', '.join(map(str, widths))}; they must be of one model")
    # A number too large for float32 becomes infinity, which is refused below.
    with np.errstate(over="ignore"):
        vectors = torch.stack([torch.from_numpy(np.array(layers[layer], dtype=np.float32)) for layer in sorted(layers)])
    try:
        return DirectionSet(name, tuple(sorted(layers)), vectors, provenance=provenance)
    except NonFinite as error:
        raise UserError(f"{path}: {error}") from error
