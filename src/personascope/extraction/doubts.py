"""What a user should know before relying on a direction."""

from personascope.directions import DirectionSet

_LEAST_AGREEMENT = 0.5


def doubts(directions: DirectionSet) -> list[str]:
    """Why a direction may be no good, a sentence each, from its own quality figures and from what its rollouts leave
    open; none where nothing speaks against it or nothing was measured."""
    said = list(map(str, directions.provenance.get("remarks", ())))
    figures = directions.quality.get(directions.best_layer, {})
    by_chance = maybe_chance(directions, directions.best_layer)
    if by_chance is not None:
        said.append(by_chance)
    agreement = figures.get("split_half_cosine")
    if agreement is not None and agreement < _LEAST_AGREEMENT:
        said.append(f"directions from either half of its rollouts differ (cosine {agreement:.2f}); take more samples")
    idle = maybe_idle(directions)
    if idle is not None:
        said.append(idle)
    return said


def maybe_chance(directions: DirectionSet, layer: int) -> str | None:
    """Why what a layer's direction reads may be chance; None where it is surely better or was not measured."""
    figures = directions.quality.get(layer, {})
    interval, chance = figures.get("auroc_interval"), figures.get("auroc_null")
    if interval is None or chance is None or interval[0] > chance:
        return None
    return (
        f"at layer {layer} it tells the poles apart not surely better than chance: AUROC {figures['auroc']:.2f}, with an "
        f"interval from {interval[0]:.2f}, where shuffled labels reach {chance:.2f}"
    )


def maybe_idle(directions: DirectionSet) -> str | None:
    """Why steering at the chosen layer and dose may bring nothing; None where it surely does or was not tried."""
    steering = directions.choices.get("steering")
    if steering is None:
        return None
    before, after = steering["unsteered"], steering["steered"]
    if after["trait_interval"][0] > before["trait"]:
        return None
    return (
        f"steering with it does not surely bring the trait out (from {before['trait']:.0f} to {after['trait']:.0f}, at least "
        f"{after['trait_interval'][0]:.0f}, of 100)"
    )
