"""Paired activations: two models read the same texts, and what they hold at the same places is written side by side."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from personascope.errors import UserError
from personascope.runs.files import write_json

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class PairedSide:
    """One model's part. model: what identifies it. layers: those that were read. limits: by layer, the norm beyond which
    a state is an attention sink's."""

    model: Mapping[str, Any]
    layers: tuple[int, ...]
    limits: tuple[float, ...]

    def column(self, layer: int) -> int:
        """Where a layer stands in the arrays. Raises `UserError` where it was not read."""
        if layer not in self.layers:
            raise UserError(f"layer {layer} of {self.model['model']} was not read; there are {list(self.layers)}")
        return self.layers.index(layer)


@dataclass(frozen=True)
class PairedPart:
    """Pairs in two files, of `texts`, by number, so many of each; a text that was said before goes by its first number.
    source, target: the files' names."""

    source: str
    target: str
    texts: tuple[int, ...]
    pairs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PairedActivations:
    """Pairs of states of two models, in HDF5 files beside each other.

    positions: `aligned`: wherever both tokenizers end on the same character; `last`: the last token of each text. texts:
    how many there are; unpaired: the numbers of those that have no place in common.
    """

    folder: Path
    source: PairedSide
    target: PairedSide
    positions: str
    texts: int
    unpaired: tuple[int, ...]
    parts: tuple[PairedPart, ...]

    def __len__(self) -> int:
        """Pairs, those at attention sinks included."""
        return sum(sum(part.pairs) for part in self.parts)

    def blocks(self, source_layer: int, target_layer: int) -> Iterator[Columns]:
        """(X [n, d_source], Y [n, d_target] float32, text of each row [n]) of one part after the other, as `fit_map_from`
        takes them; pairs with an attention sink on either side are left out. Raises `UserError` on a lost file."""
        from_column, to_column = self.source.column(source_layer), self.target.column(target_layer)
        for part in self.parts:
            x, y = self._read(part.source, from_column), self._read(part.target, to_column)
            texts = np.repeat(part.texts, part.pairs)
            if not len(x) == len(y) == len(texts):
                raise UserError(f"{part.source} and {part.target} do not pair up; start their run again")
            kept = np.linalg.norm(x, axis=1) <= self.source.limits[from_column]
            kept &= np.linalg.norm(y, axis=1) <= self.target.limits[to_column]
            yield x[kept], y[kept], texts[kept]

    def arrays(self, source_layer: int, target_layer: int) -> Columns:
        """All blocks in one: X, Y and the text of each row, which `fit_map` takes as groups."""
        x, y, texts = zip(*self.blocks(source_layer, target_layer), strict=True)
        return np.concatenate(x), np.concatenate(y), np.concatenate(texts)

    def _read(self, name: str, column: int) -> np.ndarray:
        try:
            with h5py.File(self.folder / name, "r") as file:
                return np.asarray(file["states"][0, :, column])
        except (OSError, KeyError) as error:
            raise UserError(f"{self.folder / name} is lost or damaged; start the run again to make it anew") from error

    def save(self, name: str = "pairs.json") -> Path:
        """Write down which files belong together, in their folder."""
        plain = {
            "source": dict(vars(self.source)),
            "target": dict(vars(self.target)),
            "positions": self.positions,
            "texts": self.texts,
            "unpaired": self.unpaired,
            "parts": [vars(part) for part in self.parts],
        }
        return write_json(self.folder / name, plain, indent=None)

    @classmethod
    def read(cls, folder: str | Path, name: str = "pairs.json") -> "PairedActivations":
        """Pairs that were made before. Raises `UserError` where there are none."""
        path = Path(folder) / name
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                Path(folder),
                _side(plain["source"]),
                _side(plain["target"]),
                plain["positions"],
                plain["texts"],
                tuple(plain["unpaired"]),
                tuple(
                    PairedPart(part["source"], part["target"], tuple(part["texts"]), tuple(part["pairs"]))
                    for part in plain["parts"]
                ),
            )
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist: the pairs were not finished; start their run again") from error
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not readable as pairs ({error}); start their run again") from error


def _side(plain: Mapping[str, Any]) -> PairedSide:
    return PairedSide(plain["model"], tuple(plain["layers"]), tuple(plain["limits"]))
