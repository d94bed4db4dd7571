"""The sections of an organism's figures on personas in time: how long they stay, and what questions find of them."""

from personascope.validation.figures import Figures
from personascope.validation.persisting import agreement
from personascope.validation.tables import number, spread, table


def lives(figures: Figures) -> list[str]:
    """Half-lives beside what the planted chain predicts."""
    found = agreement(figures.persisting)
    return [
        "### How long personas stay",
        "",
        f"Steered for 48 tokens, then sampled for 400 without, {figures.persisting[0].rows} rows a persona. *Learned*: how "
        "often the model keeps a persona from sentence to sentence in text of its own, after a system prompt was taken away. "
        "*Predicted*: the half-life of the planted chain with the learned stickiness of all personas, some of what left one "
        "coming back, by the same fit. *Measured*: that of the projection. With intervals over prompts. Spearman's rank "
        "correlation of learned stickiness and half-life: "
        f"{found.rank:.2f}, and {found.apart:.2f} over those whose predicted half-lives are a sentence or more apart; slope "
        "of measured on predicted half-lives, in logarithms and by the errors of both (York, 1966): "
        f"{found.slope.estimate:.2f} [{found.slope.low:.2f}, {found.slope.high:.2f}]; geometric mean of measured over "
        f"predicted: {found.ratio.estimate:.2f} [{found.ratio.low:.2f}, {found.ratio.high:.2f}].",
        "",
        *table(
            "persona|planted|learned|predicted|interval|measured|interval",
            (
                [
                    one.persona,
                    f"{one.planted:g}",
                    f"{one.learned.estimate:.2f}",
                    f"{one.predicted.estimate:.0f}",
                    f"{one.predicted.low:.0f} to {one.predicted.high:.0f}",
                    f"{one.half_life.estimate:.0f}",
                    f"{one.half_life.low:.0f} to {one.half_life.high:.0f}",
                ]
                for one in figures.persisting
            ),
        ),
    ]


def signatures(figures: Figures) -> list[str]:
    """Roles told apart by inserted questions, and steering with what was found."""
    found = figures.inserted
    return [
        "### Question insertion",
        "",
        "Conversations of five pairs of turns under each role, asked eight questions after each pair, with the instruction "
        "taken away. Nearest centroid among twelve roles, on held-out questions and transcripts: by single states "
        f"{spread(found.one_state)}, by a conversation's mean over its points {spread(found.conversation)}. The exact "
        f"posterior, given the same turns without the instruction, names the role at {found.known:.3f} of the points: "
        "a conversation may well have left its role when it is cut. The table has each role's share of the slot words in "
        "fresh conversations, steered with vectors of one length.",
        "",
        *table(
            "role|unsteered|own direction|signature|signature of no role|brought by the signature, of the own",
            (
                [
                    one.persona,
                    number(one.unsteered),
                    number(one.own),
                    number(one.signature),
                    number(one.no_role),
                    f"{one.brought:.2f}",
                ]
                for one in found.signed
            ),
        ),
    ]
