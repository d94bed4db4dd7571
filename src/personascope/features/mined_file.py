"""Mined features as one HDF5 file."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from personascope.errors import UserError
from personascope.features.bands import octaves_of
from personascope.features.contexts import Context
from personascope.features.found import DAMAGE, open_hdf5
from personascope.features.mined import Mined
from personascope.features.sample import RandomWindow
from personascope.features.tally import Tally, edges
from personascope.runs.files import aside

_TEXT = h5py.string_dtype()
_EMPTY = -1
# What the file is called in a run folder.
FILE = "mined.h5"


def save_mined(mined: Mined, path: Path) -> Path:
    """`features`, `fired`, `total`, `histogram` and its `edges`; in the groups `contexts` and `examples` a row per context:
    `feature`, `scores`, `documents`, `positions`, `peaks`, `orders`, and [contexts, tokens] `token_ids` (−1 where there is
    none), `activations`; in `sample` likewise, with `strongest` [windows, features]; `pieces`: a JSON list of the text
    each token adds."""
    listed = [one for feature in mined.features for one in mined.contexts[feature]]
    examples = [one for feature in mined.features for held in mined.examples[feature].values() for one in held]
    with aside(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(
            {
                "model": mined.model,
                "sae": mined.sae,
                "layer": mined.layer,
                "corpus": mined.corpus,
                "context": mined.context,
                "tokens": mined.tally.tokens,
                "documents": mined.documents,
                "left_out": json.dumps(dict(mined.left_out)),
            }
        )
        file.create_dataset("features", data=np.asarray(mined.features, dtype=np.int64))
        for name in ("fired", "total", "histogram"):
            file.create_dataset(name, data=getattr(mined.tally, name), compression="gzip")
        file.create_dataset("edges", data=edges())
        _write_contexts(file.create_group("contexts"), listed, mined)
        _write_contexts(file.create_group("examples"), examples, mined)
        _write_sample(file.create_group("sample"), mined)
    return path


def _write_windows(group: h5py.Group, windows: Sequence[Context | RandomWindow], mined: Mined) -> None:
    """What every kind of window has."""
    ids = np.full((len(windows), mined.context), _EMPTY, dtype=np.int64)
    for row, one in enumerate(windows):
        ids[row, : len(one.ids)] = one.ids
    group.create_dataset("token_ids", data=ids, compression="gzip")
    group.create_dataset("positions", data=np.array([one.position for one in windows], dtype=np.int64))
    group.create_dataset("orders", data=np.array([one.order for one in windows], dtype=np.uint64))
    group.create_dataset("documents", data=[one.document for one in windows], dtype=_TEXT)
    pieces = [json.dumps(mined.pieces(one.ids), ensure_ascii=False) for one in windows]
    group.create_dataset("pieces", data=pieces, dtype=_TEXT)


def _write_contexts(group: h5py.Group, contexts: Sequence[Context], mined: Mined) -> None:
    _write_windows(group, contexts, mined)
    values = np.zeros((len(contexts), mined.context), dtype=np.float32)
    for row, one in enumerate(contexts):
        values[row, : len(one.ids)] = one.activations
    group.create_dataset("feature", data=np.array([one.feature for one in contexts], dtype=np.int64))
    group.create_dataset("scores", data=np.array([one.score for one in contexts], dtype=np.float32))
    group.create_dataset("peaks", data=np.array([one.peak for one in contexts], dtype=np.int64))
    group.create_dataset("activations", data=values, compression="gzip")


def _write_sample(group: h5py.Group, mined: Mined) -> None:
    _write_windows(group, mined.sample, mined)
    strongest = [one.strongest for one in mined.sample]
    data = np.stack(strongest) if strongest else np.zeros((0, len(mined.features)), np.float32)
    group.create_dataset("strongest", data=data)


def load_mined(path: str | Path) -> Mined:
    """What `save_mined` wrote: the file, or the run folder of `features mine`.

    Raises `UserError` where the file is absent, cut short, or lacks something.
    """
    with open_hdf5(path, FILE) as file:
        try:
            return _mined(file)
        except DAMAGE as error:
            raise UserError(f"{path} does not hold mined features ({error}); run `features mine` again") from error


def _mined(file: h5py.File) -> Mined:
    features = tuple(int(one) for one in file["features"][:])
    text: dict[tuple[int, ...], list[str]] = {}
    contexts: dict[int, list[Context]] = {feature: [] for feature in features}
    for one in _contexts(file["contexts"], text):
        contexts[one.feature].append(one)
    examples: dict[int, dict[int, list[Context]]] = {feature: {} for feature in features}
    for one in _contexts(file["examples"], text):
        examples[one.feature].setdefault(int(octaves_of(np.array([one.score]))[0]), []).append(one)
    held = file.attrs
    return Mined(
        model=str(held["model"]),
        sae=str(held["sae"]),
        layer=int(held["layer"]),
        corpus=str(held["corpus"]),
        context=int(held["context"]),
        features=features,
        documents=int(held["documents"]),
        left_out=json.loads(held["left_out"]),
        contexts=contexts,
        examples=examples,
        tally=Tally(int(held["tokens"]), *(file[name][:] for name in ("fired", "total", "histogram"))),
        sample=_sample(file["sample"], text),
        pieces=lambda ids: text[tuple(ids)],
    )


def _windows(group: h5py.Group, text: dict[tuple[int, ...], list[str]]) -> list[tuple[int, ...]]:
    """The token ids of each window; their text goes into `text`."""
    pieces = group["pieces"].asstr()[:]
    found = []
    for row, ids in enumerate(group["token_ids"][:]):
        own = tuple(int(token) for token in ids if token != _EMPTY)
        text[own] = json.loads(pieces[row])
        found.append(own)
    return found


def _contexts(group: h5py.Group, text: dict[tuple[int, ...], list[str]]) -> list[Context]:
    windows, documents = _windows(group, text), group["documents"].asstr()[:]
    columns = {name: group[name][:] for name in ("feature", "scores", "positions", "peaks", "orders", "activations")}
    return [
        Context(
            feature=int(columns["feature"][row]),
            score=float(columns["scores"][row]),
            document=str(documents[row]),
            position=int(columns["positions"][row]),
            ids=ids,
            peak=int(columns["peaks"][row]),
            activations=columns["activations"][row, : len(ids)],
            order=int(columns["orders"][row]),
        )
        for row, ids in enumerate(windows)
    ]


def _sample(group: h5py.Group, text: dict[tuple[int, ...], list[str]]) -> list[RandomWindow]:
    windows, documents = _windows(group, text), group["documents"].asstr()[:]
    positions, orders, strongest = (group[name][:] for name in ("positions", "orders", "strongest"))
    return [
        RandomWindow(str(documents[row]), int(positions[row]), ids, strongest[row], int(orders[row]))
        for row, ids in enumerate(windows)
    ]
