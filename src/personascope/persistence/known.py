"""Personas by name: those that ship, and a user's own."""

from collections.abc import Iterable
from pathlib import Path

from personascope.errors import UserError
from personascope.personas import Persona, load_persona, persona_names
from personascope.runs import cell_key


def known_personas(own: Iterable[Persona | str | Path] = ()) -> dict[str, Persona]:
    """By name, the shipped personas and some others, or their files, which take the place of shipped ones of the same name.

    Raises `UserError` where two of the others have one name, and as `load_persona` does.
    """
    given: dict[str, Persona] = {}
    for one in map(load_persona, own):
        if one.name in given and given[one.name] != one:
            raise UserError(f"two of the personas given are called {one.name!r}; rename one of them in its file")
        given[one.name] = one
    return {name: load_persona(name) for name in persona_names()} | given


def persona_keys(own: Iterable[Persona | str | Path]) -> list[str]:
    """Their names, each with a hash of all that it says."""
    return sorted(f"{one.name}:{cell_key(persona=one.model_dump(mode='json'))[:8]}" for one in map(load_persona, own))
