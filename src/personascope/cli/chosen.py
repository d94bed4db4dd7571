"""The `--trait` option: which of a folder's directions."""

from collections.abc import Sequence
from typing import Annotated

import typer

from personascope.directions import DirectionSet
from personascope.errors import UserError

TraitOption = Annotated[list[str] | None, typer.Option("--trait", help="only this one; several times")]


def chosen(sets: Sequence[DirectionSet], traits: Sequence[str] | None) -> list[DirectionSet]:
    """The sets of these names, all where none is given. Raises `UserError` on a name that none has."""
    unknown = sorted(set(traits or []) - {one.name for one in sets})
    if unknown:
        raise UserError(f"there is no direction {unknown[0]!r}; there are {', '.join(one.name for one in sets)}")
    return [one for one in sets if not traits or one.name in traits]
