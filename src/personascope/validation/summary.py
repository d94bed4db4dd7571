"""What an organism was to reach, and by how many personas it was."""

from collections.abc import Iterable, Sequence

from personascope.validation.figures import (
    AFTERGLOW_WITHIN,
    BROUGHT,
    DECISIONS_ABOVE,
    DECISIONS_OF_POSTERIOR,
    RANKED,
    READING_WITHIN,
    RECOMMENDED,
    SCREENED,
    SHARE,
    TOLD,
    WELL_FORMED,
    Figures,
)
from personascope.validation.persisting import agreement
from personascope.validation.screening import rank_correlation
from personascope.validation.tables import table

# By how a line of the summary begins, why it may fall short.
_WHY = {
    "reading without": "not for want of knowledge: a ridge read the posterior within 0.003 off an organism of this grammar. "
    "The mean difference also takes up what else moves along it, at a sentence's first words and inside words of several "
    "pieces (`docs/decisions/010-organisms-look-ahead.md`).",
    "after steering": "480 rows know a share to about ±0.03, by a rough estimate.",
    "screening": "four personas with three thirds each: one pair of thirds in another order costs 0.125.",
    "half-lives: slope": "the longest half-lives decide, and they are known to within a factor of two.",
    "roles told apart without their instruction, by single": "a conversation may well have left its role where it is cut; "
    "the exact posterior, given the same turns, names the role at {known:.3f} of the points.",
}


def summary(figures: Figures) -> list[str]:
    """One line for each thing to reach, as a table, and why some fall short."""
    decisions = figures.decisions
    after = {one.persona: one for one in figures.afterglow}
    lives = agreement(figures.persisting)
    rows = [
        [
            f"reading without a system prompt: within {READING_WITHIN} of the posterior",
            *_reached((one.persona, one.posterior - one.projection, READING_WITHIN) for one in figures.free),
        ],
        [
            f"reading under system prompts: within {READING_WITHIN} of the posterior",
            *_reached((one.persona, one.posterior - one.projection, READING_WITHIN) for one in figures.held),
        ],
        [
            "reading on neutral words, without a system prompt: above word counting",
            *_reached((one.persona, one.neutral_words - one.neutral_projection, 0.0) for one in figures.free),
        ],
        [
            "reading on neutral words, under system prompts: above word counting",
            *_reached((one.persona, one.neutral_words - one.neutral_projection, 0.0) for one in figures.held),
        ],
        [
            f"steering: share ≥ {SHARE} at well-formed ≥ {WELL_FORMED}",
            *_reached(
                (one.persona, max(SHARE - one.share, WELL_FORMED - one.well_formed), 0.0) for one in figures.steered
            ),
        ],
        [
            f"after steering: within {AFTERGLOW_WITHIN} of the chain's prediction",
            *_reached((name, abs(one.measured - one.predicted), AFTERGLOW_WITHIN) for name, one in after.items()),
        ],
        [
            f"decision points: F1 at least {DECISIONS_OF_POSTERIOR} of the posterior's",
            *_reached([("", DECISIONS_OF_POSTERIOR - decisions.projections / max(decisions.posterior, 1e-9), 0.0)]),
        ],
        [
            f"decision points: F1 at least {DECISIONS_ABOVE} above full stops and random places",
            *_reached(
                [("", DECISIONS_ABOVE - (decisions.projections - max(decisions.full_stops, decisions.random)), 0.0)]
            ),
        ],
        [
            f"recommended dose: at least {RECOMMENDED} of the best found by brute force",
            *_reached((one.persona, RECOMMENDED - one.reached, 0.0) for one in figures.recommended),
        ],
        [
            f"recommended layer to read at: at least {RECOMMENDED} of the best",
            *_reached((one.persona, RECOMMENDED - one.read_reached, 0.0) for one in figures.recommended),
        ],
        [
            f"screening: rank correlation with what fine-tuning brings at least {SCREENED}",
            *_reached([("", SCREENED - rank_correlation(figures.thirds), 0.0)]),
        ],
        [
            f"half-lives a sentence or more apart: rank correlation with learned stickiness at least {RANKED}",
            *_reached([("", RANKED - lives.apart, 0.0)]),
        ],
        [
            "half-lives: slope on what the chain predicts has 1 in its interval",
            *_reached([("", max(lives.slope.low - 1, 1 - lives.slope.high), 0.0)]),
        ],
        [
            f"roles told apart without their instruction, by single states: at least {TOLD}",
            *_reached([("", TOLD - figures.inserted.one_state.estimate, 0.0)]),
        ],
        [
            f"roles told apart without their instruction, by conversations: at least {TOLD}",
            *_reached([("", TOLD - figures.inserted.conversation.estimate, 0.0)]),
        ],
        [
            f"a signature brings at least {BROUGHT} of what the role's own direction brings",
            *_reached((one.persona, BROUGHT - one.brought, 0.0) for one in figures.inserted.signed),
        ],
        [
            f"the signature of no role brings less than {BROUGHT / 5:g} of the words more than nothing",
            *_reached((one.persona, one.no_role - one.unsteered, BROUGHT / 5) for one in figures.inserted.signed),
        ],
    ]
    return [*table("to reach|reached|falls short by", rows), *_why(rows, figures.inserted.known)]


def _why(rows: Iterable[Sequence[str]], known: float) -> list[str]:
    """A line for each that falls short and of which it is known why."""
    said = [
        f"- {what} – {why.format(known=known)}"
        for what, _, short in rows
        for beginning, why in _WHY.items()
        if short != "–" and what.startswith(beginning)
    ]
    return ["", "Why some fall short:", "", *said] if said else []


def _reached(checks: Iterable[tuple[str, float, float]]) -> list[str]:
    """How many of (name, shortfall, allowed) hold, and which don't."""
    listed = list(checks)
    short = sorted(((gap - allowed, name) for name, gap, allowed in listed if not gap <= allowed), reverse=True)
    if len(listed) == 1:
        return ["yes" if not short else "no", f"{short[0][0]:.3f}" if short else "–"]
    return [
        f"{len(listed) - len(short)} of {len(listed)}",
        ", ".join(f"{name} {gap:.3f}" for gap, name in short) or "–",
    ]
