"""The tensors of an SAE's file, checked before they are read: safetensors, .npz and .pt."""

import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from personascope.errors import UserError

# How much larger than its compressed self a file may become: random weights compress by little.
_MOST_INFLATED = 20
_ALWAYS_FINE = 2**26
_MOST_DIMENSIONS = 2


@dataclass(frozen=True)
class Weights:
    """Named tensors of a file, read when they are asked for. shapes: of each, known before anything is read."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], Tensor]

    @classmethod
    def of(cls, path: Path, tensors: Mapping[str, Any]) -> "Weights":
        """Of tensors that are there already; other values are left out."""
        kept = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
        return cls(path, {name: tuple(value.shape) for name, value in kept.items()}, kept.__getitem__)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def size(self, name: str) -> tuple[int, int]:
        """The shape of a matrix. Raises `UserError` where it is none, or not there."""
        shape = self._shape(name)
        if len(shape) != 2 or not math.prod(shape):
            raise UserError(f"{self.path} has {name} of shape {list(shape)}, which should be a matrix")
        return shape[0], shape[1]

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor as float32 on the CPU. Raises `UserError` where it is absent, of another shape, or no numbers."""
        if self._shape(name) != shape:
            raise UserError(
                f"{self.path} has {name} of shape {list(self._shape(name))}, and it should be {list(shape)}"
            )
        value = self.load(name)
        if not value.dtype.is_floating_point:
            raise UserError(f"{self.path} has {name} in {value.dtype}, which are no weights")
        return value.detach().to("cpu", torch.float32)

    def scalar(self, name: str) -> float | None:
        """A single number of any type; None where it is absent."""
        if name not in self:
            return None
        if math.prod(self._shape(name)) != 1:
            raise UserError(f"{self.path} has {name} of shape {list(self._shape(name))}, which should be one number")
        return float(self.load(name).reshape(()))

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self:
            raise UserError(
                f"{self.path} has no {name}; it holds {', '.join(sorted(self.shapes)) or 'no tensors'}, which is another "
                "kind of SAE than its settings say"
            )
        return self.shapes[name]


def read_safetensors(path: Path) -> Weights:
    """Raises `UserError` on a file that is no safetensors file or is cut short."""

    def load(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from error
    return Weights(path, shapes, load)


def read_npz(path: Path) -> Weights:
    """Raises `UserError` on a file that is no .npz file, is cut short, holds Python objects or would inflate."""

    def load(name: str) -> Tensor:
        try:
            with np.load(path, allow_pickle=False) as file:
                return torch.from_numpy(np.array(file[name]))
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} has an unreadable {name}: {error}") from error

    try:
        _check_inflated(path)
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            shapes = {name.removesuffix(".npy"): _npy_shape(archive, name) for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    return Weights(path, shapes, load)


def read_pickled(path: Path) -> dict[str, Any]:
    """The dict in a `.pt` file of tensors and plain values.

    Raises `UserError` on a file that wants to run code, is cut short, or holds anything else.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_inflated(path)
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is damaged or holds more than tensors and plain values, and is not loaded") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable PyTorch file: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} and no weights by name")
    return value


def _check_inflated(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        inflated = sum(entry.file_size for entry in archive.infolist())
    if inflated > max(_ALWAYS_FINE, _MOST_INFLATED * path.stat().st_size):
        raise ValueError(f"it has {path.stat().st_size} bytes and claims to hold {inflated}")


def _npy_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """The shape that an array's header gives, if the entry is of that size."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} is in version {version}, which is not known")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not loaded")
    if start + math.prod(shape) * dtype.itemsize != archive.getinfo(name).file_size or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{name} does not hold the array of shape {list(shape)} that it announces")
    return tuple(shape)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
