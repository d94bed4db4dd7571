"""`personascope import`: directions from other tools' files."""

import re
from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.terminal import JsonOption, emit, table
from personascope.directions.doors import import_directions

# What a file name should not hold, whatever another tool called its vectors.
_UNSAFE = r"[^\w .\[\]-]|^\."


def import_command(
    file: Annotated[Path, typer.Argument(help=".pt, .gguf, .npz or .safetensors of another tool")],
    out: Annotated[Path, typer.Option("--out", help="folder for the directions")] = Path("directions"),
    name: Annotated[str | None, typer.Option("--name", help="instead of the file's own name")] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="of a file with a single vector", min=0)] = None,
    kind: Annotated[str | None, typer.Option("--as", help="what rows are: persona-vectors or blocks")] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn another tool's vectors into directions, and say which row became which layer."""
    sets = import_directions(file, name, layer, kind)
    files = [one.save(out / f"{re.sub(_UNSAFE, '_', one.name)}.safetensors") for one in sets]
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
    print(f"\ndirections  {out}")


COMMAND = import_command
