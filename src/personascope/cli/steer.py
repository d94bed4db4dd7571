"""The `--steer` option: what to write, in one word."""

import re
from collections.abc import Sequence

from personascope.directions import DirectionSet
from personascope.engine.writes import Write, add
from personascope.errors import UserError

_STEER = re.compile(r"(?P<name>[^@:]+)(@(?P<layer>\d+))?:(?P<alpha>[^:]+)(:(?P<tokens>.+))?")

HELP = "NAME[@LAYER]:ALPHA[:TOKENS], such as evil@3:1.0 or evil:1.5:response[:40]; the layer chosen for it by default"


def parse_steer(options: Sequence[str], directions: Sequence[DirectionSet]) -> list[Write]:
    """Writes from `--steer` options. Raises `UserError` naming the part that is wrong."""
    by_name = {one.name: one for one in directions}
    writes = []
    for option in options:
        match = _STEER.fullmatch(option.strip())
        if match is None:
            raise UserError(f"--steer {option!r} cannot be read; write {HELP}")
        if match["name"] not in by_name:
            raise UserError(
                f"--steer {option!r}: there is no direction {match['name']!r}; there are {', '.join(sorted(by_name))}"
            )
        try:
            alpha = float(match["alpha"])
        except ValueError as error:
            raise UserError(f"--steer {option!r}: {match['alpha']!r} is not a number") from error
        found = by_name[match["name"]]
        layer = int(match["layer"]) if match["layer"] is not None else found.steer_layer
        writes.append(add(found[layer], alpha, tokens=match["tokens"] or "sampling"))
    return writes
