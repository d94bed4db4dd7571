"""Saving what continuous sampling found: JSON, a table, and the page."""

from pathlib import Path
from typing import Any

from personascope.persistence.curves import Persistence
from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json, write_table


def save_persistence(folder: RunFolder, found: Persistence) -> Path:
    """Write `persistence.json`, `curves.parquet` and `report.html` into a run folder; the path of the page."""
    write_json(folder.path / "persistence.json", found.describe(), indent=None)
    write_table(folder.path / "curves.parquet", curve_table(found))
    return write_report([folder.path], folder.path / "report.html")


def curve_table(found: Persistence) -> dict[str, list[Any]]:
    """One line per arm, row and direction read; its projections as a list, one per unsteered token."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("kind", "direction", "cache", "read", "row", "prompt", "loops", "projections")
    }
    for arm in found.arms:
        for key, values in arm.projections.items():
            for row, curve in enumerate(values):
                line = (arm.kind, arm.direction, arm.cache, key, row, found.prompts[found.units[row]])
                for name, value in zip(columns, (*line, bool(arm.loops[row]), curve.tolist()), strict=True):
                    columns[name].append(value)
    return columns
