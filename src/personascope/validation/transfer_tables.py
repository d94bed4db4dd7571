"""The figures of carrying personas between organisms in Markdown, beside what was to be reached."""

from collections.abc import Sequence

import numpy as np

from personascope.validation.transfer_ways import DRAWS, MORE
from personascope.validation.transferring import (
    DRAWN,
    LEAST,
    MEDIAN,
    NAIVE,
    NAIVE_MEDIAN,
    NAIVE_MOST,
    WELL_FORMED,
    Arrived,
    TransferFigures,
)

_CORPORA = ("mixed", "neutral", "leave-persona-out", "differences of the other personas")


def transfer_page(figures: Sequence[TransferFigures], command: str) -> str:
    """A page with a section for each direction."""
    opening = f"""# Personas carried between the organisms, measured

`{command}` makes this page. Every vector is steered with at a quarter
of the target's median residual norm times α; of each persona α is the largest at which the target's own vector, the oracle,
keeps {WELL_FORMED:g} of the sentences well-formed.
Efficacy: of the share of the persona's words that the oracle brings beyond none, what the carried vector brings. Nearest:
how many are nearer to their own persona's oracle than to any other. Cosine: to the oracle, median. What is left to chance
(random directions, random projections, shuffled pairs) is drawn {DRAWS} times and means over the draws are shown: of one draw
in a space of few large dimensions some persona's words may come by chance.

What the map is fitted on decides. *mixed*: texts with every persona's words, drawn independently of persona. *neutral*: with
no persona's words. *leave-persona-out*: as mixed, without those of the persona that is carried. With the last two nothing
need arrive, and what may help was tried: {MORE} times as many texts (*all texts*), orthogonal maps with and without
whitening, other layers, and in place of texts the contrast differences of the other personas.
"""
    return "\n".join([opening, *map(_section, figures)])


def _section(one: TransferFigures) -> str:
    ridge = _efficacies(one.of("mixed", "ridge"))
    naive = [each for way in NAIVE for each in one.of("mixed" if way == "shuffled" else "", way)]
    idle = _efficacies(naive)
    kept = sum(each.is_nearest for each in one.of("mixed", "ridge"))
    reached = [
        (
            "ridge on mixed texts, median efficacy",
            f"{np.median(ridge):.2f}",
            f"≥ {MEDIAN:g}",
            np.median(ridge) >= MEDIAN,
        ),
        ("the least", f"{ridge.min():.2f}", f"≥ {LEAST:g}", ridge.min() >= LEAST),
        ("nearest to its own oracle", f"{kept} of {len(ridge)}", "all", kept == len(ridge)),
        (
            f"{', '.join(NAIVE)}: median",
            f"{np.median(idle):.2f}",
            f"≤ {NAIVE_MEDIAN:g}",
            np.median(idle) <= NAIVE_MEDIAN,
        ),
        ("the most, of means over draws", f"{idle.max():.2f}", f"≤ {NAIVE_MOST:g}", idle.max() <= NAIVE_MOST),
    ]
    luckiest = max((each for each in naive if each.way in DRAWN), key=lambda each: each.most)
    keys = dict.fromkeys((each.corpus, each.way, each.source_layer, each.target_layer) for each in one.arrived)
    main = [key for key in keys if key[2:] == one.layers]
    near = [key for key in keys if key[2:] != one.layers]
    return "\n".join(
        [
            f"## organism:{one.source} → organism:{one.target}",
            "",
            f"Layers {one.layers[0]} → {one.layers[1]}, by CKA; {one.texts:,} texts; {one.rows} responses at each dose.",
            "",
            "| | measured | to reach | reached |",
            "|---|--:|--:|---|",
            *(f"| {what} | {value} | {bar} | {'yes' if is_met else 'no'} |" for what, value, bar, is_met in reached),
            "",
            f"The most that a single one of {DRAWS} draws brought: {luckiest.most:.2f} ({luckiest.way}, {luckiest.persona}).",
            "",
            "| fitted on | way | efficacy: median | least | most | well-formed | nearest | cosine |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
            *(f"| {key[0] or '–'} | {key[1]} | {_figures(one, key)} |" for key in main),
            "",
            "Ridge at other layers of the target, with the source's likest layer:",
            "",
            "| layers | fitted on | efficacy: median | least | most | well-formed | nearest | cosine |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
            *(f"| {key[2]} → {key[3]} | {key[0]} | {_figures(one, key)} |" for key in near),
            "",
            "Each persona by ridge:",
            "",
            "| persona | α | " + " | ".join(_CORPORA) + " |",
            "|---|--:|" + "--:|" * len(_CORPORA),
            *_personas(one),
            "",
        ]
    )


def _figures(one: TransferFigures, key: tuple[str, str, int, int]) -> str:
    found = [each for each in one.arrived if (each.corpus, each.way, each.source_layer, each.target_layer) == key]
    all_of = _efficacies(found)
    near = sum(each.is_nearest for each in found)
    return (
        f"{np.median(all_of):.2f} | {all_of.min():.2f} | {all_of.max():.2f} | "
        f"{np.mean([each.well_formed for each in found]):.2f} | {near} of {len(found)} | "
        f"{np.median([each.cosine for each in found]):.2f}"
    )


def _personas(one: TransferFigures) -> list[str]:
    by_corpus = [{each.persona: each for each in one.of(corpus, "ridge")} for corpus in _CORPORA]
    return [
        f"| {name} | {each.alpha:g} | " + " | ".join(f"{held[name].efficacy:.2f}" for held in by_corpus) + " |"
        for name, each in by_corpus[0].items()
    ]


def _efficacies(arrived: Sequence[Arrived]) -> np.ndarray:
    return np.array([each.efficacy for each in arrived])
