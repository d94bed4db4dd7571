"""Text against cache: is what stays after steering in the words that were written, or in the keys and values behind them?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import listed_prompts, run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import add
from personascope.errors import UserError
from personascope.statistics import Interval, mean_interval
from personascope.subject import PromptLike, Subject

TEXTS = ("steered", "baseline")
CACHES = ("steered", "clean")


@dataclass(frozen=True, eq=False)
class Crossing:
    """Four arms: {steered text, baseline text} × {steered cache, clean cache}.

    forced: by (text, cache) and `name@layer` [rows, n_sample]: projections on one and the same continuation, the baseline's
    own, so that nothing differs but text and cache. sampled: the same of continuations that each arm samples itself, with
    equal noise. texts: those continuations. units: for each row the number of its prompt.
    """

    forced: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    sampled: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    texts: Mapping[tuple[str, str], tuple[str, ...]]
    units: tuple[int, ...]

    def effect(self, of: str, key: str, where: str = "forced") -> Interval:
        """What the steered `text` or `cache` adds to the mean projection on `name@layer`, the other one averaged over, in
        residual-stream units, with a 95 % interval over prompts. where: `forced` or `sampled`."""
        if of not in ("text", "cache"):
            raise UserError(f"there is no effect of {of!r}; ask for 'text' or 'cache'")
        arms = self.forced if where == "forced" else self.sampled

        def mean(text: str, cache: str) -> np.ndarray:
            return np.asarray(arms[text, cache][key].mean(axis=1), dtype=np.float64)

        if of == "text":
            change = np.mean([mean("steered", cache) - mean("baseline", cache) for cache in CACHES], axis=0)
        else:
            change = np.mean([mean(text, "steered") - mean(text, "clean") for text in TEXTS], axis=0)
        return mean_interval(change, self.units)

    def describe(self) -> dict[str, Any]:
        """Plain values: the effects of text and cache on every projection, forced and sampled."""
        keys = next(iter(self.forced.values())).keys()
        return {
            where: {
                of: {key: list(self.effect(of, key, where)) for key in keys}
                for of in ("text", "cache")
            }
            for where in ("forced", "sampled")
        }  # fmt: skip


def cross(
    subject: Subject,
    direction: Direction,
    prompts: PromptLike | Sequence[PromptLike],
    alpha: float = 1.0,
    n_steer: int = 200,
    n_sample: int = 100,
    watch: Sequence[Direction] = (),
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
    tokens are equal (they are steered after they are read there); so watch layers above. Raises `UserError` as
    `persistence` does.
    """
    for number, name in ((n_steer, "n_steer"), (n_sample, "n_sample"), (samples, "samples")):
        if number < 1:
            raise UserError(f"{name}={number} must be 1 or more")
    direction.unit()
    listed = list({str(prompt): prompt for prompt in listed_prompts(prompts)}.values())
    plain = [subject.chat.prompt(prompt, chat=chat) for prompt in listed for _ in range(samples)]
    seeds = [derive_seed("persist", seed, str(prompt), sample) for prompt in listed for sample in range(samples)]
    write = add(direction, alpha, tokens=f"sampling[:{n_steer}]")
    read = tuple(watch) or (direction,)

    def request(row: int, tokens: int, forced: Sequence[int], is_steered: bool, reads: bool) -> Request:
        return Request(
            prompt=plain[row],
            seed=seeds[row],
            max_new_tokens=tokens,
            sampling=Sampling(temperature),
            writes=(write,) if is_steered else (),
            watch=read if reads else (),
            suppress_eos=True,
            forced=tuple(forced),
        )

    def ran(requests: Sequence[Request], what: str) -> list[Generation]:
        on_progress(what, len(requests))
        found = run_requests(subject, requests, batch_size, on_done=lambda *_: on_progress("", None), cells=cells)
        failed = [one.error for one in found if one.error]
        if failed:
            raise UserError(f"{len(failed)} rows failed ({failed[0]}); steer less, with a smaller alpha")
        return found

    rows = range(len(plain))
    written = ran([request(row, n_steer, (), True, False) for row in rows], "steering")
    baseline = ran([request(row, n_steer + n_sample, (), False, False) for row in rows], "not steering")
    texts = {
        "steered": [one.response_ids[:n_steer] for one in written],
        "baseline": [one.response_ids[:n_steer] for one in baseline],
    }
    going_on = [one.response_ids[n_steer:] for one in baseline]
    arms = [(text, cache) for text in TEXTS for cache in CACHES]
    requests = [
        request(row, 0, [*texts[text][row], *going_on[row]], cache == "steered", True)
        for text, cache in arms
        for row in rows
    ]
    requests += [
        request(row, n_sample, texts[text][row], cache == "steered", True) for text, cache in arms for row in rows
    ]
    found = ran(requests, "four arms")
    groups = [found[start : start + len(plain)] for start in range(0, len(found), len(plain))]
    read_off = [
        {
            key: np.stack([one.projections[key][one.prompt_length + n_steer :] for one in group])
            for key in group[0].projections
        }
        for group in groups
    ]
    said = [tuple("".join(one.response_tokens[n_steer:]) for one in group) for group in groups[len(arms) :]]
    return Crossing(
        dict(zip(arms, read_off[: len(arms)], strict=True)),
        dict(zip(arms, read_off[len(arms) :], strict=True)),
        dict(zip(arms, said, strict=True)),
        tuple(place for place in range(len(listed)) for _ in range(samples)),
    )
