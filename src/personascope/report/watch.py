"""Saving what watching found: JSON, a table, and the page."""

from pathlib import Path
from typing import Any

import numpy as np

from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json, write_table
from personascope.watching import Watch
from personascope.watching.traits import doubt, reading_layer
from personascope.watching.watch import plain_row


def save_watch(folder: RunFolder, watch: Watch) -> Path:
    """Write `watch.json`, `readings.parquet` and `report.html` into a run folder; the path of the page."""
    write_json(folder.path / "watch.json", plain_watch(watch), indent=None)
    write_table(folder.path / "readings.parquet", readings(watch))
    return write_report([folder.path], folder.path / "report.html")


def plain_watch(watch: Watch) -> dict[str, Any]:
    """A watch as plain values."""
    return {
        "traits": [
            {
                "name": trait.name,
                "positive_pole": trait.provenance.get("positive_pole", ""),
                "read_layer": reading_layer(trait),
                "layers": list(trait.layers),
                "doubt": doubt(trait),
            }
            for trait in watch.traits
        ],
        "layers": list(watch.layers),
        "calibration": watch.calibration.describe(),
        "rule": watch.rule.describe(),
        "rows": [plain_row(watch, row) for row in watch.rows],
    }


def readings(watch: Watch) -> dict[str, Any]:
    """One line per row, trait, layer and token: value, z, cosine; label: what the row is called."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("row", "label", "token", "text", "part", "trait", "layer", "value", "z", "cosine")
    }
    for number, row in enumerate(watch.rows):
        generation = row.generation
        count = len(generation.tokens)
        parts = np.where(np.arange(count) < generation.prompt_length, "prompt", "response")
        for key, values in generation.projections.items():
            name, _, layer = key.rpartition("@")
            columns["row"].append(np.full(count, number))
            columns["label"].append(np.full(count, row.label, dtype=object))
            columns["token"].append(np.arange(count))
            columns["text"].append(np.asarray(generation.tokens, dtype=object))
            columns["part"].append(parts)
            columns["trait"].append(np.full(count, name, dtype=object))
            columns["layer"].append(np.full(count, int(layer)))
            columns["value"].append(values)
            columns["z"].append(watch.calibration.z(key, values, generation.prompt_length).astype(np.float32))
            columns["cosine"].append(generation.cosines[key])
    return {name: np.concatenate(parts) if parts else [] for name, parts in columns.items()}
