"""One page from one run folder or several: a single file that opens offline."""

import base64
import html
import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.report.transfer import transfer_figures
from personascope.runs import RunFolder, write_text

_ASSETS = resources.files(__package__) / "assets"
_MODULES = {
    "personascope/preact-htm": "vendor/preact-htm.js",
    "personascope/echarts": "vendor/echarts.js",
    "personascope/data": "data.js",
    "personascope/doubt": "doubt.js",
    "personascope/text": "text.js",
    "personascope/traits": "traits.js",
    "personascope/chart": "chart.js",
    "personascope/points": "points.js",
    "personascope/opening": "opening.js",
    "personascope/watch": "watch.js",
    "personascope/lines": "lines.js",
    "personascope/matrix": "matrix.js",
    "personascope/vectors": "vectors.js",
    "personascope/persistence": "persistence.js",
    "personascope/insertion": "insertion.js",
    "personascope/features": "features.js",
    "personascope/transfer": "transfer.js",
}
# Nothing may be fetched and nothing sent: a page is complete, and what a model wrote stays text.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def write_report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the page of some runs: the watched rows of all of them, two of which can be looked at side by side, and the
    directions of all of them.

    Raises `UserError` where a folder holds no finished run of a kind that has a page.
    """
    if not runs:
        raise UserError("a report needs at least one run folder")
    return write_text(Path(out), page([view for run in runs for view in _views(RunFolder.read(run))]))


def _views(folder: RunFolder) -> list[dict[str, Any]]:
    """What a page shows of a run, one entry a view."""
    views: dict[str, tuple[Callable[[RunFolder], dict[str, Any]], ...]] = {
        "watch": (watch_run,),
        "extract": (vectors_run,),
        "demo": (watch_run, vectors_run),
        "persist": (persistence_run,),
        "insert": (insertion_run,),
        "features find": (features_run,),
        "features mine": (features_run,),
        "transfer": (transfer_run,),
    }
    if folder.what not in views:
        raise UserError(
            f"{folder.path} is a run of `personascope {folder.what}`, which has no page; its results are the files in it"
        )
    return [view(folder) for view in views[folder.what]]


def page(runs: Sequence[dict[str, Any]]) -> str:
    """The page's HTML."""
    imports = {name: _data_url(path) for name, path in _MODULES.items()}
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Personascope: {html.escape(runs[0]['title'])}</title>",
            f"<style>{_asset('style.css')}</style>",
            f'<script type="importmap">{json.dumps({"imports": imports})}</script>',
            '</head><body><div id="app"></div>',
            f'<script type="application/json" id="runs">{_embedded(runs)}</script>',
            f'<script type="module">{_asset("app.js")}</script>',
            "</body></html>",
            "",
        ]
    )


def vectors_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of an extraction, from its folder alone."""
    found = folder.load_json("vectors.json")
    groups = [group for group in found["groups"] if group["personas"]]
    if not groups:
        raise UserError(f"{folder.path} holds no directions: no persona kept enough rollouts")
    count = sum(len(group["personas"]) for group in groups)
    return {
        "view": "vectors",
        **_facts(folder, _counted(count, "persona")),
        "groups": groups,
    }


def persistence_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of continuous sampling, from its folder alone."""
    found = folder.load_json("persistence.json")
    facts = _facts(folder, f"{_counted(len(found['alphas']), 'direction')}, {_counted(found['rows'], 'row')}")
    return {"view": "persistence", **found, **facts}


def insertion_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of question insertion, from its folder alone."""
    found = folder.load_json("insertion.json")
    facts = _facts(
        folder, f"{_counted(len(found['points']), 'point')}, {_counted(len(found['questions']), 'question')}"
    )
    return {"view": "insertion", **found, **facts}


def features_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of features that were found or mined, from its folder alone."""
    found = folder.load_json("features.json")
    facts = _facts(folder, f"{_counted(len(found['features']), 'feature')} of {found['sae']}, layer {found['layer']}")
    return {"view": "features", **found, **facts}


def transfer_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of a transfer experiment, from its folder alone."""
    found = transfer_figures(folder)
    personas, methods = (_counted(len(found[name]), name[:-1]) for name in ("personas", "methods"))
    facts = _facts(folder, f"from {found['source_model']}, {personas}, {methods}")
    return {"view": "transfer", **found, **facts}


def _facts(folder: RunFolder, what: str) -> dict[str, str]:
    """What the page says of a run in its head: its name, its model, and the rest."""
    record = folder.record
    details = f"{what} · {record.get('started', '')[:10]} · seed {record.get('seed')}"
    return {"title": folder.path.resolve().name, "model": record["model"]["model"], "details": details}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def watch_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of a watch run, from its folder alone; arrays as base64 of little-endian float32."""
    found = folder.load_json("watch.json")
    rows = []
    for row in found["rows"]:
        kept = {
            name: row[name]
            for name in ("label", "tokens", "prompt_length", "turns", "writes", "finish", "error", "points", "verdicts")
        }
        kept["projections"] = {key: _packed(values) for key, values in row["projections"].items()}
        kept["norms"] = {layer: _packed(values) for layer, values in row["norms"].items()}
        if row["tokens"] and row["projections"]:
            rows.append(kept)
    if not rows:
        raise UserError(f"{folder.path} holds no readable rows")
    return {
        "view": "watch",
        **_facts(folder, _counted(len(found["rows"]), "row")),
        "traits": found["traits"],
        "layers": found["layers"],
        "calibration": found["calibration"],
        "rows": rows,
    }


def _embedded(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


@cache
def _asset(path: str) -> str:
    return (_ASSETS / path).read_text(encoding="utf-8")


def _data_url(path: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(_asset(path).encode()).decode()
