"""Many responses in few figures: by condition, the α chosen, and the efficacy of each way of carrying a persona."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from personascope.statistics import bootstrap, holm, resampled_means, sign_flip_test
from personascope.transfer.conditions import Method
from personascope.transfer.evaluation import Evaluation, likert
from personascope.transfer.grid import Part
from personascope.transfer.maps import Setting

# The least mean coherence at which conditions are compared, 0–100: 3.5 on the scale from 1 to 5.
COHERENT = 62.5
# The least share of well-formed sentences at which an organism's oracle is asked for its strongest α.
WELL_FORMED = 0.6
PRIMARY: Method = "ridge_mapped"
_COLUMNS = ("trait", "coherence", "perplexity", "repeated", "tokens", "share", "well_formed")

Key = tuple[str, str, float, Part, Setting]


@dataclass(frozen=True, eq=False)
class Summary:
    """The evaluations of an experiment by condition. main: its own setting; others are of sweeps."""

    evaluations: Sequence[Evaluation]
    personas: tuple[str, ...]
    main: Setting

    @cached_property
    def conditions(self) -> dict[Key, list[Evaluation]]:
        """Responses by persona, method, α, part and setting; the baseline once for each persona."""
        found: dict[Key, list[Evaluation]] = defaultdict(list)
        for one in self.evaluations:
            found[one.persona, one.row.method, one.row.alpha, one.row.part, one.row.setting].append(one)
        return dict(found)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """In the order they were run, the baseline first."""
        return tuple(dict.fromkeys(one.row.method for one in self.evaluations if one.row.setting == self.main))

    def of(
        self, persona: str, method: str, alpha: float, part: Part = "test", setting: Setting | None = None
    ) -> list[Evaluation]:
        return self.conditions.get((persona, method, alpha, part, setting or self.main), [])

    def alphas(self, persona: str, method: str, setting: Setting | None = None) -> list[float]:
        """What was tried."""
        keys = self.conditions
        at = setting or self.main
        return sorted({key[2] for key in keys if key[:2] == (persona, method) and key[3:] == ("test", at)})

    @cached_property
    def chosen(self) -> dict[tuple[str, str], float | None]:
        """By persona and method the α with the most of the trait on development prompts among those that stay coherent
        there; the most coherent where none does. None where nobody judged."""
        return {(name, method): self._choice(name, method) for name in self.personas for method in self.methods}

    def _choice(self, persona: str, method: str) -> float | None:
        tried = []
        for alpha in self.alphas(persona, method):
            found = self.of(persona, method, alpha, "development")
            trait, coherence = mean(found, "trait"), mean(found, "coherence")
            if coherence is not None:
                tried.append((alpha, trait or 0.0, coherence))
        if not tried:
            return None
        coherent = [one for one in tried if one[2] >= COHERENT]
        # Of equal ones the weaker.
        best = max(coherent, key=lambda one: (one[1], -one[0])) if coherent else max(tried, key=lambda one: one[2])
        return best[0]

    def at_choice(self, persona: str, method: str) -> list[Evaluation]:
        """A method's responses to test prompts at the α chosen for it."""
        alpha = self.chosen.get((persona, method))
        return [] if alpha is None else self.of(persona, method, alpha)

    def table(self) -> list[dict[str, Any]]:
        """Every condition: means, standard deviations and intervals that resample prompts."""
        rows = []
        for (persona, method, alpha, part, setting), found in self.conditions.items():
            own = {"persona": persona, "method": method, "alpha": alpha, "part": part, **vars(setting)}
            is_chosen = setting == self.main and self.chosen[persona, method] == alpha
            rows.append({**own, "is_chosen": is_chosen, **figures(found, part == "test")})
        return rows

    def efficacy(self, method: str, personas: Sequence[str] | None = None, column: str = "trait") -> dict[str, Any]:
        """(method − baseline) / (oracle − baseline) on test prompts, each at its own chosen α under the same floor of
        coherence; over several personas a ratio of sums. Its interval resamples prompts. None where the oracle does not
        raise the trait, or nobody judged."""
        names = personas or self.personas
        held = {
            one: [self.at_choice(name, which) for name in names]
            for one, which in (("method", method), ("oracle", "oracle"), ("baseline", "baseline"))
        }
        return ratio(held["method"], held["oracle"], held["baseline"], column)

    def at_oracle(self, persona: str) -> float | None:
        """The largest α at which the oracle's sentences stay well-formed; None where it never is, or nothing is planted."""
        fit = [
            alpha
            for alpha in self.alphas(persona, "oracle")
            if (mean(self.of(persona, "oracle", alpha), "well_formed") or 0.0) >= WELL_FORMED
        ]
        return max(fit, default=None)

    def truth(self) -> dict[str, Any] | None:
        """On an organism: efficacy by the share of a persona's own words, all at the largest α the oracle stays well-formed
        at. None elsewhere."""
        found = {name: self.at_oracle(name) for name in self.personas}
        if not any(alpha is not None for alpha in found.values()):
            return None
        ratios: dict[str, dict[str, float | None]] = {}
        for method in self.methods:
            if method in ("baseline", "oracle", "system_prompt"):
                continue
            ratios[method] = {
                name: ratio(
                    [self.of(name, method, alpha)], [self.of(name, "oracle", alpha)], [self._baseline(name)], "share"
                )["estimate"]
                for name, alpha in found.items()
                if alpha is not None
            }
        spread = {}
        for method, by_persona in ratios.items():
            told = [one for one in by_persona.values() if one is not None]
            if told:
                spread[method] = {"median": float(np.median(told)), "least": min(told), "most": max(told)}
        return {"alphas": found, "efficacies": ratios, "spread": spread}

    def _baseline(self, persona: str) -> list[Evaluation]:
        return self.of(persona, "baseline", 0.0)

    def tests(self) -> list[dict[str, Any]]:
        """Beside the primary endpoint: every method's trait against the baseline's, and the mapped vector's against every
        other method's, prompt by prompt, each at its own chosen α; p-values by sign flips, corrected over all (Holm)."""
        pairs: list[tuple[str, str]] = [(one, "baseline") for one in self.methods if one != "baseline"]
        if PRIMARY in self.methods:
            pairs += [(PRIMARY, one) for one in self.methods if one not in ("baseline", PRIMARY)]
        rows: list[dict[str, Any]] = []
        for one, other in pairs:
            ours, theirs = (
                by_prompt([e for name in self.personas for e in self.at_choice(name, each)], "trait")
                for each in (one, other)
            )
            shared = [prompt for prompt in ours if prompt in theirs]
            if len(shared) > 1:
                differences = np.array([ours[prompt] - theirs[prompt] for prompt in shared])
                p = sign_flip_test(differences)
                rows.append({"method": one, "against": other, "difference": float(differences.mean()), "p": p})
        corrected = holm([row["p"] for row in rows])
        return [{**row, "corrected": float(value)} for row, value in zip(rows, corrected, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Plain values of all of it."""
        others = [one for one in self.methods if one not in ("baseline", "oracle")]
        return {
            "main": vars(self.main),
            "personas": list(self.personas),
            "methods": list(self.methods),
            "conditions": self.table(),
            "chosen": [
                {"persona": name, "method": method, "alpha": alpha} for (name, method), alpha in self.chosen.items()
            ],
            "primary": {"method": PRIMARY, **self.efficacy(PRIMARY)} if PRIMARY in self.methods else None,
            "efficacies": [
                {"persona": name, "method": method, **self.efficacy(method, [name])}
                for method in others
                for name in self.personas
            ]
            + [{"persona": None, "method": method, **self.efficacy(method)} for method in others],
            "tests": self.tests(),
            "truth": self.truth(),
        }


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


def figures(found: Sequence[Evaluation], has_intervals: bool = True) -> dict[str, Any]:
    """Of one condition: of every column its mean, standard deviation and interval, None where nothing could be told."""
    plain: dict[str, Any] = {"n": len(found), "collapse": float(np.mean([one.is_collapsed for one in found]))}
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


def ratio(
    method: Sequence[Sequence[Evaluation]],
    oracle: Sequence[Sequence[Evaluation]],
    baseline: Sequence[Sequence[Evaluation]],
    column: str,
) -> dict[str, Any]:
    """Σ (method − baseline) / Σ (oracle − baseline) over personas, of each persona's responses; prompts are resampled."""
    held = [[by_prompt(one, column) for one in each] for each in (method, oracle, baseline)]
    shared = [prompt for prompt in held[0][0] if all(prompt in one for each in held for one in each)] if held[0] else []
    nothing = {"estimate": None, "low": None, "high": None}
    if not shared:
        return nothing
    ours, theirs, none = (np.array([[one[prompt] for prompt in shared] for one in each]) for each in held)

    def raised(chosen: np.ndarray) -> tuple[float, float]:
        return float((ours - none)[:, chosen].mean(axis=1).sum()), float((theirs - none)[:, chosen].mean(axis=1).sum())

    def statistic(chosen: np.ndarray) -> float:
        by_method, by_oracle = raised(chosen)
        return by_method / by_oracle if by_oracle > 0 else 0.0

    whole = np.arange(len(shared))
    if raised(whole)[1] <= 0:
        return nothing
    if len(shared) < 2:
        return {**nothing, "estimate": statistic(whole)}
    return dict(zip(("estimate", "low", "high"), bootstrap(shared, statistic), strict=True))
