"""One page from one run folder or several: a single file that opens offline."""

import base64
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.runs import RunFolder, write_text

_ASSETS = resources.files(__package__) / "assets"
_MODULES = {
    "personascope/preact-htm": "vendor/preact-htm.js",
    "personascope/echarts": "vendor/echarts.js",
    "personascope/data": "data.js",
    "personascope/text": "text.js",
    "personascope/traits": "traits.js",
    "personascope/chart": "chart.js",
    "personascope/points": "points.js",
    "personascope/watch": "watch.js",
}
# Nothing may be fetched and nothing sent: a page is complete, and what a model wrote stays text.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def write_report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the page of some watch runs, two of which can be looked at side by side.

    Raises `UserError` where a folder holds no finished watch run.
    """
    if not runs:
        raise UserError("a report needs at least one run folder")
    folders = [RunFolder.read(run) for run in runs]
    for folder in folders:
        if folder.what not in ("watch", "demo"):
            raise UserError(f"{folder.path} is a {folder.what} run, which has no report page")
    return write_text(Path(out), page([page_run(folder) for folder in folders]))


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


def page_run(folder: RunFolder) -> dict[str, Any]:
    """What a page shows of a run, from its folder alone; arrays as base64 of little-endian float32."""
    found = folder.load_json("watch.json")
    model = folder.record["model"]
    started = folder.record.get("started", "")[:10]
    facts = f"{model['model']} · {len(found['rows'])} rows · {started} · seed {folder.record.get('seed')}"
    rows = []
    for row in found["rows"]:
        kept = {
            name: row[name]
            for name in ("label", "tokens", "prompt_length", "turns", "writes", "error", "points", "verdicts")
        }
        kept["projections"] = {key: _packed(values) for key, values in row["projections"].items()}
        kept["norms"] = {layer: _packed(values) for layer, values in row["norms"].items()}
        if row["tokens"] and row["projections"]:
            rows.append(kept)
    if not rows:
        raise UserError(f"{folder.path} holds no readable rows")
    return {
        "title": folder.path.name,
        "facts": facts,
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
