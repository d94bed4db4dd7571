"""`personascope export`: directions into other tools' files."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.layers import joined, read_numbers
from personascope.cli.terminal import JsonOption, emit, say
from personascope.directions.doors import export_directions, load_directions, placed_layers
from personascope.errors import UserError

# Why a format has no place for some layers.
_NO_PLACE = {
    ".gguf": "llama.cpp's control vectors begin at layer 1",
    ".pt": "the last row of persona-vectors' files is what comes after the model's final norm, and no block's output",
}


def export_command(
    directions: Annotated[Path, typer.Argument(help="a directions file, or a folder with one in it")],
    to: Annotated[Path, typer.Argument(help="file to write: .gguf, .pt, .npz or .safetensors")],
    trait: Annotated[str | None, typer.Option("--trait", help="which one, where the folder holds several")] = None,
    layers_given: Annotated[
        list[str] | None,
        typer.Option("--layers", help="such as 3,4,8-12, several times; all that the file has a place for by default"),
    ] = None,
    n_layers: Annotated[int | None, typer.Option("--n-layers", help="of the model, for .pt", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Write directions for llama.cpp, repeng, persona-vectors or numpy."""
    layers = None if layers_given is None else joined(layers_given)
    sets = load_directions(directions)
    chosen = [one for one in sets if trait in (None, one.name)]
    if len(chosen) != 1:
        held = ", ".join(one.name for one in sets)
        wanted = "say which one with --trait" if trait is None else f"there is no {trait!r} to export"
        raise UserError(f"{directions} holds {held}; {wanted}")
    one = chosen[0]
    kept = placed_layers(one, to, n_layers)
    if layers is not None and layers != "all":
        one = one.only(read_numbers(layers, "--layers"))
    elif layers is None:
        left_out = [str(layer) for layer in one.layers if layer not in kept]
        if left_out and kept:
            say(f"{to.suffix} has no place for layer {', '.join(left_out)}, which is left out: {_NO_PLACE[to.suffix]}")
            one = one.only(kept)
    written = export_directions(one, to, n_layers)
    if to.suffix == ".pt":
        say("row r is block r - 1, as in persona-vectors; `personascope import` reads it with --as persona-vectors")
    emit({"file": written, "layers": one.layers}) if as_json else print(written)


COMMAND = export_command
