"""Options that take numbers and ranges of them: `--layers`, `--points`."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from personascope.errors import UserError

HELP = "such as 3,4,8-12, or all"
LayersOption = Annotated[list[str] | None, typer.Option("--layers", help=f"{HELP} (the default); several times")]
_MOST = 1_000_000
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def read_numbers(text: str, option: str) -> list[int]:
    """The numbers of a list with ranges, ascending. Raises `UserError` on anything else."""
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise UserError(f"{option} {text!r} cannot be read; write {HELP}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{option} {text!r}: {part.strip()} ends before it begins")
        if last - first >= _MOST:
            raise UserError(f"{option} {text!r}: {part.strip()} is more than {_MOST:,} numbers; name fewer")
        found.update(range(first, last + 1))
    return sorted(found)


def joined(options: Sequence[str]) -> str:
    """What an option that was given several times says in all."""
    return "all" if "all" in options else ",".join(options)


def parse_layers(text: str | None, n_layers: int) -> list[int] | None:
    """The layers of a model; None where the option was not given. Raises `UserError` on layers it does not have."""
    if text is None:
        return None
    if text.strip() == "all":
        return list(range(n_layers))
    layers = read_numbers(text, "--layers")
    if layers[-1] >= n_layers:
        raise UserError(f"layer {layers[-1]} is out of range: the model has layers 0 to {n_layers - 1}")
    return layers
