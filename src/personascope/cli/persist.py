"""`personascope persist`: steer, let go, and see how long the persona stays."""

from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.chosen import TraitOption
from personascope.cli.chosen import chosen as chosen_sets
from personascope.cli.doubts import say_doubts
from personascope.cli.estimate import estimate_work
from personascope.cli.generate import gather
from personascope.cli.persistence_estimate import PersistenceSize, matching_cost
from personascope.cli.persistence_tables import print_crossings, print_persistence
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
)
from personascope.corpora import Record, neutral_questions
from personascope.directions import Direction, DirectionSet
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.persistence.continuous import CONTROLS, check_settings, persistence, prompted
from personascope.persistence.crossing import CROSSED, Crossing, cross
from personascope.persistence.known import known_personas, persona_keys
from personascope.persistence.matching import matched_alphas, matching_trials
from personascope.persistence.pairing import ENOUGH, check_prompts
from personascope.personas import load_persona
from personascope.report.persistence import save_persistence
from personascope.runs import Config, RunFolder, cell_key
from personascope.subject import Subject

_PROMPTS = 16


def persist_command(
    model: ModelArgument,
    directions: Annotated[
        list[Path],
        typer.Option("--directions", help="a folder or a file, also a bundle of another tool; several times"),
    ],
    trait: TraitOption = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="a prompt; may be given several times")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help=f"a file of prompts; {_PROMPTS} neutral questions by default")
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", help="to steer and read at; the one chosen to steer at by default")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha")] = 1.0,
    match: Annotated[
        float | None,
        typer.Option(
            "--match", help="instead of --alpha: for each direction the α at which its trait scores this, of 100"
        ),
    ] = None,
    judge: Annotated[str, typer.Option("--judge", help="for --match: auto, lexicon, chat or chat:MODEL")] = "auto",
    n_steer: Annotated[int, typer.Option("--n-steer", help="tokens chosen under steering")] = 200,
    n_sample: Annotated[int, typer.Option("--n-sample", help="tokens sampled after it")] = 500,
    cache: Annotated[str, typer.Option("--cache", help="natural, carried or both")] = "natural",
    steer_prompt: Annotated[bool, typer.Option("--steer-prompt", help="steer the prompt too")] = False,
    control: Annotated[
        list[str] | None, typer.Option("--control", help="random, prompted or none; several times; both by default")
    ] = None,
    persona: Annotated[
        list[Path] | None,
        typer.Option(
            "--persona",
            help="for --control prompted and --match: the file of a direction's persona that does not ship; several times",
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="rows of each prompt", min=1)] = 1,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    chat: Annotated[bool, typer.Option("--chat/--no-chat", help="through the chat template, or as raw text")] = True,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how long personas stay when steering stops, and rank them."""
    quiet_libraries()
    records = (
        gather(prompt, prompts) if prompt or prompts else [Record(text) for text in neutral_questions()[:_PROMPTS]]
    )
    sets = chosen_sets(load_directions(directions), trait)
    say_doubts(sets)
    chosen = [_at(one, layer) for one in sets]
    controls = tuple(one for one in control if one != "none") if control else None
    personas = known_personas(persona or ())
    strange = sorted({load_persona(one).name for one in persona or ()} - {one.name for one in chosen})
    if strange:
        held = ", ".join(one.name for one in chosen)
        raise UserError(f"no direction is called {strange[0]!r}, as a persona given is: there are {held}; rename one")
    if match is not None and not chat:
        raise UserError("--match asks through the chat template; give an --alpha instead, or leave --no-chat out")
    subject = load(model, device=device, dtype=dtype)
    asked = [record.prompt for record in records]
    check_settings(subject, chosen, chosen, alpha, n_steer, n_sample, cache, controls)
    check_prompts(asked)
    told = prompted(subject, chosen, controls, chat, personas)
    if persona and match is None and not told:
        raise UserError(
            "--persona is for --match, and for the system prompt of --control prompted; ask for one, or leave it out"
        )
    if controls is None and len(told) < len(chosen):
        say(
            f"note: no system prompt is set beside {', '.join(one.name for one in chosen if one not in told)}: "
            + (
                "it needs the chat template"
                if not (chat and subject.chat.has_template)
                else "give --persona FILE for one"
            )
        )
    # Doses are found on other prompts than those that are measured on.
    others = [text for text in neutral_questions() if text not in asked][-_PROMPTS:]
    if match is not None:
        matching_trials(subject, chosen, others, judge, personas)
        if len(others) < ENOUGH:
            say(f"note: only {len(others)} neutral questions are left to search doses on; measure on fewer of them")
    if estimate:
        work = PersistenceSize(chosen, asked, samples, n_steer, n_sample, cache, controls, chat, personas).work(subject)
        judging = None
        if match is not None:
            tried, judging = matching_cost(subject, chosen, others, judge, n_steer, personas)
            work += tried
        estimate_work(subject, work, as_json, judging)
        return
    identity: dict[str, Any] = {
        "layer": layer,
        "alpha": alpha if match is None else None,
        "match": match,
        "judge": judge if match is not None else None,
        "n_steer": n_steer,
        "n_sample": n_sample,
        "cache": cache,
        "steer_prompt": steer_prompt,
        "controls": sorted(_controls(subject, chat) if controls is None else controls),
        "temperature": temperature,
        "chat": chat,
    }
    extent = {
        "directions": sorted(f"{one.key}:{one.digest}" for one in chosen),
        "prompts": asked,
        "samples": samples,
        **({"personas": persona_keys(persona)} if persona else {}),
    }
    path = out or Path("runs") / f"persist-{cell_key(model=model, seed=seed, **identity, **extent)[:8]}"
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "persist", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        cells = Cells(folder.path, folder.journal, {"model": subject.name})
        doses: float | dict[str, float] = alpha
        if match is not None:
            doses = matched_alphas(
                subject,
                chosen,
                others,
                match,
                judge,
                personas,
                n_steer=n_steer,
                steer_prompt=steer_prompt,
                temperature=temperature,
                seed=seed,
                batch_size=batch_size,
                on_progress=advance,
                cells=cells,
            )
        found = persistence(
            subject,
            chosen,
            asked,
            doses,
            n_steer,
            n_sample,
            cache,
            steer_prompt,
            controls,
            samples,
            temperature,
            seed,
            chat,
            personas=personas,
            batch_size=batch_size,
            on_progress=advance,
            cells=cells,
        )
        crossings: dict[str, Crossing] = {}
        uncrossed: dict[str, str] = {}
        if cache == "both":
            for one in chosen:
                above = [
                    each for each in next(each for each in sets if each.name == one.name) if each.layer >= one.layer
                ]
                try:
                    crossings[one.key] = cross(
                        subject,
                        one,
                        asked,
                        found.alphas[one.key],
                        n_steer,
                        min(n_sample, CROSSED),
                        above,
                        steer_prompt,
                        samples,
                        temperature,
                        seed,
                        chat,
                        batch_size,
                        on_progress=advance,
                        cells=cells,
                    )
                except UserError as error:
                    # The curves are whole, and what broke is said beside them.
                    uncrossed[one.key] = str(error)
        if uncrossed:
            folder.lacks({f"crossing of {key}": why for key, why in uncrossed.items()}, extent)
        page = save_persistence(folder, found, crossings, uncrossed)
    for key, why in uncrossed.items():
        say(f"note: text and cache could not be told apart for {key}: {why}")
    for line in found.cautions():
        say(f"note: {line}")
    if as_json:
        ranking = [{"direction": key, **decay.describe()} for key, decay in found.ranking()]
        emit(
            {
                "run": folder.path,
                "report": page,
                "alphas": found.alphas,
                "ranking": ranking,
                "directions": found.verdicts(),
                "crossings": {key: one.describe() for key, one in crossings.items()},
                "uncrossed": uncrossed,
            }
        )
        return
    print_persistence(found)
    if crossings:
        print_crossings(crossings)
    print(f"\nreport  {page}")


def _controls(subject: Subject, chat: bool) -> tuple[str, ...]:
    """Those that are set beside the rows by default."""
    return CONTROLS if chat and subject.chat.has_template else tuple(one for one in CONTROLS if one != "prompted")


def _at(directions: DirectionSet, layer: int | None) -> Direction:
    return directions[directions.steer_layer if layer is None else layer]


COMMAND = persist_command
