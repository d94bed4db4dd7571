"""How good a direction is at each layer, measured on rollouts it was not made from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.engine.forward import projections_of
from personascope.engine.selection import select
from personascope.extraction.rollouts import Rollout
from personascope.extraction.vectors import Method
from personascope.statistics import Separation, auroc, cosine, jackknife_correlation
from personascope.subject import Subject

_SHUFFLES = 50
_LIKE_LENGTH = np.log(1.25)
_LEAST_PAIRS = 3


def quality(
    vectors: Tensor, layers: Sequence[int], rollouts: Sequence[Rollout], selection: int
) -> dict[int, dict[str, Any]]:
    """Per layer the separation of the two poles by their mean projections.

    `auroc` and `cohens_d` with 95 % intervals that resample questions; `auroc_null`: the 95th percentile of AUROC with
    shuffled labels, what chance reaches; `auroc_length_matched` and `cohens_d_length_matched`, with their intervals: on
    `length_matched` pairs of responses of like length, absent where there are fewer than three.
    """
    labels = np.array([rollout.cell.pole == "pos" for rollout in rollouts])
    units = [rollout.cell.question for rollout in rollouts]
    matched = length_matched(labels, [len(rollout.passage.response) for rollout in rollouts])
    draw = np.random.default_rng(0)
    shuffled = [draw.permutation(labels) for _ in range(_SHUFFLES)]
    apart = Separation(labels, units)
    apart_matched = Separation(labels[matched], [units[place] for place in matched])
    found: dict[int, dict[str, Any]] = {}
    for row, layer in enumerate(layers):
        values = mean_projections(vectors[row], rollouts, row, selection)
        found[layer] = {
            **separation(apart, values),
            "auroc_null": float(np.quantile([auroc(order, values) for order in shuffled], 0.95)),
        }
        if len(matched) >= 2 * _LEAST_PAIRS:
            found[layer] |= separation(apart_matched, values[matched], "_length_matched")
            found[layer]["length_matched"] = len(matched) // 2
    return found


def separation(apart: Separation, values: np.ndarray, suffix: str = "") -> dict[str, Any]:
    """AUROC and Cohen's d with their intervals, as quality figures; suffix: what sets them apart from others."""
    area, effect = apart.auroc(values), apart.cohens_d(values)
    return {
        f"auroc{suffix}": area.estimate,
        f"auroc{suffix}_interval": [area.low, area.high],
        f"cohens_d{suffix}": effect.estimate,
        f"cohens_d{suffix}_interval": [effect.low, effect.high],
    }


def length_matched(labels: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Indices of pairs of one positive and one negative each, whose lengths differ by at most a quarter; each used once.

    Closest pairs are taken first, so that a direction that only knows how long an answer is is left with 0.5.
    """
    size = np.log(np.maximum(lengths, 1))
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    apart = np.abs(size[positive][:, None] - size[negative][None])
    used: set[int] = set()
    pairs: list[int] = []
    for flat in np.argsort(apart, axis=None, kind="stable"):
        row, column = np.unravel_index(flat, apart.shape)
        if apart[row, column] > _LIKE_LENGTH:
            break
        one, other = int(positive[row]), int(negative[column])
        if not used & {one, other}:
            used |= {one, other}
            pairs += [one, other]
    return np.asarray(pairs, dtype=int)


def token_aurocs(
    subject: Subject, vectors: Tensor, layers: Sequence[int], rollouts: Sequence[Rollout], tokens: str
) -> list[float]:
    """Per layer the AUROC of single tokens: do the projections after each selected token tell the poles apart?

    Responses are read with the instruction taken away, behind the question alone, so that a direction has to see what is
    said and not what was asked for: that is what watching shows, and harder than telling apart the means of whole
    responses. Selections that hold tokens of the prompt are read as they were sampled. One teacher-forced pass.
    """
    directions = [Direction(vector, layer, "pole") for vector, layer in zip(vectors, layers, strict=True)]
    selection = select(tokens)
    passages = [rollout.passage for rollout in rollouts]
    if all(min(selection.positions(one.layout), default=len(one)) >= len(one.prompt) for one in passages):
        asked = [subject.chat.prompt(one.cell.question, chat=subject.chat.has_template) for one in rollouts]
        passages = [replace(one, prompt=prompt) for one, prompt in zip(passages, asked, strict=True)]
    read = projections_of(subject, passages, directions)
    places = [selection.positions(one.layout) for one in passages]
    labels = np.repeat([rollout.cell.pole == "pos" for rollout in rollouts], [len(each) for each in places])
    return [
        auroc(labels, np.concatenate([row.projections[one.key][each] for row, each in zip(read, places, strict=True)]))
        for one in directions
    ]


def split_half(rollouts: Sequence[Rollout], selection: int, method: Method, is_paired: bool = False) -> list[float]:
    """Per layer the cosine of directions made from either half of the questions: how much of it is noise."""
    questions = sorted({rollout.cell.question for rollout in rollouts})
    halves = []
    for parity in (0, 1):
        chosen = set(questions[parity::2])
        half = [rollout for rollout in rollouts if rollout.cell.question in chosen]
        positive, negative = poles(half, selection, is_paired)
        if not len(positive) or not len(negative):
            return []
        halves.append(method(positive, negative))
    return [cosine(one.numpy(), other.numpy()) for one, other in zip(*halves, strict=True)]


def split_half_intervals(rollouts: Sequence[Rollout], selection: int) -> list[tuple[float, float]]:
    """Per layer the 95 % interval of `split_half` of mean differences, by leaving out one question at a time: resampling
    with repeats would make either half's direction noisier than it is. Empty where a half has too few questions."""
    questions = sorted({rollout.cell.question for rollout in rollouts})
    halves = [_LeftOut(rollouts, questions[parity::2], selection) for parity in (0, 1)]
    if not all(half.is_whole for half in halves):
        return []
    found = []
    for row in range(rollouts[0].means.shape[0]):
        (one, ones), (other, others) = (half.differences(row) for half in halves)
        strata = [_cosines(ones, other), _cosines(others, one)]
        bounds = jackknife_correlation(cosine(one, other), strata)
        found.append((bounds.low, bounds.high))
    return found


class _LeftOut:
    """Mean differences of the rollouts to some questions, with each of the questions left out."""

    def __init__(self, rollouts: Sequence[Rollout], questions: Sequence[str], selection: int) -> None:
        places = {question: place for place, question in enumerate(questions)}
        self._selection = selection
        self._poles = []
        for pole in ("pos", "neg"):
            ours = [one for one in rollouts if one.cell.pole == pole and one.cell.question in places]
            asked = np.array([places[one.cell.question] for one in ours], dtype=int)
            self._poles.append((ours, np.eye(len(questions))[asked]))
        # What is left must hold a rollout of either pole, whichever question is out.
        self.is_whole = len(questions) >= 2 and all(
            len(ours) and asked.sum(axis=0).max() < len(ours) for ours, asked in self._poles
        )

    def differences(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """[hidden] of all questions, and [questions, hidden] of all but each."""
        whole, left = [], []
        for ours, asked in self._poles:
            values = mean_activations(ours, row, self._selection)
            total, sums, counts = values.sum(axis=0), asked.T @ values, asked.sum(axis=0)
            whole.append(total / len(ours))
            left.append((total - sums) / (len(ours) - counts)[:, None])
        return whole[0] - whole[1], left[0] - left[1]


def _cosines(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(other)
    return np.asarray(rows @ other / np.maximum(lengths, 1e-30))


def poles(rollouts: Sequence[Rollout], selection: int, is_paired: bool = False) -> tuple[Tensor, Tensor]:
    """[n, layers, hidden] of either pole; of pairs that survive whole only, and in the same order, if asked."""
    positive = [rollout for rollout in rollouts if rollout.cell.pole == "pos"]
    negative = [rollout for rollout in rollouts if rollout.cell.pole == "neg"]
    if is_paired:
        ours: Mapping[Any, Rollout] = {rollout.cell.match: rollout for rollout in positive}
        theirs: Mapping[Any, Rollout] = {rollout.cell.match: rollout for rollout in negative}
        shared = [match for match in ours if match in theirs]
        positive, negative = [ours[match] for match in shared], [theirs[match] for match in shared]
    return _stack(positive, selection), _stack(negative, selection)


def _stack(rollouts: Sequence[Rollout], selection: int) -> Tensor:
    if not rollouts:
        return torch.empty(0)
    return torch.stack([rollout.means[:, selection] for rollout in rollouts])


def mean_projections(vector: Tensor, rollouts: Sequence[Rollout], row: int, selection: int) -> np.ndarray:
    """[rollouts]: the projection of each one's mean activation; row: the place of the layer in the means."""
    return mean_activations(rollouts, row, selection) @ unit(vector) if rollouts else np.zeros(0)


def mean_activations(rollouts: Sequence[Rollout], row: int, selection: int) -> np.ndarray:
    """[rollouts, hidden] float64; of one rollout or more."""
    return torch.stack([rollout.means[row, selection] for rollout in rollouts]).double().numpy()


def unit(vector: Tensor) -> np.ndarray:
    """[hidden] float64: the vector at length 1, or zero where it is zero."""
    found: np.ndarray = (vector.double() / vector.double().norm().clamp_min(1e-30)).numpy()
    return found
