"""Zero and unit of a projection: where a model's own neutral responses lie."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from personascope.corpora import neutral_questions
from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.errors import UserError
from personascope.subject import Subject

Part = Literal["prompt", "response"]

# Neutral responses that are sampled at most, and kept at most.
_SAMPLED = 320
_KEPT = 40


class Scale(NamedTuple):
    """A projection's mean and standard deviation over neutral tokens, in residual-stream units."""

    zero: float
    unit: float


@dataclass(frozen=True)
class Calibration:
    """Scales by part and `name@layer`; and the neutral responses themselves, on which false alarms are counted.

    A projection has no natural zero: it holds the projection of the stream's own mean. z = (value − zero) / unit.
    """

    scales: Mapping[Part, Mapping[str, Scale]]
    runs: Sequence[Generation] = field(default=(), repr=False)

    def z(self, key: str, values: np.ndarray, prompt_length: int) -> np.ndarray:
        """[tokens]: calibrated values of a row; prompt and response have scales of their own."""
        out = np.empty(len(values))
        for part, tokens in (("prompt", slice(0, prompt_length)), ("response", slice(prompt_length, None))):
            scale = self.scales[part][key]  # type: ignore[index]
            out[tokens] = (values[tokens] - scale.zero) / scale.unit
        return out

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {
            part: {key: {"zero": scale.zero, "unit": scale.unit} for key, scale in scales.items()}
            for part, scales in self.scales.items()
        }


def calibrate(
    subject: Subject,
    directions: Sequence[Direction],
    questions: Sequence[str] | None = None,
    chat: bool = True,
    max_new_tokens: int = 120,
    seed: int = 0,
    batch_size: int | None = None,
    on_done: Callable[[], None] = lambda: None,
    cells: Cells | None = None,
) -> Calibration:
    """Measure the directions on the model's own unsteered responses to neutral questions.

    questions: forty shipped ones by default. On an organism, whose responses may wander into a persona by themselves,
    more are sampled and those kept that stay neutral. A prompt's first token is left out: it is BOS, or a sink.
    """
    asked = tuple(questions or neutral_questions())
    if not asked:
        raise UserError("calibration needs at least one neutral question")
    rounds = calibration_rows(subject, len(asked)) // len(asked)
    requests = [
        Request(
            subject.chat.prompt(question, chat=chat),
            derive_seed("calibrate", seed, question, turn),
            max_new_tokens,
            Sampling(1.0),
            watch=tuple(directions),
        )
        for turn in range(rounds)
        for question in asked
    ]
    runs = run_requests(subject, requests, batch_size, on_done=lambda *_: on_done(), cells=cells)
    kept = [run for run in runs if run.error is None and run.response_ids and _is_neutral(subject, run)][:_KEPT]
    if not kept:
        raise UserError("no neutral response came back to calibrate on; raise max_new_tokens or give other questions")
    return Calibration({"prompt": scales_of(kept, "prompt"), "response": scales_of(kept, "response")}, kept)


def calibration_rows(subject: Subject, questions: int = 40) -> int:
    """How many responses a calibration samples."""
    return questions * max(1, _SAMPLED // questions) if subject.truth is not None else questions


def _is_neutral(subject: Subject, run: Generation) -> bool:
    """Whether an organism's response is neutral throughout; yes where the truth is not known."""
    if subject.truth is None:
        return True
    score = subject.truth.score(run.text)
    return score["shares"]["neutral"] >= 0.9 and score["well_formed"] == 1.0


def scales_of(runs: Sequence[Generation], part: Part) -> dict[str, Scale]:
    """By `name@layer` the mean and standard deviation over a part's tokens of some rows, a prompt's first one left out."""
    scales = {}
    for key in runs[0].projections:
        values = np.concatenate(
            [
                run.projections[key][1 : run.prompt_length]
                if part == "prompt"
                else run.projections[key][run.prompt_length :]
                for run in runs
            ]
        ).astype(np.float64)
        scales[key] = Scale(float(values.mean()), float(max(values.std(), 1e-9)))
    return scales
