"""Tokens at which the traits change their level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.engine.rows import Generation
from personascope.statistics.change_points import ChangeRule, fit_rule
from personascope.watching.calibration import Calibration

WINDOW = 8
ALARMS_PER_1000 = 5.0


@dataclass(frozen=True)
class DecisionPoint:
    """The traits differ before and after token `token` (of the whole row): it is the first of the new stretch.

    statistic: squared, whitened distance of the window means. moved: by `name@layer`, the change of the mean z, those
    that moved most first.
    """

    token: int
    statistic: float
    moved: Mapping[str, float]

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {"token": self.token, "statistic": self.statistic, "moved": dict(self.moved)}


@dataclass(frozen=True)
class DecisionRule:
    """Finds decision points on some projections of a response. See `ChangeRule` for the statistic."""

    keys: tuple[str, ...]
    rule: ChangeRule
    alarms_per_1000: float

    @classmethod
    def fit(
        cls,
        calibration: Calibration,
        keys: Sequence[str],
        alarms_per_1000: float = ALARMS_PER_1000,
        window: int = WINDOW,
    ) -> "DecisionRule":
        """The rule that raises so many alarms per 1,000 tokens of the calibration's neutral runs."""
        neutral = [_series(calibration, run, keys) for run in calibration.runs]
        return cls(tuple(keys), fit_rule(neutral, window, alarms_per_1000), alarms_per_1000)

    def points(self, calibration: Calibration, row: Generation) -> list[DecisionPoint]:
        """The decision points of a row's response.

        Row t of the projections is the state that chooses token t + 1, so a change in the rows from t on is a change
        in the tokens from t + 1 on.
        """
        series = _series(calibration, row, self.keys)
        window = self.rule.window
        found = []
        for place, height in self.rule.points(series):
            before, after = series[max(0, place - window) : place], series[place : place + window]
            shift = after.mean(axis=0) - before.mean(axis=0)
            order = np.argsort(-np.abs(shift))
            moved = {self.keys[channel]: float(shift[channel]) for channel in order[:4]}
            found.append(DecisionPoint(row.prompt_length + place, height, moved))
        return found

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "keys": list(self.keys),
            "window": self.rule.window,
            "threshold": self.rule.threshold,
            "alarms_per_1000": self.alarms_per_1000,
        }


def _series(calibration: Calibration, row: Generation, keys: Sequence[str]) -> np.ndarray:
    """[response tokens, keys]: z-scores of the states that choose the response's tokens."""
    choosing = slice(row.prompt_length - 1, len(row.token_ids) - 1)
    columns = []
    for key in keys:
        scale = calibration.scales["response"][key]
        columns.append((row.projections[key][choosing] - scale.zero) / scale.unit)
    return np.stack(columns, axis=1).astype(np.float64)
