"""`personascope features show` and `summary`: what runs found and mined."""

from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from personascope.cli.find import print_found
from personascope.cli.terminal import JsonOption, emit, printable, progress, quiet_libraries, say, stdout, table
from personascope.directions.direction import TokenLens
from personascope.errors import UserError
from personascope.features.contexts import Context
from personascope.features.explain import explain
from personascope.features.found import FILE as FOUND
from personascope.features.found import Found
from personascope.features.mined import Mined
from personascope.features.mined_file import FILE as MINED
from personascope.features.mined_file import load_mined
from personascope.features.neuronpedia import neuronpedia_records
from personascope.judging.endpoint import Endpoint
from personascope.report.features import RESULT, save_labels
from personascope.runs import RunFolder, write_json

_AROUND = 12
RunArgument = Annotated[Path, typer.Argument(help="run folder of `features find` or `features mine`", metavar="RUN")]


def show_command(
    run: RunArgument,
    feature: Annotated[list[int] | None, typer.Option("--feature", help="only this one; may be given again")] = None,
    contexts: Annotated[int, typer.Option("--contexts", help="shown per feature")] = 5,
    labels: Annotated[
        bool,
        typer.Option("--explain", help="let a chat model label the features; PERSONASCOPE_JUDGE_BASE_URL and _MODEL"),
    ] = False,
    neuronpedia: Annotated[
        Path | None, typer.Option("--neuronpedia", help="also write the features here, in Neuronpedia's shape")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run's features: contexts with the tokens marked that fire them, statistics, tokens they promote."""
    quiet_libraries()
    folder = RunFolder.read(run)
    if folder.what == "features find":
        if labels or neuronpedia:
            raise UserError(
                f"{run} holds no contexts to explain or export; mine some with `features mine --found {run}`"
            )
        plain = folder.load_json(RESULT)
        found = Found.load(run)
        _check_known(feature, found.indices.tolist(), "found")
        if as_json:
            emit(_only(plain, feature))
            return
        promoted = {one["feature"]: [token for token, _ in one["promoted"]] for one in plain["features"]}
        print_found(found, feature, promoted)
        return
    if folder.what != "features mine":
        raise UserError(
            f"{run} is a run of `personascope {folder.what}`; give one of `features find` or `features mine`"
        )
    plain = folder.load_json(RESULT)
    mined = load_mined(run)
    _check_known(feature, mined.features, "mined")
    if labels:
        plain = _explained(folder, mined, feature)
    lenses = {one["feature"]: _lens(one) for one in plain["features"]}
    named = {one["feature"]: one["label"] for one in plain["features"] if "label" in one}
    if neuronpedia is not None:
        write_json(neuronpedia, neuronpedia_records(mined, lenses, named))
    if as_json:
        emit(_only(plain, feature))
        return
    print_contexts(mined, contexts, feature, plain["features"])


def _check_known(asked: list[int] | None, known: Sequence[int], how: str) -> None:
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        raise UserError(f"feature {unknown[0]} was not {how} here; there are {', '.join(map(str, known))}")


def _only(plain: dict[str, Any], features: list[int] | None) -> dict[str, Any]:
    """A run's result with these features alone."""
    return {**plain, "features": [one for one in plain["features"] if not features or one["feature"] in features]}


def _lens(record: dict[str, Any]) -> TokenLens:
    return TokenLens(*(tuple((str(t), float(e)) for t, e in record[side]) for side in ("promoted", "suppressed")))


def _explained(folder: RunFolder, mined: Mined, features: list[int] | None) -> dict[str, Any]:
    """The run's result with labels."""
    endpoint = Endpoint.from_environment()
    with closing(folder.journal) as journal, progress() as advance:
        found = explain(mined, endpoint, features, journal, advance)
    return save_labels(folder, found)


def print_contexts(
    mined: Mined, count: int, features: list[int] | None = None, records: list[dict[str, Any]] | None = None
) -> None:
    """Each feature's numbers, and its best contexts with the tokens in colour that fire it."""
    known = {one["feature"]: one for one in records or ()}
    rates, means = mined.tally.rate, mined.tally.mean
    print(f"{mined.tally.tokens:,} tokens of {mined.documents:,} documents in {mined.corpus}, layer {mined.layer}.")
    for feature in features or mined.features:
        column = mined.features.index(feature)
        record = known.get(feature, {})
        head = Text(f"\nfeature {feature}", style="bold")
        head.append(
            f"  fires on {rates[column]:.2%} of tokens, there {means[column]:.2f} in the mean", style="not bold"
        )
        if "label" in record:
            score = f" (tells {record['label_score']:.2f})" if record["label_score"] is not None else ""
            head.append(f"  {printable(record['label'])}{score}", style="italic not bold")
        stdout.print(head)
        if record.get("promoted"):
            words = " ".join(token.strip() or "␣" for token, _ in record["promoted"])
            stdout.print(Text(f"  promotes {printable(words)}", style="dim"))
        for one in mined.contexts[feature][:count]:
            stdout.print(_line(mined, one))
        if not mined.contexts[feature]:
            stdout.print(Text("  never fired", style="dim"))


def _line(mined: Mined, one: Context) -> Text:
    """A context's surroundings of its peak, tokens marked that have at least half of its activation."""
    line = Text(f"  {one.score:7.2f}  ", no_wrap=True, overflow="ellipsis")
    pieces = list(map(printable, mined.pieces(one.ids)))
    start = max(0, one.peak - _AROUND)
    for strong, group in groupby(
        range(start, min(len(pieces), one.peak + 4)), lambda place: one.activations[place] >= one.score / 2
    ):
        text = "".join(pieces[place] for place in group)
        if strong and not stdout.is_terminal:
            bare = text.lstrip(" ")
            text = f"{text[: len(text) - len(bare)]}«{bare}»"
        line.append(text, style="bold reverse" if strong else "")
    return line


def summary_command(
    folder: Annotated[Path, typer.Argument(help="folder with runs in it, or a run folder", metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    """Say what is in a folder of feature runs: what was found and mined, sizes, and what is missing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds runs of `personascope features`")
    paths = [folder] if (folder / "run.json").exists() else sorted(p.parent for p in folder.glob("*/run.json"))
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
        if folder.what == "features find" and not missing:
            found = Found.load(folder.path)
            holds = f"{len(found.indices)} of {found.n_features:,} features, {len(found.prompts)} prompts"
            holds += f", {len(found.controls)} controls" if found.controls else ""
        elif folder.what == "features mine" and not missing:
            mined = load_mined(folder.path)
            count = sum(map(len, mined.contexts.values()))
            holds = f"{len(mined.features)} features, {count} contexts of {mined.tally.tokens:,} tokens"
    except UserError:
        missing.append("a file that is whole")
    return {
        "run": str(folder.path),
        "what": folder.what,
        "state": folder.record.get("state"),
        "holds": holds,
        "bytes": sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()),
        "missing": missing,
    }
