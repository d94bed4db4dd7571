"""Saving what was found and mined of features: HDF5, JSON, and the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from personascope.directions.direction import TokenLens
from personascope.features.explain import Explanation
from personascope.features.found import FILE as FOUND
from personascope.features.found import Found
from personascope.features.mined import Mined
from personascope.features.mined_file import FILE as MINED
from personascope.features.mined_file import save_mined
from personascope.features.tally import edges
from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json

RESULT, LABELS = "features.json", "labels.json"


def save_found(folder: RunFolder, found: Found, lenses: Mapping[int, TokenLens]) -> Path:
    """Write `found.h5`, `features.json` and `report.html` into a run folder; the path of the page."""
    found.save(folder.path / FOUND)
    plain = found.describe()
    records = [{"feature": one["feature"], "found": one, **_lens(lenses, one["feature"])} for one in plain["features"]]
    write_json(folder.path / RESULT, {**plain, **_traces(found), "features": records}, indent=None)
    return write_report([folder.path], folder.path / "report.html")


def save_mined_run(
    folder: RunFolder,
    mined: Mined,
    found: Found | None,
    lenses: Mapping[int, TokenLens],
) -> Path:
    """Write `mined.h5`, `features.json` and `report.html` into a run folder; the path of the page.

    found: where the features come from; what is known of them there stands beside what was mined, and so do the labels
    that the folder holds.
    """
    save_mined(mined, folder.path / MINED)
    plain = mined.describe()
    plain_of = found.describe() if found is not None else {"features": []}
    known = {one["feature"]: one for one in plain_of["features"]}
    named = _labels(folder)
    bounds = edges()
    records = []
    for column, one in enumerate(plain["features"]):
        feature = one["feature"]
        filled = np.flatnonzero(mined.tally.histogram[column])
        record: dict[str, Any] = {"feature": feature, "mined": one, **_lens(lenses, feature)}
        one["histogram"] = {"edges": bounds[filled].tolist(), "counts": mined.tally.histogram[column, filled].tolist()}
        if feature in known:
            record["found"] = known[feature]
        records.append(_labelled(record, named))
    beside = {**_traces(found), "sparsity": plain_of["sparsity"]} if found is not None else {}
    whole = {**plain, **beside, "features": records}
    write_json(folder.path / RESULT, whole, indent=None)
    return write_report([folder.path], folder.path / "report.html")


def save_labels(folder: RunFolder, labels: Sequence[Explanation]) -> dict[str, Any]:
    """Enter labels into a run's `labels.json`, its `features.json` and its page; the result with them."""
    named = _labels(folder) | {one.feature: one for one in labels}
    write_json(folder.path / LABELS, [one.describe() for one in named.values()])
    whole: dict[str, Any] = folder.load_json(RESULT)
    whole["features"] = [_labelled(record, named) for record in whole["features"]]
    write_json(folder.path / RESULT, whole, indent=None)
    write_report([folder.path], folder.path / "report.html")
    return whole


def _labels(folder: RunFolder) -> dict[int, Explanation]:
    if not (folder.path / LABELS).exists():
        return {}
    return {one["feature"]: Explanation(**one) for one in folder.load_json(LABELS)}


def _labelled(record: dict[str, Any], named: Mapping[int, Explanation]) -> dict[str, Any]:
    label = named.get(record["feature"])
    return {**record, "label": label.label, "label_score": label.score} if label else record


def _lens(lenses: Mapping[int, TokenLens], feature: int) -> dict[str, Any]:
    lens = lenses.get(feature, TokenLens((), ()))
    return {"promoted": [list(one) for one in lens.promoted], "suppressed": [list(one) for one in lens.suppressed]}


def _traces(found: Found) -> dict[str, Any]:
    """Every prompt's and control's tokens, and on each token the features it was found with."""
    return {
        "prompts": len(found.prompts),
        "controls": len(found.controls),
        "read_at": found.tokens,
        "traced": [int(feature) for feature in found.indices],
        "traces": [
            {"tokens": list(one.pieces), "activations": np.round(one.activations, 4).T.tolist()} for one in found.traces
        ],
    }
