"""The traits that are watched: at which layers, at which each is read, and which may read by chance."""

from collections.abc import Iterable, Sequence

from personascope.directions import DirectionSet
from personascope.errors import UserError
from personascope.extraction.doubts import maybe_chance

_MOST_LAYERS = 8


def watched_layers(traits: Sequence[DirectionSet], layers: Sequence[int] | None = None) -> tuple[DirectionSet, ...]:
    """The traits cut to the layers to watch: those given, or each trait's own best and some evenly spread, at most 8."""
    if isinstance(traits, DirectionSet):
        traits = [traits]
    if not traits or not all(isinstance(trait, DirectionSet) for trait in traits):
        raise UserError("there is nothing to watch; give direction sets, as extract and load_directions make them")
    if layers is not None and not layers:
        raise UserError("there are no layers to watch; give at least one, or none at all for a choice of them")
    if layers is None:
        held = sorted({layer for trait in traits for layer in trait.layers})
        best = {trait.best_layer for trait in traits}
        spread = [held[round(place * (len(held) - 1) / (_MOST_LAYERS - 1))] for place in range(_MOST_LAYERS)]
        wanted = set(held if len(held) <= _MOST_LAYERS else sorted(best)[:_MOST_LAYERS])
        for layer in spread:
            if len(wanted) < _MOST_LAYERS:
                wanted.add(layer)
        layers = sorted(wanted)
    return tuple(
        trait.only([layer for layer in layers if layer in trait.layers] or [trait.best_layer]) for trait in traits
    )


def reading_layer(trait: DirectionSet) -> int:
    """The layer a trait is read at: the one chosen for it if that is watched, the middle one of those watched if not."""
    return trait.best_layer if trait.best_layer in trait.layers else trait.layers[len(trait.layers) // 2]


def reading_keys(traits: Iterable[DirectionSet]) -> list[str]:
    """`name@layer` of each trait at the layer it is read at."""
    return [f"{trait.name}@{reading_layer(trait)}" for trait in traits]


def doubt(trait: DirectionSet) -> str | None:
    """Why what is read of a trait, at the layer it is read at, may be chance; None where nothing says so."""
    return maybe_chance(trait, reading_layer(trait))


def doubted(traits: Iterable[DirectionSet]) -> list[DirectionSet]:
    """The traits whose readings may be chance."""
    return [trait for trait in traits if doubt(trait) is not None]
