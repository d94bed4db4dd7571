"""Tokens at which the traits change their level."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from personascope.engine.rows import Generation
from personascope.engine.selection import Layout, select
from personascope.statistics.change_points import ChangeRule, fit_rule
from personascope.watching.calibration import Calibration, Scale, scales_of

ALARMS_PER_1000 = 1.0
_FOLDS = 5
Edge = Literal["starts", "ends"]
# So many tokens from where a write starts or ends, a change is its doing.
_NEAR = 2


@dataclass(frozen=True)
class DecisionPoint:
    """The traits change their level with token `token` (of the whole row): the state after it is the first to differ.

    gain: by how much two levels describe the stretches on either side better than one, in squared z. moved: by
    `name@layer`, the change of the mean z between them, of the four that moved most; the largest first, but those whose
    direction may read by chance behind the others. steering: `starts` or `ends` where a write of the row does so within
    two tokens: the change is the tool's own doing.
    """

    token: int
    gain: float
    moved: Mapping[str, float]
    steering: Edge | None = None

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {"token": self.token, "gain": self.gain, "moved": dict(self.moved), "steering": self.steering}


@dataclass(frozen=True)
class DecisionRule:
    """Finds decision points on some projections of a response. See `ChangeRule` for the statistic.

    doubted: those of the keys whose direction may read by chance.
    """

    keys: tuple[str, ...]
    rule: ChangeRule
    alarms_per_1000: float
    doubted: frozenset[str] = frozenset()

    @classmethod
    def fit(
        cls,
        calibration: Calibration,
        keys: Sequence[str],
        alarms_per_1000: float = ALARMS_PER_1000,
        doubted: Iterable[str] = (),
    ) -> "DecisionRule":
        """The rule that is to raise so many alarms per 1,000 tokens of neutral runs like the calibration's.

        Each run is scaled by the others, as a row that is watched will be; and of the alarms that are allowed on these runs
        one is kept back, since the rule is chosen to lie just above the next.
        """
        runs = calibration.runs
        neutral: list[np.ndarray] = []
        for fold in range(min(_FOLDS, len(runs))):
            others = [run for place, run in enumerate(runs) if len(runs) == 1 or place % _FOLDS != fold]
            scales = scales_of(others, "response")
            neutral += [_series(scales, run, keys) for run in runs[fold::_FOLDS]]
        kept_back = 1000 / sum(map(len, neutral))
        rule = fit_rule(neutral, max(0.0, alarms_per_1000 - kept_back))
        return cls(tuple(keys), rule, alarms_per_1000, frozenset(doubted))

    def points(self, calibration: Calibration, row: Generation) -> list[DecisionPoint]:
        """The decision points of a row's response."""
        series = _series(calibration.scales["response"], row, self.keys)
        changes = self.rule.points(series)
        edges = [0, *(place for place, _ in changes), len(series)]
        written = steering_edges(row)
        found = []
        for number, (place, gain) in enumerate(changes, start=1):
            before, after = series[edges[number - 1] : place], series[place : edges[number + 1]]
            shift = after.mean(axis=0) - before.mean(axis=0)
            most = np.argsort(-np.abs(shift))[:4]
            order = sorted(most, key=lambda channel: self.keys[channel] in self.doubted)
            moved = {self.keys[channel]: float(shift[channel]) for channel in order}
            token = row.prompt_length - 1 + place
            near = [(abs(edge - token), which) for edge, which in written if abs(edge - token) <= _NEAR]
            found.append(DecisionPoint(token, gain, moved, min(near)[1] if near else None))
        return found

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {"keys": list(self.keys), "penalty": self.rule.penalty, "alarms_per_1000": self.alarms_per_1000}


def _series(scales: Mapping[str, Scale], row: Generation, keys: Sequence[str]) -> np.ndarray:
    """[response tokens, keys]: z-scores of the states that choose the response's tokens, the last prompt token's first."""
    choosing = slice(row.prompt_length - 1, len(row.token_ids) - 1)
    columns = []
    for key in keys:
        columns.append((row.projections[key][choosing] - scales[key].zero) / scales[key].unit)
    return np.stack(columns, axis=1).astype(np.float64)


def steering_edges(row: Generation) -> list[tuple[int, Edge]]:
    """Where the writes of a row start and end among the states that choose its response: the first token written, and the
    first one after the last. What is left out of it for up to three tokens does not end it."""
    layout = Layout(row.prompt_length, len(row.token_ids), row.turns)
    choosing = range(row.prompt_length - 1, len(row.token_ids) - 1)
    found: set[tuple[int, Edge]] = set()
    for tokens in {write["tokens"] for write in row.writes}:
        written = select(tokens).positions(layout)
        for before, after in zip([None, *written], [*written, None], strict=True):
            if before is None or after is None or after - before > 2 * _NEAR:
                found |= {(before + 1, "ends")} if before is not None else set()
                found |= {(after, "starts")} if after is not None else set()
    return sorted((edge, which) for edge, which in found if edge in choosing)
