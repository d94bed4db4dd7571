"""`personascope extract`: personas → directions."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personascope.cli.doubts import say_doubts
from personascope.cli.extraction_estimate import ExtractionSize, estimate_extraction
from personascope.cli.judges import (
    JudgePrices,
    JudgeScale,
    judge_option,
    parse_prices,
    report_usage,
    said,
)
from personascope.cli.layers import LayersOption, joined, parse_layers
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
    slug,
    table,
)
from personascope.cli.workers import WorkersOption, check_workers, working
from personascope.directions import DirectionSet
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.engine.selection import select
from personascope.errors import UserError
from personascope.extraction.extract import check_extraction, check_fraction, extract_all, extract_given
from personascope.extraction.extraction import Extraction
from personascope.extraction.given import read_rollouts
from personascope.extraction.rollout_table import rollout_table
from personascope.extraction.steering import ALPHAS
from personascope.extraction.vectors import METHODS
from personascope.extraction.vectors import method as method_named
from personascope.personas import Persona, load_persona
from personascope.report.vectors import direction_file, named_sets, plain_quality, save_vectors
from personascope.runs import Config, RunFolder, write_table

if TYPE_CHECKING:
    from personascope.judging.endpoint import Endpoint

# What only sampling has a use for, by the names of their parameters.
_IDLE = ("max_new_tokens", "temperature", "eval_judge")
_JUDGING = ("judge", "judge_scale", "judge_fraction")
_SAMPLING = ("samples", "questions", *_IDLE, "workers", "batch_size")


def extract_command(
    context: typer.Context,
    model: ModelArgument,
    trait: Annotated[
        list[str], typer.Option("--trait", help="a shipped persona or a persona file; may be given several times")
    ],
    layers_given: LayersOption = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option("--tokens", help="tokens whose mean is taken: response (default), prompt[-1] …; several times"),
    ] = None,
    method: Annotated[str, typer.Option("--method", help=", ".join(METHODS))] = "mean_difference",
    judge: Annotated[str, typer.Option("--judge", help="auto, lexicon, chat, chat:MODEL or none")] = "auto",
    eval_judge: Annotated[
        str | None, typer.Option("--eval-judge", help="another judge for choosing and reporting the dose")
    ] = None,
    judge_fraction: Annotated[float, typer.Option("--judge-fraction", help="share of rollouts to judge")] = 1.0,
    judge_scale: JudgeScale = "0-100",
    judge_prices: JudgePrices = None,
    rollouts: Annotated[
        Path | None, typer.Option("--rollouts", help="a persona-vectors CSV, or a rollouts.parquet: sample nothing")
    ] = None,
    generate_with: Annotated[
        str | None,
        typer.Option(
            "--generate-with",
            help="URL of an OpenAI-compatible server of the same model: it samples the rollouts, they are read here",
        ),
    ] = None,
    generate_model: Annotated[
        str | None, typer.Option("--generate-model", help="its name on that server; MODEL by default")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="responses per instruction and question", min=1)] = 2,
    questions: Annotated[
        int | None, typer.Option("--questions", help="at most so many questions per split", min=1)
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 200,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    workers: WorkersOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Extract directions and write them, with their quality, into a run folder."""
    quiet_libraries()
    layers = "all" if layers_given is None else joined(layers_given)
    personas = [load_persona(one) for one in trait]
    selections = tokens or ["response"]
    given = read_rollouts(rollouts, personas[0].name) if rollouts is not None else None
    if given is not None and len(personas) > 1:
        raise UserError("--rollouts holds the rollouts of one persona; give one --trait")
    if given is not None and generate_with is not None:
        raise UserError("--rollouts are there already, and --generate-with would sample others; give one of them")
    if given is not None:
        idle = [f"--{name.replace('_', '-')}" for name in _SAMPLING if _is_asked(context, name)]
        if idle:
            say(f"note: with --rollouts nothing is sampled or steered: {', '.join(idle)} changes nothing")
        if any(one.is_scored for one in given) and any(_is_asked(context, name) for name in _JUDGING):
            say(
                f"note: {rollouts} has scores in its column {personas[0].name!r}, and they count: no judge is asked; "
                "drop the column for one"
            )
    if generate_model is not None and generate_with is None:
        raise UserError("--generate-model names a model on a server; say which with --generate-with, or leave it out")
    subject = load(model, device=device, dtype=dtype)
    chosen = parse_layers(layers, subject.n_layers)
    filtering = judge_option(subject, judge, judge_scale, personas)
    evaluating = filtering if eval_judge is None else judge_option(subject, eval_judge, judge_scale, personas)
    judges = filtering, evaluating
    prices = parse_prices(judge_prices)
    alphas = ALPHAS if evaluating is not None else ()
    selections = [str(select(one)) for one in selections]
    check_workers(workers)
    if given is None:
        check_extraction(subject, personas, method, judges, judge_fraction, questions, samples)
    else:
        check_fraction(judge_fraction)
        method_named(method)
    if estimate:
        settings = ExtractionSize(personas, given, samples, questions, max_new_tokens, chosen, len(selections))
        estimate_extraction(subject, settings, judges, judge_fraction, prices, as_json)
        return
    if filtering is None and given is None:
        steering = ", and no layer and α to steer with will be chosen" if evaluating is None else ""
        say(f"no judge: every rollout counts{steering}; give --judge chat")
    identity = {
        "tokens": selections,
        "method": method,
        "judge": judge,
        "eval_judge": eval_judge,
        "judge_fraction": judge_fraction,
        "judge_scale": judge_scale,
        "layers": layers,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "rollouts": None,
        "sampled_by": None if generate_with is None else generate_model or model,
    }
    extent = {"personas": [persona.name for persona in personas], "samples": samples, "questions": questions}
    runtime = {"device": str(subject.input_device), "batch_size": batch_size}
    if rollouts is not None:
        # A file is what it holds: its path may change, and what it holds not.
        identity |= {"rollouts": f"blake2b:{_digest(rollouts)}", **dict.fromkeys(_IDLE)}
        extent, runtime = {"personas": extent["personas"]}, {**runtime, "rollouts": str(rollouts)}
    config = Config(identity, extent, runtime)
    folder = RunFolder.open(
        out or Path("runs") / _default_folder(model, personas), "extract", config, subject.describe(), seed
    )
    with folder.running(), progress() as advance, working(subject, model, workers, device, dtype):
        store = Cells(folder.path, folder.journal, {"model": subject.name, "tokens": selections, "layers": layers})
        extractions: dict[str, Extraction] = {}
        failures: dict[str, str] = {}
        for selection in selections:
            if given is not None:
                extractions[selection] = extract_given(
                    subject,
                    personas[0],
                    given,
                    selection,
                    method,
                    judges[0],
                    chosen,
                    store=store,
                    judge_fraction=judge_fraction,
                    also=selections,
                )
            else:
                extractions[selection] = extract_all(
                    subject,
                    personas,
                    tokens=selection,
                    method=method,
                    judge=judges[0],
                    samples=samples,
                    seed=seed,
                    layers=chosen,
                    eval_judge=judges[1],
                    judge_fraction=judge_fraction,
                    questions=questions,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    batch_size=batch_size,
                    on_progress=advance,
                    store=store,
                    alphas=alphas,
                    also=selections,
                    server=_server(generate_with, generate_model or model),
                    on_failure=lambda persona, error: failures.update({persona.name: str(error)}),
                )
        page = save_vectors(folder, extractions)
        # The same ones for every selection of their tokens.
        write_table(folder.path / "rollouts.parquet", rollout_table(next(iter(extractions.values())).rollouts))
        if failures:
            came = [persona.name for persona in personas if persona.name not in failures]
            folder.lacks(failures, {**extent, "personas": came} if came else None)
        usage = report_usage(folder, judges, prices)
    sets = named_sets(extractions)
    if as_json:
        quality = {one.name: plain_quality(one) for one in sets}
        files = [direction_file(folder.path, one) for one in sets]
        emit(
            {
                "run": folder.path,
                "directions": files,
                "quality": quality,
                "report": page,
                "failed": failures,
                "judging": usage,
            }
        )
    elif sets:
        _print(sets, folder.path)
        say_doubts(sets)
        print(f"report      {page}")
        if usage is not None:
            print(f"judging     {said(usage['this_start'])}")
    if failures:
        raise UserError("; ".join(failures.values()) + ("; the others are kept" if sets else ""))


def _is_asked(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _server(url: str | None, model: str) -> "Endpoint | None":
    """Who samples; its key is in PERSONASCOPE_GENERATE_API_KEY, if it wants one."""
    if url is None:
        return None
    from personascope.judging.endpoint import Endpoint

    return Endpoint(url, model, os.environ.get("PERSONASCOPE_GENERATE_API_KEY") or "none", timeout=600.0)


def _print(sets: Sequence[DirectionSet], path: Path) -> None:
    table(
        "",
        ["persona", "read at", "AUROC", "Cohen's d", "split halves", "steer at", "α", "trait", "coherence"],
        [summary(one) for one in sets],
        spare=["split halves", "Cohen's d"],
    )
    print(f"\ndirections  {path / 'directions'}")


def _default_folder(model: str, personas: Sequence[Persona]) -> str:
    names = "-".join(persona.name.replace(" ", "_") for persona in personas)[:60]
    return f"extract-{slug(model)}-{names}"


def summary(directions: DirectionSet) -> list[str]:
    """A direction set in one line: how well it reads at its best layer, and what steering with it does."""
    figures = directions.quality.get(directions.best_layer, {})
    low, high = figures.get("auroc_interval", (float("nan"),) * 2)
    line = [
        directions.name,
        str(directions.best_layer),
        f"{figures.get('auroc', float('nan')):.3f} [{low:.2f}, {high:.2f}]",
        f"{figures.get('cohens_d', float('nan')):.1f}",
        f"{figures.get('split_half_cosine', float('nan')):.2f}",
    ]
    steering = directions.choices.get("steering")
    if steering is None:
        return [*line, "–", "–", "–", "–"]
    before, after = steering["unsteered"], steering["steered"]
    return [
        *line,
        str(directions.steer_layer),
        f"{directions.choices['alpha']:g}",
        f"{before['trait']:.0f} → {after['trait']:.0f}",
        f"{before['coherence']:.0f} → {after['coherence']:.0f}",
    ]


COMMAND = extract_command
