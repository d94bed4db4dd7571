"""Watching: every trait at every token, while a model writes or over text that exists."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.corpora import Record
from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import listed_prompts, run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import Write, check_width, per_row
from personascope.errors import UserError
from personascope.subject import PromptLike, Subject
from personascope.watching.calibration import Calibration, calibrate
from personascope.watching.decision_points import ALARMS_PER_1000, DecisionPoint, DecisionRule
from personascope.watching.given import check_row, last_said, passage_of, read_given, shortened
from personascope.watching.traits import doubted, reading_keys, watched_layers
from personascope.watching.verify import Verdict


@dataclass(frozen=True)
class Watched:
    """One row: the prompt as it was given, what was generated and read, and its decision points."""

    prompt: PromptLike
    label: str
    generation: Generation
    points: tuple[DecisionPoint, ...]
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Watch:
    """What watching found. traits: one direction set each, cut to the layers watched."""

    subject: Subject
    traits: tuple[DirectionSet, ...]
    calibration: Calibration
    rule: DecisionRule
    rows: tuple[Watched, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers watched, ascending."""
        return tuple(sorted({layer for trait in self.traits for layer in trait.layers}))

    def __repr__(self) -> str:
        return f"Watch({len(self.rows)} rows, {len(self.traits)} traits, layers {list(self.layers)})"

    def _repr_html_(self) -> str:
        return "".join(row.generation._repr_html_() for row in self.rows)


def watch(
    subject: Subject,
    directions: Sequence[DirectionSet],
    prompts: Sequence[PromptLike | Record],
    layers: Sequence[int] | None = None,
    steer: Sequence[Write] | Sequence[Sequence[Write]] | None = None,
    labels: Sequence[str] | None = None,
    max_new_tokens: int = 120,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    suppress_eos: bool = False,
    chat: bool = True,
    calibration: Calibration | None = None,
    alarms_per_1000: float = ALARMS_PER_1000,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> Watch:
    """Read every trait at every watched layer and token, calibrate, and find decision points.

    prompts: strings, chats, or records; a record with a response is not sampled but read in one teacher-forced pass.
    steer: as in `generate`. calibration: measured here if not given. on_progress: called with a phase and its number
    of rows, then with None as each is done. cells: a run's finished rollouts, gone on with.
    Raises `UserError`, as `generate` does.
    """
    Subject.check(subject)
    records = [one if isinstance(one, Record) else Record(one) for one in listed_prompts(prompts)]  # type: ignore[arg-type]
    if not records:
        raise UserError("there are no prompts to watch; give at least one")
    if labels is not None and len(labels) != len(records):
        raise UserError(f"there are {len(labels)} labels for {len(records)} prompts; give one each, or none")
    if max_new_tokens < 0:
        raise UserError(f"max_new_tokens={max_new_tokens} must be 0 (read the prompt only) or more")
    if not (math.isfinite(alarms_per_1000) and alarms_per_1000 >= 0):
        raise UserError(f"alarms_per_1000={alarms_per_1000:g} must be a number from 0 up")
    traits = watched_layers(directions, layers if layers is None else sorted(set(map(subject.check_layer, layers))))
    watched = tuple(direction for trait in traits for direction in trait)
    unknown = [one.key for one in watched if calibration is not None and one.key not in calibration.scales["response"]]
    if unknown:
        raise UserError(f"the calibration does not know {unknown[0]}; calibrate with the directions to be watched")
    writes = per_row(steer, len(records))
    # Before the neutral runs, which take a while.
    written = [direction for row in writes for write in row for direction in write.directions]
    check_width([*watched, *written], subject.hidden_size, subject.n_layers, subject.name)
    passages = [passage_of(subject, record, row, chat) for record, row in zip(records, writes, strict=True)]
    for number, (record, passage) in enumerate(zip(records, passages, strict=True), start=1):
        check_row(subject, number, record, passage, max_new_tokens)
    asked: Counter[str] = Counter()
    seeds = []
    for record in records:
        # From what is asked, not from its place: prompts may be added to a run, and conditions share their noise.
        said = str(record.prompt)
        seeds.append(derive_seed("watch", seed, said, asked[said] if labels is None else 0))
        asked[said] += 1
    requests = {
        index: Request(
            prompt=passages[index].prompt,
            seed=seeds[index],
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature, top_p, top_k),
            writes=writes[index],
            watch=watched,
            suppress_eos=suppress_eos,
        )
        for index, record in enumerate(records)
        if record.response is None
    }
    if calibration is None:
        on_progress("calibrating", None)
        calibration = calibrate(subject, watched, chat=chat, seed=seed, batch_size=batch_size, cells=cells)
    rule = DecisionRule.fit(calibration, reading_keys(traits), alarms_per_1000, reading_keys(doubted(traits)))
    on_progress("watching", len(records))
    sampled = run_requests(
        subject, list(requests.values()), batch_size, on_done=lambda *_: on_progress("", None), cells=cells
    )
    found = dict(zip(requests, sampled, strict=True))
    given = [index for index, record in enumerate(records) if record.response is not None]
    read = read_given(subject, [records[index] for index in given], [passages[index] for index in given], watched)
    found |= dict(zip(given, read, strict=True))
    rows = []
    for index, record in enumerate(records):
        points = rule.points(calibration, found[index]) if found[index].error is None else []
        label = labels[index] if labels is not None else _label(record, found[index])
        rows.append(Watched(record.prompt, label, found[index], tuple(points)))
    return Watch(subject, traits, calibration, rule, tuple(rows))


def _label(record: Record, generation: Generation) -> str:
    """A short name for a row: what was last said in the prompt, its system prompt, and what was done to it."""
    turns = [] if isinstance(record.prompt, str) else record.prompt
    done = [f"system prompt: {shortened(turn['content'], 40)}" for turn in turns[:-1] if turn["role"] == "system"]
    done += [f"{write['operation']} {write['direction']}" for write in generation.writes]
    text = shortened(last_said(record), 60)
    return f"{text} ({', '.join(done)})" if done else text


def plain_row(watch: Watch, row: Watched) -> dict[str, Any]:
    """A row as plain values, for JSON."""
    generation = row.generation
    return {
        "label": row.label,
        "prompt": row.prompt,
        "text": generation.text,
        "tokens": generation.tokens,
        "token_ids": generation.token_ids,
        "prompt_length": generation.prompt_length,
        "turns": [{"role": turn.role, "start": turn.start, "stop": turn.stop} for turn in generation.turns],
        "seed": generation.seed,
        "finish": generation.finish,
        "error": generation.error,
        "writes": generation.writes,
        "projections": {key: _rounded(values) for key, values in generation.projections.items()},
        "z": {
            key: _rounded(watch.calibration.z(key, values, generation.prompt_length))
            for key, values in generation.projections.items()
        },
        "norms": {str(layer): _rounded(values) for layer, values in generation.norms.items()},
        "points": [point.describe() for point in row.points],
        "verdicts": [verdict.describe() for verdict in row.verdicts],
    }


def _rounded(values: Any) -> list[float]:
    """Six significant digits: more than float32 arithmetic gives."""
    return [float(f"{value:.6g}") for value in values]
