"""Saving the page of a transfer experiment: its figures, and every generation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json

RESULT = "transfer.json"
# Responses a page holds in full, of each condition; the files hold them all.
_SHOWN = 90
_FIGURES = ("trait", "coherence", "perplexity", "repeated", "tokens")


def save_transfer(path: Path) -> Path:
    """Write `transfer.json` and `report.html` into the folder of a finished experiment; the path of the page."""
    folder = RunFolder.read(path)
    found = folder.load_json("aggregated_results.json")
    write_json(path / RESULT, {**found, **_responses(folder.load_json("generation_results.json"))}, indent=None)
    return write_report([path], path / "report.html")


def _responses(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The responses to test prompts, [condition, prompt, sample, text, figures …] each: prompts and conditions by number."""
    prompts: dict[str, int] = {}
    conditions: dict[tuple[Any, ...], int] = {}
    counts: dict[int, int] = {}
    kept = []
    for row in rows:
        if row["part"] != "test":
            continue
        key = tuple(row[name] for name in ("persona", "method", "alpha", "source_layer", "target_layer", "texts"))
        number = conditions.setdefault(key, len(conditions))
        counts[number] = counts.get(number, 0) + 1
        if counts[number] <= _SHOWN:
            figures = [_rounded(row[name]) for name in _FIGURES]
            prompt = prompts.setdefault(row["prompt"], len(prompts))
            kept.append([number, prompt, row["sample"], row["text"], *figures])
    return {
        "prompts": list(prompts),
        "response_conditions": [list(key) for key in conditions],
        "response_figures": list(_FIGURES),
        "responses": kept,
        "left_out": sum(counts.values()) - len(kept),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
