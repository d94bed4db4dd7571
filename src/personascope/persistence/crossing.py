"""Text against cache: is what stays after steering in the words that were written, or in the keys and values behind them?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.rows import Generation, Request
from personascope.engine.work import Work
from personascope.engine.writes import add, check_width
from personascope.errors import UserError
from personascope.persistence.pairing import ArmName, Pairing, check_room, steered_tokens
from personascope.statistics import Interval, finite, mean_interval
from personascope.subject import PromptLike, Subject

TEXTS = ("steered", "baseline")
CACHES = ("steered", "clean")
# Tokens after steering; what text and cache do shows early.
CROSSED = 100


@dataclass(frozen=True, eq=False)
class Crossing:
    """Four arms: {steered text, baseline text} × {steered cache, clean cache}.

    forced: by (text, cache) and `name@layer` [rows, n_sample]: projections on one and the same continuation, the baseline's
    own, so that nothing differs but text and cache. sampled: the same of continuations that each arm samples itself, with
    equal noise. texts: those continuations. units: for each row the number of its prompt. errors: for each row why it
    failed in any of the arms, None where it did not; its projections are NaN in all of them.
    """

    forced: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    sampled: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    texts: Mapping[tuple[str, str], tuple[str, ...]]
    units: tuple[int, ...]
    errors: tuple[str | None, ...]

    def effect(self, of: str, key: str, where: str = "forced") -> Interval:
        """What the steered `text` or `cache` adds to the mean projection on `name@layer`, the other one averaged over, in
        residual-stream units, with a 95 % interval over prompts (NaN bounds of one), of the rows that did not fail. where:
        `forced` or `sampled`."""
        if of not in ("text", "cache"):
            raise UserError(f"there is no effect of {of!r}; ask for 'text' or 'cache'")
        arms = self.forced if where == "forced" else self.sampled
        whole = [row for row, error in enumerate(self.errors) if error is None]
        units = [self.units[row] for row in whole]

        def mean(text: str, cache: str) -> np.ndarray:
            return np.asarray(arms[text, cache][key][whole].mean(axis=1), dtype=np.float64)

        if of == "text":
            change = np.mean([mean("steered", cache) - mean("baseline", cache) for cache in CACHES], axis=0)
        else:
            change = np.mean([mean(text, "steered") - mean(text, "clean") for text in TEXTS], axis=0)
        if len(set(units)) < 2:
            return Interval(float(change.mean()), math.nan, math.nan)
        return mean_interval(change, units)

    @property
    def failed(self) -> int:
        """How many rows failed."""
        return sum(error is not None for error in self.errors)

    def describe(self) -> dict[str, Any]:
        """Plain values: the effects of text and cache on every projection, forced and sampled, over so many tokens, and how
        many rows failed."""
        first = next(iter(self.forced.values()))
        effects = {
            where: {
                of: {key: finite(self.effect(of, key, where)) for key in first}
                for of in ("text", "cache")
            }
            for where in ("forced", "sampled")
        }  # fmt: skip
        rows = {"rows": len(self.units), "failed": self.failed}
        return {"tokens": next(iter(first.values())).shape[1], **rows, **effects}


def cross(
    subject: Subject,
    direction: Direction,
    prompts: PromptLike | Sequence[PromptLike],
    alpha: float = 1.0,
    n_steer: int = 200,
    n_sample: int = CROSSED,
    watch: Sequence[Direction] = (),
    steer_prompt: bool = False,
    samples: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = True,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> Crossing:
    """Write a text under steering and one without, encode each with steering and without, and go on from all four.

    watch: what is read; the direction itself by default. At and below its layer the cache makes no difference where the
    tokens are equal (they are steered after they are read there); so watch layers above. steer_prompt: steer the prompt
    too, in the text and in the cache. Rows that fail in one arm are left out of all. Raises `UserError` where no row is left,
    and as `persistence` does.
    """
    for number, name in ((n_steer, "n_steer"), (n_sample, "n_sample")):
        if number < 1:
            raise UserError(f"{name}={number} must be 1 or more")
    read = tuple(watch) or (direction,)
    check_width((direction, *read), subject.hidden_size, subject.n_layers, subject.name)
    direction.unit()
    paired = Pairing.of(subject, prompts, samples, temperature, seed, chat)
    check_room(subject, paired.plain, {"n_steer": n_steer, "n_sample": n_sample})
    write = add(direction, alpha, tokens=steered_tokens(n_steer, steer_prompt))

    errors: list[str | None] = [None] * len(paired.units)

    def ran(arms: dict[ArmName, dict[int, Request]], what: str) -> dict[ArmName, dict[int, Generation]]:
        """By arm and row what came of requests by row; rows that fail are noted, and left out afterwards."""
        listed = paired.run({arm: [*rows.values()] for arm, rows in arms.items()}, what, batch_size, on_progress, cells)
        found = {arm: dict(zip(arms[arm], rows, strict=True)) for arm, rows in listed.items()}
        for rows in found.values():
            for row, one in rows.items():
                errors[row] = errors[row] or one.error
        if all(errors):
            raise UserError(f"{len(errors)} rows failed ({errors[0]}); steer less, with a smaller alpha")
        return found

    written = ran(
        {
            "steered": {row: paired.request(row, n_steer, writes=(write,)) for row in paired.rows},
            "baseline": {row: paired.request(row, n_steer + n_sample) for row in paired.rows},
        },
        "writing",
    )
    texts = {text: {row: one.response_ids[:n_steer] for row, one in rows.items()} for text, rows in written.items()}
    going_on = {row: one.response_ids[n_steer:] for row, one in written["baseline"].items()}
    left = [row for row in paired.rows if errors[row] is None]
    arms: dict[tuple[str, str, str], dict[int, Request]] = {}
    for text in TEXTS:
        for cache in CACHES:
            writes = (write,) if cache == "steered" else ()
            arms["forced", text, cache] = {
                row: paired.request(row, 0, writes=writes, watch=read, forced=[*texts[text][row], *going_on[row]])
                for row in left
            }
            arms["sampled", text, cache] = {
                row: paired.request(row, n_sample, writes=writes, watch=read, forced=texts[text][row]) for row in left
            }
    found = ran(arms, "four arms")

    def projections(how: str) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        out: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for text in TEXTS:
            for cache in CACHES:
                held = out[text, cache] = {
                    one.key: np.full((len(errors), n_sample), np.nan, dtype=np.float32) for one in read
                }
                for row, done in found[how, text, cache].items():
                    if errors[row] is None:
                        for key, values in held.items():
                            values[row] = done.projections[key][done.prompt_length + n_steer :]
        return out

    said = {
        (text, cache): tuple(
            "".join(one.response_tokens[n_steer:]) if one is not None else ""
            for one in map(found["sampled", text, cache].get, paired.rows)
        )
        for text in TEXTS
        for cache in CACHES
    }
    return Crossing(projections("forced"), projections("sampled"), said, paired.units, tuple(errors))


def crossing_work(directions: int, rows: int, n_steer: int, n_sample: int) -> Work:
    """What `cross` runs for so many directions at most; the baseline that they share is written once, where a run folder
    keeps it."""
    written = Work.of(directions * rows, n_steer) + Work.of(rows, n_steer + n_sample)
    arms = directions * rows * len(TEXTS) * len(CACHES)
    return written + Work.of(arms, 0, n_steer + n_sample) + Work.of(arms, n_sample, n_steer)
