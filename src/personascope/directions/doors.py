"""Directions from other tools' files, and into them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from personascope.directions.direction_set import DirectionSet
from personascope.directions.gguf import ControlVector, read_gguf, write_gguf
from personascope.directions.torch_files import KINDS, block_count, read_torch, write_persona_vectors
from personascope.errors import NonFinite, UserError
from personascope.runs.files import aside

_FOREIGN = (".pt", ".gguf", ".npz")


def import_directions(
    path: str | Path, name: str | None = None, layer: int | None = None, kind: str | None = None
) -> list[DirectionSet]:
    """The directions of another tool's file, by its ending.

    `.pt`: persona-vectors (`{trait}_response_avg_diff.pt`), persona-subspace bundles, assistant-axis role vectors, axes
    and capping files. `.gguf`: control vectors of llama.cpp and repeng. `.npz`, `.safetensors`: our own, or tensors
    named `layer.N`. name: instead of the file's. layer: of a file with one vector. kind: what the rows of a bare tensor
    are, `persona-vectors` (row = block + 1) or `blocks`. Raises `UserError` on a file that is none of these.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise UserError(f"--as {kind!r} is not known; use {' or '.join(KINDS)}")
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file of vectors")
    if path.suffix == ".pt":
        return read_torch(path, name, layer, kind)
    if path.suffix == ".gguf":
        vector = read_gguf(path)
        provenance = {"source": "GGUF control vector", "model_hint": vector.model_hint}
        return [_from_layers(path, dict(vector.directions), name or vector.name or path.stem, provenance)]
    if path.suffix == ".npz":
        return [_from_numpy(path, name)]
    if path.suffix == ".safetensors" or path.is_dir():
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
    """The layers that a file of this ending has a place for. n_layers: as for `export_directions`."""
    if Path(path).suffix == ".gguf":
        return [layer for layer in directions.layers if layer >= 1]
    if Path(path).suffix == ".pt":
        return [layer for layer in directions.layers if layer <= block_count(directions, n_layers) - 2]
    return list(directions.layers)


def _to_numpy(path: Path, directions: DirectionSet) -> Path:
    with aside(path) as part, open(part, "wb") as file:
        np.savez(file, **{f"layer.{one.layer}": one.vector.numpy() for one in directions})  # type: ignore[arg-type]
    return path


def _from_numpy(path: Path, name: str | None) -> DirectionSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    layers = {}
    for key, values in arrays.items():
        word, _, number = key.partition(".")
        if word != "layer" or not number.isdigit() or values.ndim != 1:
            raise UserError(f"{path} holds an array {key!r}; name one-dimensional arrays layer.0, layer.1 …")
        layers[int(number)] = values
    return _from_layers(path, layers, name or path.stem, {"source": "numpy"})


def _from_layers(path: Path, layers: dict[int, np.ndarray], name: str, provenance: dict[str, str]) -> DirectionSet:
    if not layers:
        raise UserError(f"{path} holds no directions")
    widths: Sequence[int] = sorted({len(values) for values in layers.values()})
    if len(widths) > 1:
        raise UserError(f"{path} holds vectors of widths {', '.join(map(str, widths))}; they must be of one model")
    vectors = torch.stack([torch.from_numpy(np.array(layers[layer], dtype=np.float32)) for layer in sorted(layers)])
    try:
        return DirectionSet(name, tuple(sorted(layers)), vectors, provenance=provenance)
    except NonFinite as error:
        raise UserError(f"{path}: {error}") from error
