"""Saving what continuous sampling found: JSON, a table, and the page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from personascope.persistence.crossing import Crossing
from personascope.persistence.curves import Arm, Persistence
from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json, write_table


def save_persistence(
    folder: RunFolder,
    found: Persistence,
    crossings: Mapping[str, Crossing] | None = None,
    uncrossed: Mapping[str, str] | None = None,
) -> Path:
    """Write `persistence.json`, `curves.parquet` and `report.html` into a run folder; the path of the page.

    crossings: by the steered direction, text set against cache. uncrossed: by the direction, why that failed.
    """
    plain = {
        **found.describe(),
        "crossings": {key: one.describe() for key, one in (crossings or {}).items()},
        "uncrossed": dict(uncrossed or {}),
    }
    write_json(folder.path / "persistence.json", plain, indent=None)
    write_table(folder.path / "curves.parquet", curve_table(found))
    return write_report([folder.path], folder.path / "report.html")


def curve_table(found: Persistence) -> pa.Table:
    """One line per arm, row and direction read; its projections as a list of float32, one per unsteered token, null where
    the row failed."""
    return pa.concat_tables([_lines(found, arm, key) for arm in found.arms for key in arm.projections])


def _lines(found: Persistence, arm: Arm, key: str) -> pa.Table:
    values = np.ascontiguousarray(arm.projections[key], dtype=np.float32)
    rows, tokens = values.shape
    failed = pa.array([error is not None for error in arm.errors])
    offsets = pa.array(np.arange(rows + 1) * tokens, type=pa.int32())
    return pa.table(
        {
            "kind": pa.array([arm.kind] * rows),
            "direction": pa.array([arm.direction] * rows),
            "cache": pa.array([arm.cache] * rows),
            "read": pa.array([key] * rows),
            "row": pa.array(range(rows)),
            "prompt": pa.array([found.prompts[unit] for unit in found.units]),
            "loops": pa.array(arm.loops.tolist()),
            "error": pa.array(list(arm.errors), type=pa.string()),
            "projections": pa.ListArray.from_arrays(offsets, pa.array(values.ravel()), mask=failed),
        }
    )
