"""What continuous sampling found: curves, decays, a ranking."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from personascope.engine.rows import Generation
from personascope.errors import UserError
from personascope.judging.repetition import LOOP, repeated_share
from personascope.persistence.decay import Decay, fit_decay
from personascope.persistence.pairing import ENOUGH
from personascope.statistics import resampled_means

_LEAST_USABLE = 0.5


@dataclass(frozen=True, eq=False)
class Arm:
    """One condition: what was done while steering, and what came after.

    kind: `steered`, `random`, `prompted` or `baseline`; direction: `name@layer` of the direction it is about, empty for
    the baseline. projections: by `name@layer` [rows, n_sample], the state after each token that was sampled unsteered.
    steered, after: the texts of either phase. loops: [rows], whether a row repeats itself. errors: for each row why it
    failed, None where it did not.
    """

    kind: str
    direction: str
    cache: str
    projections: Mapping[str, np.ndarray]
    steered: tuple[str, ...]
    after: tuple[str, ...]
    loops: np.ndarray
    errors: tuple[str | None, ...]

    @property
    def unusable(self) -> np.ndarray:
        """[rows]: whether a row loops or has failed."""
        return self.loops | np.array([error is not None for error in self.errors])

    @classmethod
    def of(
        cls,
        kind: str,
        direction: str,
        cache: str,
        rows: Sequence[Generation],
        read: Sequence[str],
        n_steer: int,
        n_sample: int,
    ) -> "Arm":
        """From finished rows, whose first `n_steer` response tokens were those of steering; one that failed there has no
        others."""
        projections = {key: np.full((len(rows), n_sample), np.nan, dtype=np.float32) for key in read}
        loops = np.zeros(len(rows), dtype=bool)
        for place, row in enumerate(rows):
            if row.error is None:
                loops[place] = repeated_share(row.response_ids[n_steer:]) > LOOP
                for key in read:
                    projections[key][place] = row.projections[key][row.prompt_length + n_steer :]
        pieces = [row.response_tokens for row in rows]
        steered = tuple("".join(one[:n_steer]) for one in pieces)
        after = tuple("".join(one[n_steer:]) for one in pieces)
        return cls(kind, direction, cache, projections, steered, after, loops, tuple(row.error for row in rows))


@dataclass(frozen=True, eq=False)
class Persistence:
    """Arms, paired row by row: row r of every arm has the same prompt, seed and positions.

    read: `name@layer` of every direction that was read. units: for each row the number of its prompt. alphas: by
    direction. n_steer, n_sample: tokens.
    """

    arms: tuple[Arm, ...]
    read: tuple[str, ...]
    units: tuple[int, ...]
    prompts: Sequence[str]
    alphas: Mapping[str, float]
    n_steer: int
    n_sample: int

    def __repr__(self) -> str:
        kinds = ", ".join(dict.fromkeys(one.kind for one in self.arms))
        return (
            f"Persistence({list(self.alphas)}, prompts={len(self.prompts)}, rows={len(self.units)}, arms: {kinds}, "
            f"n_steer={self.n_steer}, n_sample={self.n_sample})"
        )

    def arm(self, kind: str, direction: str = "", cache: str | None = None) -> Arm:
        """The arm of a kind and direction. Raises `UserError` where there is none."""
        found = [
            one for one in self.arms if one.kind == kind and one.direction == direction and cache in (None, one.cache)
        ]
        if not found:
            known = ", ".join(f"{one.kind} {one.direction} {one.cache}" for one in self.arms)
            raise UserError(f"there is no arm {kind} {direction} {cache or ''}; there are {known}")
        return found[0]

    @property
    def projections(self) -> dict[str, np.ndarray]:
        """By steered direction [rows, n_sample]: its own projections after it was let go."""
        return {key: self.arm("steered", key).projections[key] for key in self.alphas}

    @property
    def baseline(self) -> dict[str, np.ndarray]:
        """The same of the rows that were never steered, by every direction read."""
        return dict(self.arm("baseline").projections)

    @property
    def half_life(self) -> dict[str, float]:
        """By steered direction, in tokens: inf where it does not decay, NaN where steering left nothing to decay."""
        return {key: self.decay(key).half_life.estimate for key in self.alphas}

    def lifted(self, arm: Arm, key: str) -> np.ndarray:
        """[rows, n_sample]: an arm's projections above the paired baseline's, in the sense it was steered in: below it for a
        negative α on the direction itself. NaN in rows that loop or failed in either."""
        still = self.arm("baseline")
        sense = -1.0 if key == arm.direction and self.alphas.get(key, 1.0) < 0 and arm.kind == "steered" else 1.0
        values = sense * (arm.projections[key] - still.projections[key])
        values[arm.unusable | still.unusable] = np.nan
        return values

    @cached_property
    def _decays(self) -> dict[tuple[str, str, str, str], Decay]:
        return {}

    def decay(self, direction: str, read: str | None = None, kind: str = "steered", cache: str | None = None) -> Decay:
        """How the projection on `read` (the direction itself by default) falls after steering with `direction`.

        Raises `UserError` on unknown names.
        """
        arm, key = self.arm(kind, direction, cache), read or direction
        if key not in arm.projections:
            raise UserError(f"{key!r} was not read; there are {', '.join(self.read)}")
        name = (kind, direction, arm.cache, key)
        if name not in self._decays:
            values = self.lifted(arm, key)
            whole = ~np.isnan(values).any(axis=1)
            units = [unit for unit, is_whole in zip(self.units, whole, strict=True) if is_whole]
            self._decays[name] = fit_decay(values[whole], units) if units else Decay.of_loops()
        return self._decays[name]

    def usable(self, direction: str) -> int:
        """How many rows neither loop nor failed, steered and not."""
        return int(self._usable(direction).sum())

    def ranking(self) -> list[tuple[str, Decay]]:
        """The steered directions, the most persistent first, equals by their lift; those that `left_out` gives a reason for
        are not among them. Of few prompts one that was not seen to decay stands behind those whose half-life was measured:
        too few show no fall of anything."""
        found = [(key, self.decay(key)) for key in self.alphas if self.left_out(key) is None]
        has_few = {key: self.has_few_prompts(key) for key, _ in found}

        def place(key: str, decay: Decay) -> tuple[bool, float, float]:
            is_unseen = has_few[key] and decay.verdict == "does not decay"
            return is_unseen, -decay.half_life.estimate, -decay.initial.estimate

        return sorted(found, key=lambda one: place(*one))

    def has_few_prompts(self, direction: str) -> bool:
        """Whether rows of use are of too few prompts for intervals over them to be wide enough."""
        return (
            len({unit for unit, is_usable in zip(self.units, self._usable(direction), strict=True) if is_usable})
            < ENOUGH
        )

    def cautions(self) -> list[str]:
        """What the intervals cannot be trusted with."""
        few = [key for key in self.alphas if self.has_few_prompts(key)]
        if not few:
            return []
        of = "" if len(few) == len(self.alphas) else f" of {', '.join(few)}"
        return [
            f"intervals{of} over fewer than {ENOUGH} prompts are too narrow, and a fall may not be seen; give more prompts"
        ]

    def _usable(self, direction: str) -> np.ndarray:
        return np.asarray(~(self.arm("steered", direction).unusable | self.arm("baseline").unusable))

    def left_out(self, direction: str) -> str | None:
        """Why a steered direction is not ranked: `no lift`, `one prompt`, or that half of its pairs of rows are of no use;
        None where it is."""
        if self.usable(direction) <= _LEAST_USABLE * len(self.units):
            return "rows loop or failed"
        decay = self.decay(direction)
        return None if decay.is_ranked else decay.verdict

    def verdicts(self) -> list[dict[str, Any]]:
        """Plain values of every steered direction, the ranked ones first: its decay, the rows of use, why it is not ranked
        (None where it is), and what stood beside it."""
        ranked = [key for key, _ in self.ranking()]
        return [
            {
                "direction": key,
                "alpha": self.alphas[key],
                **self.decay(key).describe(),
                "usable": self.usable(key),
                "rows": len(self.units),
                "left_out": self.left_out(key),
                "controls": sorted({arm.kind for arm in self.arms if arm.direction == key} - {"steered"}),
            }
            for key in [*ranked, *(one for one in self.alphas if one not in ranked)]
        ]

    def describe(self) -> dict[str, Any]:
        """Plain values: for each arm and direction read its mean curve with a band over prompts (None of one prompt), and
        its decay."""
        return {
            "n_steer": self.n_steer,
            "n_sample": self.n_sample,
            "rows": len(self.units),
            "alphas": dict(self.alphas),
            "prompts": list(self.prompts),
            "read": list(self.read),
            "units": list(self.units),
            "ranking": [{"direction": key, **decay.describe()} for key, decay in self.ranking()],
            "directions": self.verdicts(),
            "cautions": self.cautions(),
            "arms": [self._plain(arm) for arm in self.arms],
        }

    def _plain(self, arm: Arm) -> dict[str, Any]:
        curves: dict[str, dict[str, Any]] = {}
        for key in arm.projections:
            values = arm.projections[key] if arm.kind == "baseline" else self.lifted(arm, key)
            kept = values[~np.isnan(values).any(axis=1)]
            units = [unit for unit, row in zip(self.units, values, strict=True) if not np.isnan(row).any()]
            if not len(kept):
                continue
            # One prompt has no others to be resampled with: a band of no width would say that it is certain.
            low, high = map(_rounded, band(kept, units)) if len(set(units)) > 1 else (None, None)
            curves[key] = {"mean": _rounded(kept.mean(axis=0)), "low": low, "high": high}
            if arm.kind != "baseline":
                curves[key]["decay"] = self.decay(arm.direction, key, arm.kind, arm.cache).describe()
        return {
            "kind": arm.kind,
            "direction": arm.direction,
            "cache": arm.cache,
            "loops": int(arm.loops.sum()),
            "failed": sum(error is not None for error in arm.errors),
            "usable": len(self.units) - int((arm.unusable | self.arm("baseline").unusable).sum()),
            "curves": curves,
            "texts": [
                {"steered": steered, "after": after, "loops": bool(loops), "error": error}
                for steered, after, loops, error in zip(arm.steered, arm.after, arm.loops, arm.errors, strict=True)
            ],
        }


def band(curves: np.ndarray, units: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """[tokens] twice: pointwise 95 % bounds of the mean of curves [rows, tokens], resampling whole units."""
    low, high = np.quantile(resampled_means(curves, units), [0.025, 0.975], axis=0)
    return low, high


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 5) if math.isfinite(value) else None for value in values]
