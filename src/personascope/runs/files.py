"""Files that are either whole or absent."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.errors import NonFinite, UserError


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what was written there takes its place at the end, and only if all went well."""
    if not path.name:
        raise UserError("a file without a name cannot be written; give a path that ends in one")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    with aside(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any, indent: int | None = 1) -> Path:
    """JSON with numbers only where there are numbers. Raises `NonFinite` on NaN and infinity."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=plain)
    except ValueError as error:
        raise NonFinite(f"{path.name} would hold NaN or infinity in place of a number") from error
    return write_text(path, text + "\n")


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray] | pa.Table) -> Path:
    """A parquet file of a table, or with one column per entry."""
    if not isinstance(columns, pa.Table):
        columns = pa.table({name: pa.array(values) for name, values in columns.items()})
    with aside(path) as part:
        pq.write_table(columns, part)
    return path


def file_name(name: str) -> str:
    """A name, whoever gave it, as one that a file may have in any folder; different names stay different."""
    plain_name = re.sub(r"[^\w .\[\]-]|^\.", "_", name)[:80]
    if plain_name == name:
        return name
    return f"{plain_name}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def plain(value: Any) -> Any:
    """numpy's values as Python's."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a plain value")
