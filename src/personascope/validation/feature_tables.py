"""The figures of organisms' SAEs in Markdown, beside what was to be reached."""

from collections.abc import Sequence

from personascope.validation.features import (
    DETECTED,
    FOLD,
    IN_TOP,
    OF_PERSONAS,
    PRECISION,
    WELL_FORMED,
    Detected,
    FeatureFigures,
)


def feature_page(figures: Sequence[FeatureFigures], command: str) -> str:
    """A page with a section for each organism."""
    opening = f"""# Features of the organisms' SAEs, measured

`{command}` makes this page. Features were chosen on some conversations and measured on others. AUROC: of the feature after
each token against the persona of the next word, on tokens of responses, and on those of them that are no persona's word;
beside it the projection on the difference of means at the same layer, and the best of as many random features of the same
activity. Rank: of a detecting feature among those that `find_features` tells prompts under the persona from others by.
Precision: of the twenty contexts mined, how many have their peak in a sentence of the persona, choose one's first word,
or are in the persona's own system prompt or a question under it.
Steering: with the decoder column, the length in median residual norms that brings most of the persona's words at
{WELL_FORMED:g} or more well-formed sentences.
"""
    return "\n".join([opening, *map(_section, figures)])


def _section(one: FeatureFigures) -> str:
    count = len(one.detected)
    explained = "–" if one.sparsity.explained is None else f"{one.sparsity.explained:.3f}"
    detected = sum(each.auroc >= DETECTED for each in one.detected)
    neutral = sum(each.neutral >= DETECTED for each in one.detected)
    in_top = sum(each.rank is not None and each.rank <= IN_TOP for each in one.detected)
    precise = sum(each.precision >= PRECISION for each in one.detected)
    steering = sum(_steers(each) for each in one.detected)
    rows = [
        _row(
            "some feature detects the persona", detected, count, f"AUROC ≥ {DETECTED:g}, {OF_PERSONAS:.0%}", OF_PERSONAS
        ),
        f"| the same on neutral-word tokens | {neutral} of {count} | reported apart | – |",
        _row("found on prompts under the persona", in_top, count, f"among the first {IN_TOP}", 1.0),
        _row("mined contexts come from the persona", precise, count, f"precision at 20 ≥ {PRECISION:g}", 1.0),
        _row("its decoder brings its words", steering, count, f"{FOLD:g}-fold, well-formed ≥ {WELL_FORMED:g}", 1.0),
        *(_self_row(place, rank) for place, rank in one.self_ranks.items()),
    ]
    table = [
        f"| {each.persona} | {each.feature} | {each.auroc:.3f} | {each.neutral:.3f} | {each.difference:.3f} | "
        f"{each.difference_neutral:.3f} | {each.random:.3f} | {each.rank or '–'} | {each.precision:.2f} | {each.length:g} | "
        f"{each.unsteered:.2f} → {each.share:.2f} | {each.well_formed:.2f} |"
        for each in one.detected
    ]
    return "\n".join(
        [
            f"## organism:{one.organism}",
            "",
            f"{one.sparsity.l0:.1f} features active on a token (trained for {one.sparsity.promised:g}), {explained} of the "
            f"variance explained, on {one.sparsity.tokens:,} tokens. Mined: {one.mined_tokens:,} tokens.",
            "",
            "| | measured | to reach | reached |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Self-talk: feature {one.self_feature}, AUROC {one.self_auroc:.2f} against the register of the next word.",
            "",
            "| persona | feature | AUROC | neutral words | difference of means | neutral words | random | rank | precision | "
            "length | share | well-formed |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
            *table,
            "",
        ]
    )


def _row(what: str, reached: int, count: int, bar: str, share: float) -> str:
    return f"| {what} | {reached} of {count} | {bar} | {'yes' if reached >= share * count else 'no'} |"


def _self_row(place: str, rank: int | None) -> str:
    measured = "not among the first twenty" if rank is None else f"rank {rank}"
    reached = "yes" if rank is not None and rank <= IN_TOP else "no"
    what = f"self-talk's feature, self prompts against controls, at `{place}`"
    return f"| {what} | {measured} | among the first {IN_TOP} | {reached} |"


def _steers(one: Detected) -> bool:
    return one.share >= FOLD * one.unsteered and one.well_formed >= WELL_FORMED
