"""The tables of an organism's figures, as Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np

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
from personascope.validation.reading import Reading
from personascope.validation.screening import pooled_rank_correlation, rank_correlation


def figure_sections(figures: Figures) -> list[str]:
    """All tables of one organism, as lines of Markdown; what was to be reached first."""
    return [
        *_summary(figures),
        "",
        "### Reading",
        "",
        "AUROC of the projection after each token, at the layer chosen for reading, against the planted persona of the "
        "next word. Beside it: the exact posterior given the same text (what can be known at all), decayed counts of the "
        "persona's own words, and the projection at layer 0. *Neutral*: only after words that no persona owns.",
        "",
        "Without a system prompt:",
        "",
        *_readings(figures.free),
        "",
        "Under system prompts that hold a persona:",
        "",
        *_readings(figures.held),
        "",
        "### Steering, and what stays after it",
        "",
        "Layer and α were chosen on other questions. *Share*: of the slot words, those that are the persona's own. "
        "*After*: its share in the four sentences after steering stopped at token 60, and what the planted chain predicts "
        "from the exact belief at that moment.",
        "",
        *_table(
            "persona|layer|α|share|unsteered|well-formed|stickiness|after|predicted|difference",
            (
                [
                    one.persona,
                    str(one.layer),
                    f"{one.alpha:g}",
                    _number(one.share),
                    _number(one.unsteered_share),
                    _number(one.well_formed),
                    f"{after.stickiness:g}",
                    _number(after.measured),
                    _number(after.predicted),
                    f"{after.measured - after.predicted:+.3f}",
                ]
                for one in figures.steered
                for after in figures.afterglow
                if after.persona == one.persona
            ),
        ),
        "",
        "### System prompts",
        "",
        "Eval questions, which are not in the corpus. For a persona of words its share of the slot words, for a behaviour "
        "how far it is shown; in brackets the same of conversations drawn from the grammar.",
        "",
        *_table(
            "persona|slightly|plain|very|negated|well-formed",
            (
                [
                    one.persona,
                    *(f"{shown:.2f} ({planted:.2f})" for shown, planted in zip(one.shown, one.planted, strict=True)),
                    f"{one.negated:.2f} ({one.planted_negated:.2f})",
                    _number(one.well_formed),
                ]
                for one in figures.prompted
            ),
        ),
        "",
        "### Decision points",
        "",
        "F1 of places within two tokens of planted switches of persona; the rule's false alarms are set on neutral texts.",
        "",
        *_table(
            "rule on projections|same rule on the exact posterior|every full stop|random places|switches|tokens",
            [
                [
                    _number(figures.decisions.projections),
                    _number(figures.decisions.posterior),
                    _number(figures.decisions.full_stops),
                    _number(figures.decisions.random),
                    str(figures.decisions.switches),
                    str(figures.decisions.tokens),
                ]
            ],
        ),
        "",
        "### Recommendations",
        "",
        "The recommended dose beside the best of all layers and doses, tried on questions that neither was chosen on: trait "
        "× coherence, 0–100, both measured again with another seed. *Reading*: single-token AUROC at the recommended "
        "layer and at the best one, on the report split.",
        "",
        *_table(
            "persona|recommended: layer, α|value|best: layer, α|value|share of the best|reading|best|share of the best",
            (
                [
                    one.persona,
                    f"{one.layer}, {one.alpha:g}",
                    f"{one.value:.1f}",
                    f"{one.best_layer}, {one.best_alpha:g}",
                    f"{one.best_value:.1f}",
                    f"{one.reached:.2f}",
                    _number(one.read),
                    _number(one.best_read),
                    f"{one.read_reached:.2f}",
                ]
                for one in figures.recommended
            ),
        ),
        "",
        "### Screening",
        "",
        "A mixed set of answers is ranked by projection difference along a persona, and the model fine-tuned on each third. "
        "*Predicted*: the third's mean difference, in standard deviations of the set; *share*: of the persona's words in "
        "what the fine-tuned model says to neutral questions. Rank correlation inside each persona, averaged: "
        f"{rank_correlation(figures.thirds):.2f}; of all thirds together: {pooled_rank_correlation(figures.thirds):.2f}.",
        "",
        *_table(
            "persona|third|predicted|share before|share after",
            (
                [
                    one.persona,
                    ("top", "middle", "bottom")[one.rank],
                    f"{one.predicted:+.2f}",
                    _number(one.before),
                    _number(one.share),
                ]
                for one in figures.thirds
            ),
        ),
        "",
        *_lives(figures),
        "",
        *_signatures(figures),
        "",
    ]


def _lives(figures: Figures) -> list[str]:
    found = agreement(figures.persisting)
    return [
        "### How long personas stay",
        "",
        f"Steered for 48 tokens, then sampled for 400 without, {figures.persisting[0].rows} rows a persona. *Learned*: how "
        "often the model keeps a persona from sentence to sentence in text of its own, after a system prompt was taken away. "
        "*Predicted*: the half-life of a chain with the learned stickiness, by the same fit. *Measured*: that of the "
        "projection, with its interval over prompts. Spearman's rank correlation of learned stickiness and half-life: "
        f"{found.rank:.2f}, and {found.apart:.2f} over those whose predicted half-lives are a sentence or more apart; slope "
        f"of measured on predicted half-lives, in logarithms and weighted by precision: {found.slope.estimate:.2f} "
        f"[{found.slope.low:.2f}, {found.slope.high:.2f}]; geometric mean of measured over predicted: "
        f"{found.ratio.estimate:.2f} [{found.ratio.low:.2f}, {found.ratio.high:.2f}].",
        "",
        *_table(
            "persona|planted|learned|predicted|measured|interval",
            (
                [
                    one.persona,
                    f"{one.planted:g}",
                    f"{one.learned:.2f}",
                    f"{one.predicted:.0f}",
                    f"{one.half_life.estimate:.0f}",
                    f"{one.half_life.low:.0f} to {one.half_life.high:.0f}",
                ]
                for one in figures.persisting
            ),
        ),
    ]


def _signatures(figures: Figures) -> list[str]:
    found = figures.inserted
    return [
        "### Question insertion",
        "",
        "Conversations of five pairs of turns under each role, asked eight questions after each pair, with the instruction "
        "taken away. Nearest centroid among twelve roles, on held-out questions and transcripts: by single states "
        f"{_spread(found.one_state)}, by a conversation's mean over its points {_spread(found.conversation)}. The exact "
        f"posterior, given the same turns without the instruction, names the role at {found.known:.3f} of the points: "
        "a conversation may well have left its role when it is cut. The table has each role's share of the slot words in "
        "fresh conversations, steered with vectors of one length.",
        "",
        *_table(
            "role|unsteered|own direction|signature|signature of no role|brought by the signature, of the own",
            (
                [
                    one.persona,
                    _number(one.unsteered),
                    _number(one.own),
                    _number(one.signature),
                    _number(one.no_role),
                    f"{one.brought:.2f}",
                ]
                for one in found.signed
            ),
        ),
    ]


def _spread(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _summary(figures: Figures) -> list[str]:
    """What was to be reached, and by how many personas it was."""
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
    return _table("to reach|reached|falls short by", rows)


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


def _readings(readings: Sequence[Reading]) -> list[str]:
    columns = "persona|layer|projection|posterior|words|layer 0|neutral: projection|neutral: posterior|neutral: words"
    names = (
        "projection",
        "posterior",
        "words",
        "embedding",
        "neutral_projection",
        "neutral_posterior",
        "neutral_words",
    )
    rows = [[one.persona, str(one.layer), *(_number(getattr(one, name)) for name in names)] for one in readings]
    means = [_number(float(np.mean([getattr(one, name) for one in readings]))) for name in names]
    return _table(columns, [*rows, ["*mean*", "", *means]])


def _table(columns: str, rows: Iterable[Sequence[str]]) -> list[str]:
    names = columns.split("|")
    return [
        "| " + " | ".join(names) + " |",
        "|" + "|".join("---" if place == 0 else "--:" for place in range(len(names))) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}"
