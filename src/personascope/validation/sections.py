"""An organism's figures, section by section, as Markdown."""

from collections.abc import Sequence

import numpy as np

from personascope.validation.figures import Figures
from personascope.validation.reading import Reading
from personascope.validation.screening import pooled_rank_correlation, rank_correlation
from personascope.validation.summary import summary
from personascope.validation.tables import number, table
from personascope.validation.time_sections import lives, signatures


def figure_sections(figures: Figures) -> list[str]:
    """All tables of one organism, as lines of Markdown; what was to be reached first."""
    return [
        *summary(figures),
        "",
        "### Reading",
        "",
        "AUROC of the projection after each token against the planted persona of the next word, at the layer where single "
        "tokens of all personas are told apart best on average, on the rollouts kept for reporting when directions are made. "
        "Beside it: the exact posterior given the same text (what can be known at all), decayed counts of the persona's own "
        "words, the projection at layer 0, and at the layer chosen for the persona by its own tokens alone, where the two "
        "differ. *Neutral*: only after words that no persona owns.",
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
        "*After*: its share in the four sentences after steering stopped at token 60 and the text was read once more "
        "without it, and what the planted chain predicts from the exact belief at that moment; the difference with its "
        "interval over questions.",
        "",
        *table(
            "persona|layer|α|share|unsteered|well-formed|stickiness|after|predicted|difference|interval",
            (
                [
                    one.persona,
                    str(one.layer),
                    f"{one.alpha:g}",
                    number(one.share),
                    number(one.unsteered_share),
                    number(one.well_formed),
                    f"{after.stickiness:g}",
                    number(after.measured),
                    number(after.predicted),
                    f"{after.difference.estimate:+.3f}",
                    f"{after.difference.low:+.3f} to {after.difference.high:+.3f}",
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
        *table(
            "persona|slightly|plain|very|negated|well-formed",
            (
                [
                    one.persona,
                    *(f"{shown:.2f} ({planted:.2f})" for shown, planted in zip(one.shown, one.planted, strict=True)),
                    f"{one.negated:.2f} ({one.planted_negated:.2f})",
                    number(one.well_formed),
                ]
                for one in figures.prompted
            ),
        ),
        "",
        "### Decision points",
        "",
        "F1 of places within two tokens of planted switches of persona; the rule's false alarms are set on neutral texts.",
        "",
        *table(
            "rule on projections|same rule on the exact posterior|every full stop|random places|switches|tokens",
            [
                [
                    number(figures.decisions.projections),
                    number(figures.decisions.posterior),
                    number(figures.decisions.full_stops),
                    number(figures.decisions.random),
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
        *table(
            "persona|recommended: layer, α|value|best: layer, α|value|share of the best|reading|best|share of the best",
            (
                [
                    one.persona,
                    f"{one.layer}, {one.alpha:g}",
                    f"{one.value:.1f}",
                    f"{one.best_layer}, {one.best_alpha:g}",
                    f"{one.best_value:.1f}",
                    f"{one.reached:.2f}",
                    number(one.read),
                    number(one.best_read),
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
        *table(
            "persona|third|predicted|share before|share after",
            (
                [
                    one.persona,
                    ("top", "middle", "bottom")[one.rank],
                    f"{one.predicted:+.2f}",
                    number(one.before),
                    number(one.share),
                ]
                for one in figures.thirds
            ),
        ),
        "",
        *lives(figures),
        "",
        *signatures(figures),
        "",
    ]


def _readings(readings: Sequence[Reading]) -> list[str]:
    neutral = "neutral: projection|neutral: posterior|neutral: words"
    names = (
        "projection",
        "posterior",
        "words",
        "embedding",
        "neutral_projection",
        "neutral_posterior",
        "neutral_words",
    )
    own = ["" if one.chosen_layer == one.layer else f"{one.chosen_layer}: {number(one.chosen)}" for one in readings]
    cells = [[number(getattr(one, name)) for name in names] for one in readings]
    rows = [
        [one.persona, str(one.layer), *values[:4], chosen, *values[4:]]
        for one, values, chosen in zip(readings, cells, own, strict=True)
    ]
    means = [number(float(np.mean([getattr(one, name) for one in readings]))) for name in names]
    return table(
        f"persona|layer|projection|posterior|words|layer 0|own layer|{neutral}",
        [*rows, ["*mean*", "", *means[:4], "", *means[4:]]],
    )
