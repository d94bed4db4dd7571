"""What continuous sampling found, as tables."""

import math
from collections.abc import Mapping

from personascope.cli.terminal import say, table, within
from personascope.persistence.crossing import Crossing
from personascope.persistence.curves import Persistence
from personascope.persistence.decay import Decay

# What stands beside a steered direction, row by row.
_BESIDE = {"random": "random", "prompted": "by system prompt"}


def print_persistence(found: Persistence) -> None:
    """Who stays longest, and how every direction falls."""
    ranked = dict(found.ranking())
    rows = []
    for one in found.verdicts():
        key, why, usable = one["direction"], one["left_out"], f"{one['usable']} of {one['rows']}"
        alpha = f"{found.alphas[key]:g}"
        if why in (None, "one prompt"):
            rows.append([key, alpha, *_fall(found.decay(key)), usable])
        else:
            rows.append([key, alpha, why, "–", "–", "–", usable])
        rows += [[f"  {_BESIDE[kind]}", "", *_fall(found.decay(key, kind=kind)), ""] for kind in one["controls"]]
    table(
        "",
        ["direction", "α", "initial lift", "floor", "half-life", "area / lift", "rows of use"],
        rows,
        spare=["area / lift", "rows of use", "floor"],
    )
    print(
        "Projections above the paired rows of no steering, in residual-stream units; lives in tokens; 95 % over prompts."
    )
    if any(found.decay(key).verdict == "one prompt" for key in found.alphas):
        say("one prompt says nothing of others: give several, for intervals and a ranking")
    if any(decay.half_life.estimate > found.n_sample for decay in ranked.values()):
        say(
            f"half-lives beyond the {found.n_sample} tokens sampled are extrapolated, and what does not decay in them may "
            "still do so later: sample more with --n-sample"
        )


def _fall(decay: Decay) -> list[str]:
    """How far up a curve begins, where it ends, and how long it takes."""
    if decay.verdict in ("no lift", "loops"):
        return [decay.verdict, "–", "–", "–"]
    return [
        within(decay.initial, 2),
        within(decay.floor, 2),
        _life(decay),
        "–" if math.isnan(decay.area) else f"{decay.area:.0f}",
    ]


def _life(decay: Decay) -> str:
    if decay.verdict == "decays slowly":
        return f"more than {decay.half_life.low:.0f}"
    return "does not decay" if math.isinf(decay.half_life.estimate) else within(decay.half_life, 0)


def print_crossings(crossings: Mapping[str, Crossing]) -> None:
    """Text against cache, for every direction that was steered with."""
    rows = []
    for steered, crossing in crossings.items():
        for key in next(iter(crossing.forced.values())):
            effects = [
                within(crossing.effect(of, key, where), 2)
                for where in ("forced", "sampled")
                for of in ("text", "cache")
            ]
            rows.append([steered, key, *effects])
    for steered, crossing in crossings.items():
        if crossing.failed:
            say(
                f"note: {crossing.failed} of {len(crossing.units)} rows of {steered} failed while text and cache were set "
                "against each other, and are left out of this"
            )
    columns = ["steered", "read", "text, forced", "cache, forced", "text, sampled", "cache, sampled"]
    table("", columns, rows, words=["read"])
    print(
        "What a steered text, and a cache made under steering, add to the mean projection: on one and the same continuation"
    )
    print("(forced), and on what each goes on to say (sampled).")
