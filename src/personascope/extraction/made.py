"""What becomes of one persona's rollouts: its directions, with the rollouts that were kept and the figures they give."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from personascope.directions import DirectionSet
from personascope.errors import UserError
from personascope.extraction.extraction import Extraction, examples
from personascope.extraction.quality import poles, quality, split_half, split_half_intervals, token_aurocs
from personascope.extraction.rollouts import Filter, Rollout
from personascope.extraction.selectivity import relate, without_common
from personascope.extraction.splits import SPLITS, SplitName
from personascope.extraction.vectors import method as method_named
from personascope.personas import Persona
from personascope.statistics import cosine
from personascope.subject import Subject


@dataclass(frozen=True, eq=False)
class Made:
    """A persona's directions with the rollouts they came from: all of them, and those that were kept, by split."""

    persona: Persona
    directions: DirectionSet
    rollouts: Sequence[Rollout]
    kept: dict[SplitName, list[Rollout]]


def related(made: Sequence[Made], place: int) -> list[DirectionSet]:
    """The sets, with what their quality owes to what all personas have in common."""
    sets = [each.directions for each in made]
    reported = [each.kept["report"] for each in made]
    return [
        replace(
            one,
            quality={layer: {**figures, **further.get(layer, {})} for layer, figures in one.quality.items()},
        )
        for one, further in zip(sets, without_common(sets, reported, place), strict=True)
    ]


def extraction_of(made: Sequence[Made], sets: Sequence[DirectionSet], place: int) -> Extraction:
    shown = {
        one.name: examples(one, each.rollouts, [r for split in SPLITS for r in each.kept[split]], place)
        for one, each in zip(sets, made, strict=True)
    }
    return Extraction(tuple(sets), shown, relate(sets, [each.kept["report"] for each in made], place))


def make_directions(
    subject: Subject,
    persona: Persona,
    rollouts: Sequence[Rollout],
    layers: tuple[int, ...],
    selection: int,
    method: str,
    rule: Filter,
    settings: dict[str, Any],
) -> Made:
    """Directions from the extract split, the layer to read from the choose split, quality from the report split.

    The layer to read at is the one whose projections tell single tokens of the two poles apart best.
    """
    make = method_named(method)
    reached = [one for one in rollouts if bool(one.means[:, selection].isfinite().all())]
    if not reached:
        raise UserError(f"tokens={settings['tokens']!r} selects nothing in any rollout; choose another selection")
    rollouts = reached
    kept: dict[SplitName, list[Rollout]] = {split: rule.apply(rollouts, persona, split) for split in SPLITS}
    is_paired = method == "paired_pca"
    pairs = poles(kept["extract"], selection, is_paired)
    if not len(pairs[0]):
        raise UserError(
            f"no pair of rollouts of {persona.name!r} survives the filter whole, and paired_pca needs pairs: raise samples, "
            "or use mean_difference"
        )
    vectors = make(*pairs)
    unfiltered = make(*poles([one for one in rollouts if one.cell.split == "extract"], selection, is_paired))
    figures = quality(vectors, layers, kept["report"], selection)
    halves = split_half(kept["extract"], selection, make, is_paired)
    bounds = split_half_intervals(kept["extract"], selection) if method == "mean_difference" else []
    for row, layer in enumerate(layers):
        figures[layer]["unfiltered_cosine"] = cosine(vectors[row].numpy(), unfiltered[row].numpy())
        if halves:
            figures[layer]["split_half_cosine"] = halves[row]
        if bounds:
            figures[layer]["split_half_cosine_interval"] = list(bounds[row])
    chosen_by = token_aurocs(subject, vectors, layers, kept["choose"], settings["tokens"])
    for layer, area in zip(
        layers, token_aurocs(subject, vectors, layers, kept["report"], settings["tokens"]), strict=True
    ):
        figures[layer]["token_auroc"] = area
    best = max(range(len(layers)), key=lambda row: chosen_by[row])
    provenance = {
        **settings,
        **subject.describe(),
        "persona": persona.name,
        "kind": persona.kind,
        "positive_pole": persona.positive_pole,
        "sampled": _counts(rollouts),
        "kept": _counts([one for split in SPLITS for one in kept[split]]),
    }
    choices = {"read_layer": layers[best], "read_reason": _read_reason(layers, chosen_by, best)}
    return Made(persona, DirectionSet(persona.name, layers, vectors, figures, choices, provenance), rollouts, kept)


def _read_reason(layers: Sequence[int], areas: Sequence[float], best: int) -> str:
    """Why this layer, in one sentence."""
    others = sorted((row for row in range(len(layers)) if row != best), key=lambda row: -areas[row])
    said = (
        "its projections tell single tokens of the two poles apart best, the instruction taken away, on the questions kept "
        "for choosing: AUROC"
    )
    runner_up = f", then layer {layers[others[0]]} with {areas[others[0]]:.3f}" if others else ""
    return f"{said} {areas[best]:.3f}{runner_up}"


def _counts(rollouts: Sequence[Rollout]) -> dict[str, dict[str, int]]:
    return {
        split: {
            pole: sum(one.cell.split == split and one.cell.pole == pole for one in rollouts) for pole in ("pos", "neg")
        }
        for split in SPLITS
    }
