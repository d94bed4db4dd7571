"""What question insertion found: cosines between points, a signature, and drift."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from personascope.directions import Direction
from personascope.errors import UserError
from personascope.statistics import Interval, bootstrap, finite, label_test, mean_interval, sign_flip_test

_RESAMPLES = 200


@dataclass(frozen=True)
class Drift:
    """How the projection on the signature changes along a conversation. slope: per pair of turns, in residual-stream
    units, with a 95 % interval over transcripts; p: two-sided, of no trend: by flipping the signs of transcripts' slopes
    where each has its partner among the controls, else by exchanging transcripts and controls. Transcripts that share a
    partner are drawn and flipped as one. NaN bounds and p where there are fewer than two."""

    slope: Interval
    p: float


@dataclass(frozen=True, eq=False)
class Insertion:
    """States of questions asked at points of transcripts.

    states: [transcripts, points, questions, hidden], after the last token before each answer, in residual-stream units.
    reference: [controls, points, questions, hidden], what is taken off to centre them; control: what it is of. partners: for
    each transcript the control that is taken off it; None: the mean of all. roles: by transcript. units: for each
    transcript what it is resampled with: those that share a control carry its error alike, and are one unit; None: each is
    its own.
    """

    layer: int
    points: tuple[int, ...]
    questions: tuple[str, ...]
    roles: tuple[str | None, ...]
    states: np.ndarray
    reference: np.ndarray
    partners: tuple[int, ...] | None
    control: str
    units: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        held = f"{len(self.roles)} transcripts, {len(self.points)} points, {len(self.questions)} questions"
        return f"Insertion({held}, layer={self.layer}, roles={sorted(set(map(str, self.roles)))})"

    def of(self, role: str | None) -> "Insertion":
        """The transcripts of one role alone. Raises `UserError` where there are none."""
        kept = [place for place, one in enumerate(self.roles) if one == role]
        if not kept:
            known = ", ".join(sorted({str(one) for one in self.roles}))
            raise UserError(f"there is no transcript of {role!r}; there are {known}")

        def chosen(values: tuple[int, ...] | None) -> tuple[int, ...] | None:
            return None if values is None else tuple(values[place] for place in kept)

        return replace(
            self,
            roles=tuple(self.roles[place] for place in kept),
            states=self.states[kept],
            partners=chosen(self.partners),
            units=chosen(self.units),
        )

    def condensed(self) -> "Insertion":
        """The same with the mean over questions in their place: all that is made of means stays as it is."""
        return replace(
            self,
            questions=(f"the mean of {len(self.questions)}",),
            states=self.states.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32),
            reference=self.reference.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32),
        )

    @property
    def drawn(self) -> tuple[int, ...]:
        """For each transcript the unit that it is resampled with."""
        return tuple(range(len(self.roles))) if self.units is None else self.units

    @cached_property
    def means(self) -> np.ndarray:
        """[points, hidden]: mean states over transcripts and questions."""
        return np.asarray(self.states.mean(axis=(0, 2), dtype=np.float64))

    def centred_states(self) -> np.ndarray:
        """[transcripts, points, questions, hidden]: the states with their controls' taken off."""
        if self.partners is None:
            return np.asarray(self.states - self.reference.mean(axis=0, dtype=np.float64))
        return np.asarray(self.states - self.reference[list(self.partners)])

    @cached_property
    def transcript_means(self) -> np.ndarray:
        """[transcripts, points, hidden]: mean centred states over questions."""
        return np.asarray(self.centred_states().mean(axis=2, dtype=np.float64))

    @cached_property
    def _reference_means(self) -> np.ndarray:
        """[controls, points, hidden]"""
        return np.asarray(self.reference.mean(axis=2, dtype=np.float64))

    @property
    def centred(self) -> np.ndarray:
        """[points, hidden]: mean states with the control's taken off."""
        return np.asarray(self.transcript_means.mean(axis=0))

    @property
    def cosine(self) -> np.ndarray:
        """[points, points]: cosines between the mean states as they are."""
        return _cosines(self.means)

    @property
    def centred_cosine(self) -> np.ndarray:
        """[points, points]: cosines between the centred means."""
        return _cosines(self._nonzero())

    @property
    def singular_values(self) -> np.ndarray:
        """[points]: of the centred means, the largest first; zeros where there are more points than dimensions."""
        found = np.linalg.svd(self.centred, compute_uv=False)
        return np.pad(found, (0, len(self.points) - len(found)))

    @property
    def explained(self) -> np.ndarray:
        """[points]: each singular value's share of the squared length of the centred means."""
        squares = self.singular_values**2
        return np.asarray(squares / max(float(squares.sum()), 1e-300))

    @cached_property
    def signature(self) -> Direction:
        """The top right singular vector of the centred means, of length 1, turned so that they lie on its positive side."""
        name = self.roles[0] if len(set(self.roles)) == 1 and self.roles[0] else "signature"
        vector = torch.from_numpy(_signature(self._nonzero())).float()
        return Direction(vector, self.layer, name, {"method": "question insertion", "control": self.control})

    @property
    def lift(self) -> float:
        """Mean projection of the centred means on the signature, in residual-stream units: its natural dose."""
        return float((self.centred @ self.signature.vector.double().numpy()).mean())

    def consistency(self) -> Interval:
        """The mean cosine between the centred means of different points, with a 95 % interval over transcripts, and over
        those of the control where they are not paired.

        All points are cut from the same conversations, so that what is peculiar to these few stays from point to point:
        set it beside the same of one half of the control's transcripts against the other.
        """
        self._nonzero()
        if len(self.points) < 2:
            raise UserError("consistency is between points; ask at two or more")
        apart = ~np.eye(len(self.points), dtype=bool)
        count = len(self.roles)
        # Where controls are not partners their mean is an estimate too, and is resampled with the rest.
        units = [(0, number) for number in self.drawn]
        if self.partners is None:
            units += [(1, number) for number in range(len(self.reference))]
        own = self.transcript_means + (0 if self.partners is not None else self._reference_means.mean(axis=0))

        def statistic(chosen: np.ndarray) -> float:
            ours = chosen[chosen < count]
            centred = own[ours].mean(axis=0)
            if self.partners is None:
                centred = centred - self._reference_means[chosen[chosen >= count] - count].mean(axis=0)
            return float(_cosines(centred)[apart].mean())

        if len(set(self.drawn)) < 2 or (self.partners is None and len(self.reference) < 2):
            return Interval(statistic(np.arange(len(units))), math.nan, math.nan)
        return bootstrap(units, statistic, _RESAMPLES, strata=[sample for sample, _ in units])

    def drift(self) -> Drift:
        """The trend of the projection on the signature along the conversation, each transcript on that of the others."""
        if len(self.points) < 2:
            raise UserError("a drift is between points; ask at two or more")
        times = np.asarray(self.points, dtype=np.float64)
        times -= times.mean()
        slopes = self.scores() @ times / float(times @ times)
        if self.partners is not None:
            numbers = np.unique(self.drawn, return_inverse=True)[1]
            sums = np.bincount(numbers, weights=slopes)
            if len(sums) < 2:
                return Drift(Interval(float(slopes.mean()), math.nan, math.nan), math.nan)
            return Drift(mean_interval(slopes, self.drawn), sign_flip_test(sums))
        # The control's own trend is in every slope alike: it is given back, and the two groups are set against each other.
        theirs = self._reference_means @ _signature(self.centred) @ times / float(times @ times)
        slopes = slopes + theirs.mean()
        estimate = float(slopes.mean() - theirs.mean())
        if len(slopes) < 2 or len(theirs) < 2:
            return Drift(Interval(estimate, math.nan, math.nan), math.nan)
        both = np.concatenate([slopes, theirs])
        group = np.repeat([0, 1], [len(slopes), len(theirs)])

        def difference(chosen: np.ndarray) -> float:
            return float(both[chosen][group[chosen] == 0].mean() - both[chosen][group[chosen] == 1].mean())

        return Drift(
            bootstrap(range(len(both)), difference, _RESAMPLES, strata=group.tolist()), label_test(slopes, theirs)
        )

    def scores(self) -> np.ndarray:
        """[transcripts, points]: projections of each transcript's centred means on the signature of those of other units, in
        residual-stream units; of the other transcripts where there is one unit, on its own where there is no other."""
        self._nonzero()
        drawn = np.array(self.drawn if len(set(self.drawn)) > 1 else range(len(self.roles)))
        rows = []
        for own, unit in zip(self.transcript_means, drawn, strict=True):
            rest = self.transcript_means[drawn != unit]
            rows.append(own @ _signature(rest.mean(axis=0) if len(rest) else own))
        return np.stack(rows)

    def describe(self) -> dict[str, Any]:
        """Plain values: cosines, spectrum, consistency, drift."""
        plain: dict[str, Any] = {
            "layer": self.layer,
            "points": list(self.points),
            "questions": len(self.questions),
            "transcripts": len(self.roles),
            "units": len(set(self.drawn)),
            "control": self.control,
            "cosine": _rounded(self.cosine),
            "centred_cosine": _rounded(self.centred_cosine),
            "singular_values": _rounded(self.singular_values),
            "explained": _rounded(self.explained),
            "lift": self.lift,
            "scores": _rounded(self.scores()),
        }
        if len(self.points) > 1:
            drift = self.drift()
            plain |= {
                "consistency": finite(self.consistency()),
                "slope": finite(drift.slope),
                "p": drift.p if math.isfinite(drift.p) else None,
            }
        return plain

    @property
    def is_blank(self) -> bool:
        """Whether nothing is left of the states once the control is taken off."""
        return not np.linalg.norm(self.centred) > 1e-6 * max(float(np.linalg.norm(self.means)), 1e-30)

    def _nonzero(self) -> np.ndarray:
        centred = self.centred
        if self.is_blank:
            raise UserError("nothing is left of the states once the control is taken off; give another control")
        return centred


def _signature(centred: np.ndarray) -> np.ndarray:
    """[hidden]: the top right singular vector of [points, hidden], turned to the side its rows lie on."""
    vector = np.linalg.svd(centred, full_matrices=False)[2][0]
    return vector if float((centred @ vector).sum()) >= 0 else -vector


def _cosines(rows: np.ndarray) -> np.ndarray:
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-30)
    return np.asarray(rows @ rows.T / np.outer(lengths, lengths))


def _rounded(values: np.ndarray) -> Any:
    return np.round(values, 5).tolist()
