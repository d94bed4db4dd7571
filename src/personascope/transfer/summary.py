"""Many responses in few figures: by condition, the α chosen, and the efficacy of each way of carrying a persona."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from personascope.statistics import holm, sign_flip_test
from personascope.transfer.conditions import Method
from personascope.transfer.efficacy import is_raised, ratio
from personascope.transfer.evaluation import Evaluation
from personascope.transfer.figures import by_prompt, counts, figures, mean
from personascope.transfer.grid import Part
from personascope.transfer.maps import Setting

# The least mean coherence at which conditions are compared, 0–100: 3.5 on the scale from 1 to 5.
COHERENT = 62.5
# The least share of well-formed sentences at which an organism's oracle is asked for its strongest α.
WELL_FORMED = 0.6
PRIMARY: Method = "ridge_mapped"

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

    @cached_property
    def test_prompts(self) -> tuple[str, ...]:
        """Those of the experiment's own setting."""
        rows = [one.row for one in self.evaluations]
        return tuple(dict.fromkeys(one.prompt for one in rows if one.part == "test" and one.setting == self.main))

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """What `tests` compares: every method with the baseline, and the mapped vector with every other."""
        pairs: list[tuple[str, str]] = [(one, "baseline") for one in self.methods if one != "baseline"]
        if PRIMARY in self.methods:
            pairs += [(PRIMARY, one) for one in self.methods if one not in ("baseline", PRIMARY)]
        return pairs

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
        there; the most coherent where none does. None where nobody judged, or could tell the trait."""
        return {(name, method): self._choice(name, method) for name in self.personas for method in self.methods}

    def _choice(self, persona: str, method: str) -> float | None:
        tried = []
        for alpha in self.alphas(persona, method):
            found = self.of(persona, method, alpha, "development")
            trait, coherence = mean(found, "trait"), mean(found, "coherence")
            if trait is not None and coherence is not None:
                tried.append((alpha, trait, coherence))
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

    def is_coherent(self, persona: str, method: str) -> bool:
        """Whether responses to development prompts stay coherent at the α chosen."""
        alpha = self.chosen.get((persona, method))
        found = None if alpha is None else mean(self.of(persona, method, alpha, "development"), "coherence")
        return found is not None and found >= COHERENT

    def is_told(self, persona: str, method: str) -> bool:
        """Whether the trait could be told of at least half of the judged responses to test prompts at the α chosen."""
        found = counts(self.at_choice(persona, method))
        return 0 < found["judged"] <= 2 * found["told"]

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
        coherence; over several personas, those that were told, a ratio of sums. Its interval resamples prompts. None where
        the oracle does not raise the trait, or nobody judged. incoherent: personas of which the method or the oracle
        reaches the floor at no α."""
        arms = (method, "oracle", "baseline")
        names = [
            name
            for name in personas or self.personas
            if all(mean(self.at_choice(name, one), column) is not None for one in arms)
        ]
        held = [[self.at_choice(name, one) for name in names] for one in arms]
        below = [name for name in names if not all(self.is_coherent(name, one) for one in arms[:2])]
        return {**ratio(held[0], held[1], held[2], column), "incoherent": below}

    def is_raised(self, method: str, personas: Sequence[str] | None = None) -> bool | None:
        """Whether a method surely raises the trait on test prompts, each persona at its chosen α, over those that were told;
        None where none was."""
        arms = (method, "baseline")
        names = [
            name
            for name in personas or self.personas
            if all(mean(self.at_choice(name, one), "trait") is not None for one in arms)
        ]
        ours, none = ([self.at_choice(name, one) for name in names] for one in arms)
        return is_raised(ours, none, "trait")

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
        rows: list[dict[str, Any]] = []
        for one, other in self.comparisons:
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
            "test_prompts": len(self.test_prompts),
            "seeds": len({one.row.sample for one in self.evaluations if one.row.part == "test"}),
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
