"""Extracting personas: rollouts → judged → filtered → directions with their quality."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.selection import select
from personascope.errors import UserError
from personascope.extraction.dosing import Dosing, OnProgress, with_steering
from personascope.extraction.extraction import Extraction
from personascope.extraction.given import Given, given_rollouts, readable
from personascope.extraction.made import Made, extraction_of, make_directions, related
from personascope.extraction.rollout_table import sampled, scored
from personascope.extraction.rollouts import SELECTIONS, Filter, cells, judged, sample_rollouts
from personascope.extraction.served import served_rollouts
from personascope.extraction.splits import Split, SplitName, split_persona
from personascope.extraction.steering import ALPHAS
from personascope.extraction.vectors import method as method_named
from personascope.judging import Judge, check_judge, judge_for
from personascope.personas import Persona, load_persona
from personascope.subject import Subject

if TYPE_CHECKING:
    from personascope.judging.endpoint import Endpoint


def extract(
    subject: Subject,
    persona: str | Path | Persona,
    tokens: str = "response",
    method: str = "mean_difference",
    judge: str | Judge | None = "auto",
    samples: int = 2,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    **settings: Any,
) -> DirectionSet:
    """A persona's directions at every layer.

    Rollouts under the persona's positive and negative instructions are sampled, judged, and kept where they show what
    was asked for; the mean activations of `tokens`, read while sampling, become one direction per layer. method:
    `mean_difference`, `logistic_probe` or `paired_pca`. judge: `auto` (exact on organisms, none elsewhere), `lexicon`,
    `none`, or a judge. Further settings as in `extract_all`. The result holds `quality` per layer, measured on
    instructions and questions used for nothing else, and `choices`: the layer to read at, and the layer and α to
    steer with, each chosen on a split of its own. Raises `UserError` where too few rollouts survive.
    Source: persona vectors (Chen et al., 2025).
    """
    unknown = next((name for name in settings if name not in _SETTINGS), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, _SETTINGS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_SETTINGS)}"
        raise UserError(f"extract has no setting {unknown}; {hint}")
    return extract_all(subject, [persona], tokens, method, judge, samples, seed, layers, **settings)[0]


def extract_all(
    subject: Subject,
    personas: Sequence[str | Path | Persona],
    tokens: str = "response",
    method: str = "mean_difference",
    judge: str | Judge | None = "auto",
    samples: int = 2,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    eval_judge: str | Judge | None = None,
    judge_fraction: float = 1.0,
    questions: int | None = None,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    degree: str | None = None,
    filter: Filter | None = None,
    alphas: Sequence[float] = ALPHAS,
    steer_layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    on_progress: OnProgress = lambda *_: None,
    store: Cells | None = None,
    on_failure: Callable[[Persona, UserError], None] | None = None,
    server: "Endpoint | None" = None,
    also: Sequence[str] = (),
) -> Extraction:
    """Several personas as `extract` does one, all their rollouts rows of one stream.

    eval_judge: scores the steered responses, from which the dose is chosen and reported; the judge by default.
    judge_fraction: the share of rollouts that is judged. questions: at most so many per split. degree: how much the
    positive instructions ask for, `slightly`, None or `very`. filter: which rollouts count. alphas, steer_layers: the
    grid that steering is chosen from; without alphas, or without a judge, no steering is chosen. store: a run's finished
    rollouts and judgements, gone on with. on_failure: called with a persona whose rollouts give no direction, and the
    others go on; without it that is raised. server: samples the rollouts in the model's stead; they are read here.
    also: selections that are read too, so that another call for one of them finds the rollouts in the store.
    """
    Subject.check(subject)
    for name, count in (("samples", samples), ("questions", questions), ("max_new_tokens", max_new_tokens)):
        if count is not None and (not isinstance(count, Integral) or count < 1):
            raise UserError(f"{name}={count!r} must be a whole number from 1 up")
    loaded = [load_persona(persona) for persona in personas]
    judge = judge_for(subject, judge, personas=loaded)
    dose_judge = judge if eval_judge is None else judge_for(subject, eval_judge, personas=loaded)
    tokens = str(select(tokens))
    alphas = tuple(alpha for alpha in alphas if alpha)
    chosen = tuple(range(subject.n_layers) if layers is None else sorted(set(map(subject.check_layer, layers))))
    splits = check_extraction(subject, loaded, method, (judge, dose_judge), judge_fraction, questions, samples, filter)
    missing = [layer for layer in steer_layers or () if layer not in chosen]
    if missing or not chosen:
        raise UserError(
            f"steer_layers has layer {missing[0]}, which is not among layers" if missing else "layers is empty"
        )
    wanted = [cell for persona in loaded for cell in cells(persona, splits[persona.name], samples)]
    on_progress("sampling rollouts", len(wanted))
    selections = tuple(dict.fromkeys((*SELECTIONS, *(str(select(one)) for one in (*also, tokens)))))
    read = (max_new_tokens, temperature, seed)
    if server is None:
        rollouts = sample_rollouts(
            subject, wanted, chosen, selections, *read, batch_size, lambda: on_progress("", None), store, degree
        )
    else:
        rollouts = served_rollouts(
            subject, server, wanted, chosen, selections, *read, lambda: on_progress("", None), store, degree
        )
    rule = filter or Filter()
    settings = {
        "tokens": tokens,
        "method": method,
        "judge": judge.name if judge else "none",
        "samples": samples,
        "degree": degree or "plain",
        "seed": seed,
    }
    journal = store.journal if store is not None else None
    place = selections.index(tokens)
    made: list[Made] = []
    told: dict[str, list[Given]] = {}
    for persona in loaded:
        ours = [one for one in rollouts if one.cell.persona is persona]
        told[persona.name] = sampled(subject, ours, degree)
        try:
            ours = judged(ours, persona, judge, judge_fraction, journal)
            told[persona.name] = sampled(subject, ours, degree)
            made.append(make_directions(subject, persona, ours, chosen, place, method, rule, settings))
        except UserError as error:
            if on_failure is None:
                raise
            on_failure(persona, error)
    sets = related(made, place)
    if dose_judge is not None and alphas and sets:
        dosing = Dosing(
            dose_judge,
            tuple(alphas),
            steer_layers,
            max_new_tokens,
            temperature,
            seed,
            batch_size,
            on_progress,
            store,
        )
        prompted = [[one for one in each.rollouts if one.cell.split == "report"] for each in made]
        sets = with_steering(subject, [each.persona for each in made], sets, splits, prompted, dosing)
    return replace(extraction_of(made, sets, place), rollouts=told)


# What `extract` hands on beside its own parameters.
_SETTINGS = tuple(
    name for name in list(signature(extract_all).parameters)[2:] if name not in signature(extract).parameters
)


def check_extraction(
    subject: Subject,
    personas: Sequence[Persona],
    method: str,
    judges: Sequence[Judge | None],
    judge_fraction: float,
    questions: int | None,
    samples: int,
    filter: Filter | None = None,
) -> dict[str, dict[SplitName, Split]]:
    """The splits of an extraction's personas. Raises `UserError` on what it could not finish with, before hours of
    sampling: a model without a chat template, an unknown method, two personas of one name, one that a judge does not
    know, too few questions or samples."""
    if not subject.chat.has_template:
        raise UserError(
            f"{subject.name} has no chat template, and extraction asks questions under system prompts: set "
            "tokenizer.chat_template, or make directions from texts with ps.extract_from_texts"
        )
    check_fraction(judge_fraction)
    method_named(method)
    splits = {persona.name: split_persona(persona, questions) for persona in personas}
    if len(splits) < len(personas):
        raise UserError("two of the personas have the same name; rename one")
    for judge in judges:
        check_judge(judge, personas)
    for persona in personas:
        for name, split in splits[persona.name].items():
            sampled = len(split.pairs) * len(split.questions) * samples
            (filter or Filter()).check(sampled, persona, name, "pos")
    return splits


def check_fraction(judge_fraction: float) -> None:
    """Raises `UserError` where it is no share to judge."""
    if not 0 < judge_fraction <= 1:
        raise UserError(f"judge_fraction={judge_fraction:g} must be more than 0 and at most 1")


def extract_given(
    subject: Subject,
    persona: str | Path | Persona,
    given: Sequence[Given],
    tokens: str = "response",
    method: str = "mean_difference",
    judge: str | Judge | None = "none",
    layers: Sequence[int] | None = None,
    filter: Filter | None = None,
    store: Cells | None = None,
    judge_fraction: float = 1.0,
    also: Sequence[str] = (),
) -> Extraction:
    """A persona's directions from rollouts that exist: nothing is sampled, activations are read in one pass each.

    Scores that the file holds count as the judge's; without them `judge` is asked, for a share of them. No steering is
    chosen. also: selections that are read too, so that another call for one of them finds them in the store. What the
    rollouts leave open is in the directions' provenance, as `remarks`. Raises `UserError` as `extract` does, and where
    the rollouts are scored for another trait alone and there is no judge.
    """
    loaded = load_persona(persona)
    check_fraction(judge_fraction)
    judge = judge_for(subject, judge, personas=[loaded])
    kept = readable(given)
    is_scored = any(one.is_scored for one in kept)
    remarks = _remarks(loaded, kept, is_scored, judge)
    if not is_scored:
        check_judge(judge, [loaded])
    tokens = str(select(tokens))
    chosen = tuple(range(subject.n_layers) if layers is None else sorted(set(map(subject.check_layer, layers))))
    selections = tuple(dict.fromkeys((*SELECTIONS, *(str(select(one)) for one in (*also, tokens)))))
    rollouts = given_rollouts(subject, loaded, kept, chosen, selections, store)
    if not is_scored:
        journal = store.journal if store is not None else None
        rollouts = judged(rollouts, loaded, judge, judge_fraction, journal)
    settings = {
        "tokens": tokens,
        "method": method,
        "judge": "the rollouts' own scores" if is_scored else judge.name if judge else "none",
        "samples": "given",
        "remarks": remarks,
    }
    index = selections.index(tokens)
    made = make_directions(subject, loaded, rollouts, chosen, index, method, filter or Filter(), settings)
    told = kept if is_scored else [scored(one, each.judgement) for one, each in zip(kept, rollouts, strict=True)]
    return replace(extraction_of([made], [made.directions], index), rollouts={loaded.name: told})


def _remarks(persona: Persona, given: Sequence[Given], is_scored: bool, judge: Judge | None) -> list[str]:
    """What a user should know of how rollouts that exist were filtered."""
    if is_scored:
        if all(one.coherence is None for one in given):
            return ["coherence was not judged: the rollouts have no column 'coherence', and none was dropped for it"]
        return []
    if judge is not None:
        return []
    other = next((one.scored_as for one in given if one.scored_as is not None), None)
    if other is not None:
        raise UserError(
            f"the rollouts hold scores of {other!r}, none of {persona.name!r}, and there is no judge to tell which of them "
            f"show it; give --trait {other}, or --judge chat"
        )
    return [f"no judge, and the rollouts have no scores in a column {persona.name!r}: every rollout counts"]
