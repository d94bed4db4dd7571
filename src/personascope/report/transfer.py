"""What the page of a transfer experiment shows: its figures, its maps, and every generation."""

from collections.abc import Mapping, Sequence
from typing import Any

from personascope.runs import RunFolder

# Responses a page holds in full, of each condition and part; the files hold them all.
_SHOWN = 90
_FIGURES = ("trait", "coherence", "perplexity", "repeated", "tokens")


def transfer_figures(folder: RunFolder) -> dict[str, Any]:
    """Plain values from the files of a finished experiment. Raises `UserError` where it is not finished."""
    found = folder.load_json("aggregated_results.json")
    rows = folder.load_json("generation_results.json")
    return {**found, "maps": _maps(folder, found["main"]), **_responses(rows)}


def _maps(folder: RunFolder, main: Mapping[str, int]) -> list[dict[str, Any]]:
    """The experiment's own maps, one for all personas or one for each, ridge first; none where nothing moves by a map."""
    if not (folder.path / "cv_results.json").exists():
        return []
    return [
        {"persona": one.get("persona"), "kind": kind, **plain}
        for one in folder.load_json("cv_results.json")["settings"]
        if all(one[name] == value for name, value in main.items())
        for kind, plain in sorted(one["maps"].items(), key=lambda each: each[0] != "ridge")
    ]


def _responses(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The responses, [condition, prompt, sample, text, figures …] each: prompts and conditions by number. A condition's
    responses to development prompts and to test prompts are two."""
    prompts: dict[str, int] = {}
    conditions: dict[tuple[Any, ...], int] = {}
    counts: dict[int, int] = {}
    kept = []
    for row in rows:
        key = tuple(
            row[name] for name in ("persona", "method", "alpha", "source_layer", "target_layer", "texts", "part")
        )
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
