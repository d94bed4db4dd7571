"""How a fine-tune moved a base model along personas."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from personascope.comparing.projecting import Asking, check_given, check_names, own_responses, response_projections
from personascope.corpora import Record
from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.forward import Passage
from personascope.engine.generate import flat_directions
from personascope.errors import UserError
from personascope.statistics import Interval, mean_interval
from personascope.subject import Subject


@dataclass(frozen=True)
class Shift:
    """One persona at one layer. unit: the standard deviation of the base model's projections over response tokens.

    base, tuned: mean projections on the same tokens, in residual-stream units. same: (tuned − base) / unit on the same
    tokens: what the fine-tune did to the stream. own: each model on what it says itself, which adds what it did to the
    words; None where responses were given. Intervals are 95 % and resample prompts.
    """

    persona: str
    layer: int
    base: float
    tuned: float
    unit: float
    same: Interval
    own: Interval | None

    def describe(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: getattr(self, name) for name in ("persona", "layer", "base", "tuned", "unit")}
        for name, interval in (("same", self.same), ("own", self.own)):
            plain[name] = None if interval is None else interval.estimate
            plain[f"{name}_interval"] = None if interval is None else [interval.low, interval.high]
        return plain


@dataclass(frozen=True)
class Diff:
    """Shifts of all personas at all their layers. best: the one at each persona's layer to read at."""

    shifts: tuple[Shift, ...]
    prompts: int
    best: tuple[Shift, ...] = field(repr=False, default=())


def diff(
    base: Subject,
    tuned: Subject,
    directions: Sequence[DirectionSet],
    prompts: Sequence[Record],
    samples: int = 1,
    max_new_tokens: int = 120,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = True,
    batch_size: int | None = None,
    cells: Cells | None = None,
) -> Diff:
    """Read two models along the base model's directions, on the same prompts and the same tokens.

    Each prompt is answered by both models (or its record's response is taken), and every response is read by both in a
    teacher-forced pass. Raises `UserError` where the models differ in layers, width or tokens.
    Source: persona vectors (Chen et al., 2025), shifts after fine-tuning.
    """
    Subject.check(base)
    Subject.check(tuned)
    check_given(directions, prompts)
    if not prompts:
        raise UserError("there are no prompts to compare on; give at least one")
    if not directions:
        raise UserError("there are no directions to compare along; give at least one set")
    _check_alike(base, tuned)
    flat = flat_directions(directions)
    check_names(flat)
    given = [one.response for one in prompts]
    if any(given) and not all(given):
        raise UserError("some records hold a response and some do not; give responses for all prompts or for none")
    asked = [one.prompt for one in prompts]
    if all(given):
        theirs = [[_given(base, one, chat)] for one in prompts]
        ours: list[list[Passage]] = [[] for _ in prompts]
    else:
        asking = Asking(samples, max_new_tokens, temperature, seed, chat, batch_size, cells)
        theirs = own_responses(base, asked, asking)
        ours = own_responses(tuned, asked, asking)
    for passage in (each for group in (theirs, ours) for row in group for each in row):
        _check_tokens(base, tuned, passage)
    places = [place for group in (theirs, ours) for place, row in enumerate(group) for _ in row]
    passages = [each for group in (theirs, ours) for row in group for each in row]
    if not passages:
        raise UserError("neither model said anything to these prompts; give other prompts")
    by_base, by_tuned = (response_projections(one, passages, flat) for one in (base, tuned))
    first = sum(map(len, theirs))
    shifts = []
    for column, direction in enumerate(flat):
        before = [rows[:, column] for rows in by_base]
        after = [rows[:, column] for rows in by_tuned]
        unit = float(np.concatenate(before).std())
        if unit <= 1e-6 * max(1.0, abs(float(np.concatenate(before).mean()))):
            raise UserError(
                f"the projections of {base.name} on {direction.key} do not vary over these responses, so a shift has no "
                "unit; give longer responses, or more of them"
            )
        change = np.array([b.mean() - a.mean() for a, b in zip(before, after, strict=True)]) / unit
        same = mean_interval(change, places)
        own = None
        if not all(given):
            own = _own(before[:first], places[:first], after[first:], places[first:], unit)
        mean = [float(np.mean([one.mean() for one in values])) for values in (before, after)]
        shifts.append(Shift(direction.name, direction.layer, mean[0], mean[1], unit, same, own))
    best = {(one.name, one.best_layer) for one in directions}
    return Diff(tuple(shifts), len(prompts), tuple(one for one in shifts if (one.persona, one.layer) in best))


def _own(
    before: Sequence[np.ndarray],
    asked: Sequence[int],
    after: Sequence[np.ndarray],
    answered: Sequence[int],
    unit: float,
) -> Interval | None:
    """Each model on its own responses, paired by prompt; None where no prompt was answered by both."""
    one, other = _by_prompt(before, asked), _by_prompt(after, answered)
    shared = [place for place in one if place in other]
    if not shared:
        return None
    return mean_interval([(other[place] - one[place]) / unit for place in shared], shared)


def _by_prompt(projections: Sequence[np.ndarray], places: Sequence[int]) -> dict[int, float]:
    """The mean over each prompt's responses."""
    means: dict[int, list[float]] = {}
    for values, place in zip(projections, places, strict=True):
        means.setdefault(place, []).append(float(values.mean()))
    return {place: float(np.mean(values)) for place, values in means.items()}


def _given(subject: Subject, record: Record, chat: bool) -> Passage:
    prompt = subject.chat.prompt(record.prompt, chat=chat)
    assert record.response is not None
    response = subject.chat.respond(prompt, record.response)
    if not response:
        raise UserError(f"the response to {str(record.prompt)[:60]!r} has no tokens; leave the record out")
    return Passage(prompt, response)


def _check_alike(base: Subject, tuned: Subject) -> None:
    for what, one, other in (
        ("layers", base.n_layers, tuned.n_layers),
        ("width", base.hidden_size, tuned.hidden_size),
    ):
        if one != other:
            raise UserError(
                f"{base.name} and {tuned.name} have {one} and {other} {what}: compare a model with its own fine-tune, or "
                "carry directions over with a map"
            )


def _check_tokens(base: Subject, tuned: Subject, passage: Passage) -> None:
    if base.pieces(passage.ids) != tuned.pieces(passage.ids):
        raise UserError(
            f"{base.name} and {tuned.name} read the same token ids as different text: their tokenizers differ, and "
            "numbers on the same tokens would mean nothing"
        )
