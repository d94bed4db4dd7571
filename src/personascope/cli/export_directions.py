"""`personascope export`: directions into other tools' files."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.terminal import JsonOption, emit
from personascope.directions.direction_set import load_directions
from personascope.directions.doors import export_directions
from personascope.errors import UserError


def export_command(
    directions: Annotated[Path, typer.Argument(help="a directions file, or a folder with one in it")],
    to: Annotated[Path, typer.Argument(help="file to write: .gguf, .pt, .npz or .safetensors")],
    trait: Annotated[str | None, typer.Option("--trait", help="which one, where the folder holds several")] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="such as 3,4; all by default")] = None,
    n_layers: Annotated[int | None, typer.Option("--n-layers", help="of the model, for .pt")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write directions for llama.cpp, repeng, persona-vectors or numpy."""
    sets = load_directions(directions)
    chosen = [one for one in sets if trait in (None, one.name)]
    if len(chosen) != 1:
        raise UserError(f"{directions} holds {', '.join(one.name for one in sets)}; say which one with --trait")
    one = chosen[0]
    if layers is not None:
        try:
            one = one.only([int(part) for part in layers.split(",")])
        except ValueError as error:
            raise UserError(f"--layers {layers!r} cannot be read; write numbers with commas") from error
    written = export_directions(one, to, n_layers)
    emit({"file": written, "layers": one.layers}) if as_json else print(written)


COMMAND = export_command
