"""`personascope features summary`: what is in a folder of feature runs, and what is missing."""

from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.terminal import JsonOption, emit, say, table
from personascope.errors import UserError
from personascope.features.found import FILE as FOUND
from personascope.features.found import Found
from personascope.features.mined_file import FILE as MINED
from personascope.features.mined_file import load_mined
from personascope.report.features import RESULT
from personascope.runs import RunFolder


def summary_command(
    folder: Annotated[Path, typer.Argument(help="folder with runs in it, or a run folder", metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    """Say what is in a folder of feature runs: what was found and mined, sizes, and what is missing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds runs of `personascope features`")
    # Links are followed one step down and no further.
    paths = sorted({path.parent for pattern in ("*/run.json", "**/run.json") for path in folder.glob(pattern)})
    runs = [one for one in map(_read, paths) if one is not None and one.what.startswith("features ")]
    if not runs:
        raise UserError(f"{folder} holds no runs of `personascope features`")
    listed = [_summary(one) for one in runs]
    if as_json:
        emit({"runs": listed})
        return
    rows = [
        [
            one["run"],
            one["what"],
            one["state"],
            one["holds"],
            f"{one['bytes'] / 1e6:.1f} MB",
            ", ".join(one["missing"]) or "–",
        ]
        for one in listed
    ]
    table("", ["run", "what", "state", "holds", "size", "missing"], rows, ["what", "state", "holds", "missing"])


_EXPECTED = {
    "features find": (FOUND, RESULT, "report.html"),
    "features mine": (MINED, RESULT, "report.html"),
    "features steer": ("steering.json",),
}


def _read(path: Path) -> RunFolder | None:
    """The run in a folder, None where its `run.json` is none of ours or damaged; that is said."""
    try:
        return RunFolder.read(path)
    except UserError as error:
        say(f"note: {error}")
        return None


def _summary(folder: RunFolder) -> dict[str, Any]:
    """One run as plain values."""
    missing = [name for name in _EXPECTED.get(folder.what, ()) if not (folder.path / name).exists()]
    holds = "–"
    try:
        for name in _EXPECTED.get(folder.what, ()):
            if name.endswith(".json") and name not in missing:
                plain = folder.load_json(name)
        if folder.what == "features find" and not missing:
            found = Found.load(folder.path)
            holds = f"{len(found.indices)} of {found.n_features:,} features, {len(found.prompts)} prompts"
            holds += f", {len(found.controls)} controls" if found.controls else ""
        elif folder.what == "features mine" and not missing:
            mined = load_mined(folder.path)
            count = sum(map(len, mined.contexts.values()))
            holds = f"{len(mined.features)} features, {count} contexts of {mined.tally.tokens:,} tokens"
        elif folder.what == "features steer" and not missing:
            tried = {(one["feature"], one["persona"]) for one in plain["doses"] if one["length"]}
            holds = f"{len({one for one, _ in tried} - {None})} features for {len({one for _, one in tried})} personas"
    except (UserError, KeyError, TypeError):
        missing.append("a file that is whole")
    return {
        "run": str(folder.path),
        "what": folder.what,
        "state": folder.record.get("state"),
        "holds": holds,
        "bytes": sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()),
        "missing": missing,
    }
