"""What an organism was to reach, and by how many personas it was."""

import math
from collections.abc import Iterable, Sequence

from personascope.statistics import Interval
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


def summary(figures: Figures) -> list[str]:
    """One line for each thing to reach, as a table, and why some fall short."""
    rows = reached(figures)
    return [*table("to reach|reached|falls short by", rows), *_why(rows, figures)]


def reached(figures: Figures) -> list[list[str]]:
    """For each thing to reach: what, whether or how many of how many, and by how much it falls short."""
    decisions = figures.decisions
    after = {one.persona: one for one in figures.afterglow}
    lives = agreement(figures.persisting)
    return [
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
            *_reached([("", _outside(lives.slope, 1.0), 0.0)]),
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


def _why(rows: Iterable[Sequence[str]], figures: Figures) -> list[str]:
    """A line for each that falls short and of which it is known why."""
    reasons = [(what, _reason(what, figures)) for what, _, short in rows if short != "–"]
    said = [f"- {what} – {reason}" for what, reason in reasons if reason]
    return ["", "Why some fall short:", "", *said] if said else []


def _reason(what: str, figures: Figures) -> str:
    """Why a line of the summary may fall short; nothing where that is not known."""
    if what.startswith("reading without"):
        return (
            "not for want of knowledge: a ridge read the posterior within 0.003 off an organism of this grammar. The mean "
            "difference also takes up what else moves along it, at a sentence's first words and inside words of several "
            "pieces (`docs/decisions/010-organisms-look-ahead.md`)."
        )
    if what.startswith("after steering"):
        most = max(figures.afterglow, key=lambda one: abs(one.difference.estimate))
        return (
            f"by its interval over questions the difference of {most.persona} lies between {most.difference.low:+.3f} and "
            f"{most.difference.high:+.3f}."
        )
    if what.startswith("screening"):
        personas = len({one.persona for one in figures.thirds})
        return f"of {personas} personas with three thirds each, two thirds in another order cost {0.5 / personas:g}."
    lives = [one for one in figures.persisting if one.is_known]
    if what.startswith("half-lives: slope") and lives:
        longest = max(lives, key=lambda one: one.predicted.estimate)
        low, high = longest.half_life.low, longest.half_life.high
        return (
            f"of those that are to stay longest, {longest.persona} is to halve in {longest.predicted.estimate:.0f} tokens by "
            f"the chain, and does in {low:.0f} to {high:.0f}."
        )
    if what.startswith("roles told apart without their instruction, by single"):
        return (
            "a conversation may well have left its role where it is cut; the exact posterior, given the same turns, names "
            f"the role at {figures.inserted.known:.3f} of the points."
        )
    return ""


def _outside(interval: Interval, value: float) -> float:
    """How far a value is from an interval, below 0 inside; infinite where an end is not known."""
    return max(interval.low - value, value - interval.high) if all(map(math.isfinite, interval)) else math.inf


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
