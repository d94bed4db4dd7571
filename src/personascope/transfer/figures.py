"""The figures of one condition, from its responses."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from personascope.statistics import resampled_means
from personascope.transfer.evaluation import Evaluation, likert

_COLUMNS = ("trait", "coherence", "perplexity", "repeated", "tokens", "share", "well_formed")


def values(found: Sequence[Evaluation], column: str) -> tuple[list[float], list[str]]:
    """The numbers of a column, and the prompt of each; those that could not be had left out."""
    told = [(getattr(one, column), one.row.prompt) for one in found]
    kept = [(float(value), prompt) for value, prompt in told if value is not None]
    return [value for value, _ in kept], [prompt for _, prompt in kept]


def mean(found: Sequence[Evaluation], column: str) -> float | None:
    numbers, _ = values(found, column)
    return float(np.mean(numbers)) if numbers else None


def by_prompt(found: Sequence[Evaluation], column: str) -> dict[str, float]:
    """The mean of a column for each prompt."""
    held: dict[str, list[float]] = defaultdict(list)
    for value, prompt in zip(*values(found, column), strict=True):
        held[prompt].append(value)
    return {prompt: float(np.mean(numbers)) for prompt, numbers in held.items()}


def counts(found: Sequence[Evaluation]) -> dict[str, int]:
    """How many responses were judged, and of how many the trait could be told."""
    told = len(values(found, "trait")[0])
    return {"judged": sum(one.trait is not None or one.coherence is not None for one in found), "told": told}


def figures(found: Sequence[Evaluation], has_intervals: bool = True) -> dict[str, Any]:
    """Of one condition: of every column its mean, standard deviation and interval, None where nothing could be told; and
    of how many the trait was."""
    plain: dict[str, Any] = {
        "n": len(found),
        **counts(found),
        "collapse": float(np.mean([one.is_collapsed for one in found])),
    }
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for column in _COLUMNS:
        numbers, prompts = values(found, column)
        plain[column] = float(np.mean(numbers)) if numbers else None
        plain[f"{column}_sd"] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
        plain[f"{column}_interval"] = None
        if len(set(prompts)) > 1 and has_intervals:
            alike[tuple(prompts)].append(column)
    for units, columns in alike.items():
        # Columns that were told for the same responses share their resamples.
        table = np.stack([values(found, column)[0] for column in columns], axis=1)
        bounds = np.quantile(resampled_means(table, units), [0.025, 0.975], axis=0)
        plain |= {f"{column}_interval": bounds[:, place].tolist() for place, column in enumerate(columns)}
    for column in ("trait", "coherence"):
        plain[f"{column}_likert"] = None if plain[column] is None else likert(plain[column])
    return plain
