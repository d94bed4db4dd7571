"""GGUF control vectors, as llama.cpp and repeng read and write them.

Tensor `direction.N` is added to the output of block N. There is no `direction.0`: llama.cpp takes none at block 0.
Source: the GGUF specification, version 3.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from personascope.errors import UserError
from personascope.runs.files import aside

_MAGIC = b"GGUF"
_ALIGNMENT = 32
# Codes of the specification's value types with their struct formats; 8 is a string, 9 an array.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
# Tensor types that control vectors come in.
_TENSORS: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
_ARCHITECTURE = "controlvector"
_DIRECTION = re.compile(r"direction\.([0-9]{1,9})")
# Arrays in arrays: no writer goes further than one, and a file could go on without end.
_DEEPEST = 4


@dataclass(frozen=True)
class ControlVector:
    """A control vector file: [hidden] float32 by block, what model it says it is for, and its name if it has one."""

    directions: Mapping[int, np.ndarray]
    model_hint: str = ""
    name: str = ""


def write_gguf(path: Path, vector: ControlVector) -> Path:
    """Write a control vector. Raises `UserError` on a direction at block 0, which the format cannot hold."""
    if not vector.directions:
        raise UserError("a GGUF control vector needs at least one direction")
    if min(vector.directions) < 1:
        raise UserError("a GGUF control vector has no place for layer 0; leave it out with --layers")
    keys: list[tuple[str, int, Any]] = [
        ("general.architecture", _STRING, _ARCHITECTURE),
        (f"{_ARCHITECTURE}.model_hint", _STRING, vector.model_hint),
        (f"{_ARCHITECTURE}.layer_count", _UINT32, len(vector.directions)),
        *([("general.name", _STRING, vector.name)] if vector.name else []),
    ]
    head = [_MAGIC, struct.pack("<IQQ", 3, len(vector.directions), len(keys))]
    for key, kind, value in keys:
        head += [_text(key), struct.pack("<I", kind), _text(value) if kind == _STRING else struct.pack("<I", value)]
    blocks, offset = [], 0
    for layer, values in sorted(vector.directions.items()):
        data = np.ascontiguousarray(values, dtype="<f4").tobytes()
        head += [_text(f"direction.{layer}"), struct.pack("<IQIQ", 1, len(values), 0, offset)]
        blocks.append(data + bytes(-len(data) % _ALIGNMENT))
        offset += len(blocks[-1])
    start = b"".join(head)
    with aside(path) as part:
        part.write_bytes(start + bytes(-len(start) % _ALIGNMENT) + b"".join(blocks))
    return path


def read_gguf(path: Path) -> ControlVector:
    """Read a control vector. Raises `UserError` on any other file, and on one cut short."""
    try:
        with open(path, "rb") as file:
            return _read(file, path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not a GGUF control vector: {error}") from error


def _read(file: BinaryIO, size: int) -> ControlVector:
    if file.read(4) != _MAGIC:
        raise ValueError("it does not begin as a GGUF file does")
    version, tensors, keys = _unpack(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} is not known")
    fields = {_string(file, size): _value(file, size) for _ in range(_bounded(keys, size))}
    if fields.get("general.architecture") != _ARCHITECTURE:
        raise ValueError(f"it holds {fields.get('general.architecture')!r} and no control vector")
    listed = []
    for _ in range(_bounded(tensors, size)):
        name = _string(file, size)
        (dimensions,) = _unpack(file, "I")
        shape = _unpack(file, "Q" * _bounded(dimensions, 4))
        listed.append((name, shape, *_unpack(file, "IQ")))
    alignment = fields.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or alignment < 1:
        raise ValueError("its general.alignment is not a number from 1 up")
    start = -(-file.tell() // alignment) * alignment
    directions: dict[int, np.ndarray] = {}
    for name, shape, kind, offset in listed:
        matched = _DIRECTION.fullmatch(name)
        if matched is None or len(shape) != 1 or kind not in _TENSORS:
            raise ValueError(f"tensor {name!r} of shape {list(shape)} is no direction")
        layer = int(matched[1])
        if layer in directions:
            raise ValueError(f"it has two directions of layer {layer}")
        dtype = _TENSORS[kind]
        if start + offset + shape[0] * dtype.itemsize > size:
            raise ValueError("it is cut short")
        file.seek(start + offset)
        directions[layer] = np.frombuffer(file.read(shape[0] * dtype.itemsize), dtype).astype(np.float32)
    hint, name = (str(fields.get(key, "")) for key in (f"{_ARCHITECTURE}.model_hint", "general.name"))
    return ControlVector(directions, hint, name)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _bounded(count: int, most: int) -> int:
    """A count that the file's size allows: nothing is read or allocated on the word of a broken file."""
    if count > most:
        raise ValueError("it announces more than it can hold")
    return count


def _string(file: BinaryIO, size: int) -> str:
    (length,) = _unpack(file, "Q")
    data = file.read(_bounded(length, size))
    if len(data) < length:
        raise ValueError("it is cut short")
    return data.decode()


def _value(file: BinaryIO, size: int, kind: int | None = None, depth: int = 0) -> Any:
    if kind is None:
        (kind,) = _unpack(file, "I")
    if kind == _STRING:
        return _string(file, size)
    if kind == _ARRAY:
        inner, count = _unpack(file, "IQ")
        if depth > _DEEPEST:
            raise ValueError("its arrays are nested too deeply")
        return [_value(file, size, inner, depth + 1) for _ in range(_bounded(count, size))]
    if kind not in _FORMATS:
        raise ValueError(f"value type {kind} is not known")
    return _unpack(file, _FORMATS[kind])[0]
