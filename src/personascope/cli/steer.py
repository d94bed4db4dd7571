"""The `--steer` option: what to write, in one word."""

import math
import re
from collections.abc import Sequence

from personascope.directions import DirectionSet
from personascope.engine.writes import Write, ablate, add, cap
from personascope.errors import UserError

# What follows the name.
_STEER = re.compile(r"(@(?P<layer>\d+))?(:(?P<what>[^:]+)(:(?P<tokens>.+))?)?")
_BOUND = re.compile(r"(?P<side>floor|ceiling)=(?P<value>.+)")

HELP = (
    "NAME[@LAYER]:WHAT[:TOKENS], such as evil@3:1.0, evil:1.5:response[:40], evil:ablate, evil:ceiling=2.5 or "
    "assistant_axis:floor=p25 (a percentile of its own, p0 to p100); without a layer at the one chosen to steer at, or "
    "else to read at; NAME alone adds the dose that was chosen"
)
# Times the largest dose that was tried, beyond which a dose is worth a word.
_FAR = 2


def parse_steer(options: Sequence[str], directions: Sequence[DirectionSet]) -> list[Write]:
    """Writes from `--steer` options. Raises `UserError` naming the part that is wrong."""
    by_name = {one.name: one for one in directions}
    writes = []
    for option in options:
        text = option.strip()
        # A name may hold a colon, as that of directions of response[:8] does: the longest one that fits is meant.
        fits = (one for one in by_name if text == one or text.startswith((f"{one}@", f"{one}:")))
        name = max(fits, key=len, default=None)
        if name is None and re.match(r"[^@:]+", text):
            said = re.split(r"[@:]", text)[0]
            raise UserError(
                f"--steer {option!r}: there is no direction {said!r}; there are {', '.join(sorted(by_name))}"
            )
        match = _STEER.fullmatch(text[len(name) :]) if name is not None else None
        if name is None or match is None:
            raise UserError(f"--steer {option!r} cannot be read; write {HELP}")
        found = by_name[name]
        layer = int(match["layer"]) if match["layer"] is not None else found.steer_layer
        what = match["what"] or _chosen(option, found, layer)
        writes.append(_write(option, found, layer, what, match["tokens"] or "sampling"))
    return writes


def notes(options: Sequence[str], writes: Sequence[Write], directions: Sequence[DirectionSet]) -> list[str]:
    """What the options write, a line each, for whoever reads the terminal."""
    chosen = {one.name: one.choices.get("steer_layer") for one in directions}
    tried = {
        one.name: max((abs(dose["alpha"]) for dose in one.choices.get("doses") or ()), default=math.inf)
        for one in directions
    }
    said = []
    for option, write in zip(options, writes, strict=True):
        for line in write.describe():
            name, _, layer = line["direction"].rpartition("@")
            sizes = {"α": line.get("alpha")}
            if line["operation"] != "ablate":
                sizes |= {"floor": line.get("floor"), "ceiling": line.get("ceiling")}
            size = "".join(f", {what} = {value:g}" for what, value in sizes.items() if value is not None)
            why = (
                ""
                if chosen.get(name) is not None or option.strip()[len(name) :].startswith("@")
                else "; no layer was chosen to steer at, so it may not be the best one"
            )
            far = abs(sizes["α"] or 0) > _FAR * tried[name]
            why += f"; no dose above {tried[name]:g} was tried, and much larger ones break the text" if far else ""
            said.append(f"{line['operation']} {name} at layer {layer}{size}, on {line['tokens']}{why}")
    return said


def _chosen(option: str, directions: DirectionSet, layer: int) -> str:
    """The dose that was chosen for a layer, as it is written."""
    # A layer that is not there is the mistake to name first.
    _ = directions[layer]
    chosen = directions.choices.get("alpha")
    if chosen is None or layer != directions.choices.get("steer_layer"):
        at = "" if chosen is None else f" at layer {layer}"
        raise UserError(
            f"--steer {option!r} says no dose, and none was chosen for it{at}; write {option.strip()}:1.0, say"
        )
    return repr(float(chosen))


def _write(option: str, directions: DirectionSet, layer: int, what: str, tokens: str) -> Write:
    direction = directions[layer]
    if what == "ablate":
        return ablate(direction, tokens=tokens)
    bound = _BOUND.fullmatch(what)
    if bound is None:
        return add(direction, _number(option, what), tokens=tokens)
    value = _bound(option, directions, layer, bound["value"])
    if bound["side"] == "floor":
        return cap(direction, floor=value, tokens=tokens)
    return cap(direction, ceiling=value, tokens=tokens)


def _bound(option: str, directions: DirectionSet, layer: int, text: str) -> float:
    """A bound as a number, or as a percentile of the projections that came with the directions."""
    if not text.startswith("p"):
        value = _number(option, text)
        if not math.isfinite(value):
            raise UserError(f"--steer {option!r}: {text} is not a finite number")
        return value
    percentile = _number(option, text[1:])
    try:
        return directions.percentile(layer, percentile)
    except UserError as error:
        raise UserError(f"--steer {option!r}: {error}") from error


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--steer {option!r}: {text!r} is not a number") from error
