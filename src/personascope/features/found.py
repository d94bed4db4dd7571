"""What was found of the features that fire on prompts, and its file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csr_array

from personascope.errors import UserError
from personascope.features.sparsity import Sparsity
from personascope.runs.files import aside

_TEXT = h5py.string_dtype()
# What the file is called in a run folder.
FILE = "found.h5"
# What reading raises where an HDF5 file lacks something, holds something else in its place, or is damaged inside.
DAMAGE = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, eq=False)
class Contrast:
    """Prompts against controls, per chosen feature, on the half that was not used to choose.

    indices: [top], best first on the choosing half. mean, control_mean: of the code. share, control_share: of the prompts
    it fires on. auroc: of prompts against controls. p: two-sided, by ranks; corrected: by Holm over these features.
    choosing, choosing_controls: which prompts and controls chose. candidates: how many features could have been chosen.
    """

    indices: np.ndarray
    mean: np.ndarray
    control_mean: np.ndarray
    share: np.ndarray
    control_share: np.ndarray
    auroc: np.ndarray
    p: np.ndarray
    corrected: np.ndarray
    choosing: np.ndarray
    choosing_controls: np.ndarray
    candidates: int

    @property
    def difference(self) -> np.ndarray:
        return np.asarray(self.mean - self.control_mean)


_CONTRAST = ("mean", "control_mean", "share", "control_share", "auroc", "p", "corrected")
_SPLIT = ("choosing", "choosing_controls")


@dataclass(frozen=True, eq=False)
class Trace:
    """A text's tokens, response included, and the chosen features on each: [tokens, top]."""

    pieces: tuple[str, ...]
    activations: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """Features that fire on prompts.

    indices, values: [top], the features and their mean code over all prompts. codes: [prompts, features], sparse, each
    prompt's mean code over its selected tokens; control_codes likewise. activations: [prompts + controls, hidden].
    responses: what the subject answered where features were read there, else empty texts. traces: the chosen features on
    every token of the prompts, then of the controls. digest: of the SAE, empty where it is not known.
    """

    model: str
    sae: str
    layer: int
    n_features: int
    tokens: str
    prompts: tuple[str, ...]
    controls: tuple[str, ...]
    responses: tuple[str, ...]
    activations: np.ndarray
    codes: csr_array
    control_codes: csr_array
    indices: np.ndarray
    values: np.ndarray
    contrast: Contrast | None
    traces: tuple[Trace, ...] = ()
    sparsity: Sparsity | None = None
    digest: str = ""

    def __repr__(self) -> str:
        against = f", {len(self.controls)} controls" if self.controls else ""
        return f"Found({self.indices.tolist()} of {self.sae!r} on {self.model!r}, {len(self.prompts)} prompts{against})"

    @property
    def mean_features(self) -> np.ndarray:
        """[features]: mean code over all prompts."""
        return np.asarray(self.codes.mean(axis=0))

    def save(self, path: Path) -> Path:
        """One HDF5 file: `activations`, `prompts`, `top_indices`, `top_values`, `mean_features`, `all_features` (a group
        with the `data`, `indices` and `indptr` of a CSR matrix); with controls `controls`, `control_features` and a group
        `contrast` with a row per feature of `top_indices`."""
        with aside(path) as part, h5py.File(part, "w") as file:
            file.attrs.update(
                {
                    "model": self.model,
                    "sae": self.sae,
                    "sae_digest": self.digest,
                    "layer": self.layer,
                    "tokens": self.tokens,
                    "n_prompts": len(self.prompts),
                    "n_controls": len(self.controls),
                    "dict_size": self.n_features,
                }
            )
            file.create_dataset("activations", data=self.activations)
            _write_texts(file, "prompts", self.prompts)
            _write_texts(file, "responses", self.responses)
            file.create_dataset("top_indices", data=self.indices)
            file.create_dataset("top_values", data=self.values)
            file.create_dataset("mean_features", data=self.mean_features)
            _write_sparse(file.create_group("all_features"), self.codes)
            for number, trace in enumerate(self.traces):
                group = file.create_group(f"traces/{number}")
                _write_texts(group, "tokens", trace.pieces)
                group.create_dataset("activations", data=trace.activations)
            if self.sparsity is not None:
                file.attrs["sparsity"] = json.dumps(self.sparsity.describe())
            if self.contrast is not None:
                _write_texts(file, "controls", self.controls)
                _write_sparse(file.create_group("control_features"), self.control_codes)
                group = file.create_group("contrast")
                for name in (*_CONTRAST, *_SPLIT):
                    group.create_dataset(name, data=getattr(self.contrast, name))
                group.attrs["candidates"] = self.contrast.candidates
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Found":
        """What `save` wrote, or a file of the same names whose `all_features` is a dense matrix. path: the file, or the run
        folder of `features find`.

        Raises `UserError` where the file is absent, cut short, or lacks one of these.
        """
        with open_hdf5(path, FILE) as file:
            try:
                return cls._from(file)
            except DAMAGE as error:
                raise UserError(f"{path} does not hold found features ({error}); run `features find` again") from error

    @classmethod
    def _from(cls, file: h5py.File) -> "Found":
        held: Mapping[str, Any] = file.attrs
        codes = _read_sparse(file["all_features"])
        prompts = _texts(file["prompts"])
        controls = _texts(file["controls"]) if "controls" in file else ()
        contrast = None
        if "contrast" in file:
            group = file["contrast"]
            columns = {name: group[name][:] for name in (*_CONTRAST, *_SPLIT)}
            contrast = Contrast(file["top_indices"][:], **columns, candidates=int(group.attrs["candidates"]))
        return cls(
            model=str(held.get("model", held.get("model_name", ""))),
            sae=str(held.get("sae", "")),
            layer=int(held["layer"]),
            n_features=codes.shape[1],
            tokens=str(held.get("tokens", "prompt[-1]")),
            prompts=prompts,
            controls=controls,
            responses=_texts(file["responses"]) if "responses" in file else ("",) * len(prompts),
            activations=file["activations"][:],
            codes=codes,
            control_codes=_read_sparse(file["control_features"]) if "control_features" in file else codes[:0],
            indices=file["top_indices"][:],
            values=file["top_values"][:],
            contrast=contrast,
            traces=_read_traces(file),
            sparsity=Sparsity(**json.loads(held["sparsity"])) if "sparsity" in held else None,
            digest=str(held.get("sae_digest", "")),
        )

    def describe(self) -> dict[str, Any]:
        """The chosen features as plain values, a record each."""
        records = []
        for place, (index, value) in enumerate(zip(self.indices.tolist(), self.values.tolist(), strict=True)):
            record: dict[str, Any] = {"feature": index, "value": value}
            record["share"] = float((self.codes[:, [index]].toarray() > 0).mean())
            if self.contrast is not None:
                record |= {name: float(getattr(self.contrast, name)[place]) for name in _CONTRAST}
                record["difference"] = float(self.contrast.difference[place])
            records.append(record)
        return {
            "model": self.model,
            "sae": self.sae,
            "layer": self.layer,
            "tokens": self.tokens,
            "prompts": len(self.prompts),
            "controls": len(self.controls),
            "candidates": self.contrast.candidates if self.contrast else None,
            "sparsity": self.sparsity.describe() if self.sparsity else None,
            "features": records,
        }


def open_hdf5(path: str | Path, name: str) -> h5py.File:
    """An HDF5 file to read, or the one of this name in a folder. Raises `UserError` where there is none, or one that was cut
    short."""
    path = Path(path)
    path = path / name if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path} does not exist; give a file or run folder that `personascope features` wrote")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"{path} is no whole HDF5 file: it was cut short or is something else; make it again"
        ) from error


def _write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    # HDF5 cannot hold the character 0 in a text.
    group.create_dataset(name, data=[text.replace("\0", "␀") for text in texts], dtype=_TEXT)


def _texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    return tuple(str(one) for one in dataset.asstr()[:])


def _read_traces(file: h5py.File) -> tuple[Trace, ...]:
    if "traces" not in file:
        return ()
    groups = [file["traces"][str(number)] for number in range(len(file["traces"]))]
    return tuple(Trace(_texts(group["tokens"]), group["activations"][:]) for group in groups)


def _write_sparse(group: h5py.Group, matrix: csr_array) -> None:
    group.attrs["shape"] = matrix.shape
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(matrix, name))


def _read_sparse(held: h5py.Group | h5py.Dataset) -> csr_array:
    if isinstance(held, h5py.Dataset):
        return csr_array(held[:])
    parts = tuple(held[name][:] for name in ("data", "indices", "indptr"))
    return csr_array(parts, shape=tuple(int(size) for size in held.attrs["shape"]))
