"""`personascope import`: directions, personas, and projections per token, from other tools' files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.other_files import import_personas, kind_of, point_to
from personascope.cli.terminal import JsonOption, emit, table
from personascope.directions import DirectionSet
from personascope.directions.doors import import_directions
from personascope.errors import UserError
from personascope.runs import Config, RunFolder, write_json
from personascope.runs.files import file_name


def import_command(
    file: Annotated[
        list[Path],
        typer.Argument(
            help=".pt, .gguf, .npz or .safetensors; or .json of trait dashboards or of personas, also several"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for directions or personas; run folder for a dashboard")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="instead of the file's own name")] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="of a file with a single vector", min=0)] = None,
    tokens: Annotated[
        list[Path] | None,
        typer.Option("--tokens", help="where a dashboard's tokens are, if not in it; one for each file"),
    ] = None,
    kind: Annotated[str | None, typer.Option("--as", help="what rows are: persona-vectors or blocks")] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn another tool's vectors into directions, and say which row became which layer; its trait files into persona
    files; or its projections per token into a run with a page."""
    kinds = [kind_of(one) for one in file]
    for one, held in zip(file, kinds, strict=True):
        if held in ("rollouts", "transcripts"):
            raise point_to(one, held)
    if all(held == "persona" for held in kinds):
        if layer is not None or kind is not None or tokens:
            raise UserError("--layer, --as and --tokens say nothing about personas; leave them out")
        import_personas(file, out, name, as_json)
        return
    if "persona" in kinds:
        raise UserError(f"{file[kinds.index('persona')]} is a persona file and the others are not; import them apart")
    if all(one.suffix == ".json" for one in file):
        _dashboards(file, tokens or [], out, name, layer, as_json)
        return
    if len(file) > 1:
        raise UserError("vectors are imported one file at a time; only .json files may be several")
    out = out or Path("directions")
    sets = import_directions(file[0], name, layer, kind)
    targets = [out / f"{file_name(one.name)}.safetensors" for one in sets]
    for directions, target in zip(sets, targets, strict=True):
        _refuse_another(target, directions)
    # One that holds the same directions stays: it may know more of them, such as how good they are.
    files = [
        target if target.exists() else directions.save(target) for directions, target in zip(sets, targets, strict=True)
    ]
    if as_json:
        listed = [
            {"name": one.name, "layers": one.layers, "provenance": dict(one.provenance), "file": written}
            for one, written in zip(sets, files, strict=True)
        ]
        emit({"directions": listed})
        return
    rows = [
        [one.name, f"{one.layers[0]}–{one.layers[-1]}", str(one.vectors.shape[1]), str(one.provenance.get("rows", ""))]
        for one in sets
    ]
    table("", ["name", "layers", "width", "rows"], rows, ["rows"])
    print()
    for written in files:
        print(f"directions  {written}")


def _refuse_another(path: Path, directions: DirectionSet) -> None:
    """Raise `UserError` where a file would be written over that holds other directions."""
    if not path.exists():
        return
    try:
        is_same = DirectionSet.load(path).digest == directions.digest
    except (UserError, OSError):
        is_same = False
    if not is_same:
        raise UserError(f"{path} holds something else already; give another --out, or --name")


def _dashboards(
    files: Sequence[Path], tokens: Sequence[Path], out: Path | None, name: str | None, layer: int | None, as_json: bool
) -> None:
    from personascope.report import write_report
    from personascope.watching.dashboards import dashboard_run, read_dashboard

    if tokens and len(tokens) != len(files):
        raise UserError(f"there are {len(tokens)} files of --tokens for {len(files)} dashboards; give one for each")
    beside: Sequence[Path | None] = tokens or [None] * len(files)
    rows = [read_dashboard(one, other, name, layer) for one, other in zip(files, beside, strict=True)]
    plain = dashboard_run(rows)
    identity = {"files": [str(one) for one in files]}
    path = out or Path("runs") / f"import-{files[0].stem}"
    folder = RunFolder.open(path, "watch", Config(identity), {"model": "imported"}, 0)
    with folder.running():
        write_json(folder.path / "watch.json", plain, indent=None)
        page = write_report([folder.path], folder.path / "report.html")
    traits = [trait["name"] for trait in plain["traits"]]
    emit({"run": folder.path, "report": page, "traits": traits}) if as_json else print(f"report  {page}")


COMMAND = import_command
