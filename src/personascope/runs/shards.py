"""Cells that hold an array: in HDF5 files, entered in the journal only once their file is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from personascope.runs.files import aside
from personascope.runs.journal import Journal


class Shards:
    """Finished cells of one kind, each some plain values and perhaps an array.

    Arrays go to `activations-*.h5`, up to `rows` of one shape to a file, which is written aside and renamed whole; what
    waits for its file to fill is lost with the process, and computed again. dataset: the arrays' name in the files.
    """

    def __init__(
        self, folder: Path, journal: Journal, kind: str, dataset: str, attributes: Mapping[str, Any], rows: int = 64
    ) -> None:
        self.folder = folder
        self.journal = journal
        self.kind = kind
        self.dataset = dataset
        self.attributes = dict(attributes)
        self.rows = rows
        self._pending: list[tuple[str, dict[str, Any], np.ndarray]] = []
        self._read: tuple[str, list[str], np.ndarray] | None = None

    def get(self, key: str) -> tuple[dict[str, Any], np.ndarray | None] | None:
        """A finished cell, None if it is not in or its file is gone."""
        plain = self.journal.get(key)
        if plain is None:
            return None
        if plain["shard"] is None:
            return plain, None
        try:
            _, cells, arrays = self._file(plain["shard"])
            index = plain["index"]
            # A file that was lost and made again may hold other cells.
            if index >= len(cells) or cells[index] != key:
                raise KeyError(key)
            return plain, arrays[index]
        except (OSError, KeyError):
            self.journal.drop(key)
            return None

    def __contains__(self, key: str) -> bool:
        """Whether a cell is finished and its file there, whose arrays are not read for it."""
        plain = self.journal.get(key)
        if plain is None or plain["shard"] is None:
            return plain is not None
        try:
            with h5py.File(self.folder / plain["shard"], "r") as file:
                is_there = file["cells"].asstr()[plain["index"]] == key and self.dataset in file
        except (OSError, KeyError, IndexError, ValueError):
            is_there = False
        if not is_there:
            self.journal.drop(key)
        return is_there

    def _file(self, name: str) -> tuple[str, list[str], np.ndarray]:
        """A file's name, cells and arrays; the last one stays in memory, since neighbours are asked for together."""
        if self._read is None or self._read[0] != name or not (self.folder / name).exists():
            with h5py.File(self.folder / name, "r") as file:
                self._read = name, [one.decode() for one in file["cells"][:]], file[self.dataset][:]
        return self._read

    def put(self, key: str, plain: dict[str, Any], array: np.ndarray | None = None) -> None:
        """Enter a cell: at once, or with the file its array belongs to."""
        if array is None:
            self.journal.put(key, self.kind, {**plain, "shard": None})
            return
        if self._pending and self._pending[0][2].shape != array.shape:
            self.flush()
        self._pending.append((key, plain, array))
        if len(self._pending) >= self.rows:
            self.flush()

    def flush(self) -> None:
        """Write the cells that wait for their file to fill."""
        if not self._pending:
            return
        number = 1 + max((int(path.stem.split("-")[1]) for path in self.folder.glob("activations-*.h5")), default=0)
        name = f"activations-{number:04d}.h5"
        with aside(self.folder / name) as part, h5py.File(part, "w") as file:
            file.create_dataset(self.dataset, data=np.stack([array for _, _, array in self._pending]))
            file.create_dataset("cells", data=[key for key, _, _ in self._pending])
            file.attrs.update({**self.attributes, "dtype": "float32"})
        for index, (key, plain, _) in enumerate(self._pending):
            self.journal.put(key, self.kind, {**plain, "shard": name, "index": index})
        self._pending.clear()
