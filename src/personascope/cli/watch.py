"""`personascope watch`: every trait at every token, and a page to look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.chosen import TraitOption
from personascope.cli.chosen import chosen as chosen_sets
from personascope.cli.doubts import say_doubts, say_reading_doubts
from personascope.cli.estimate import estimate_sampling
from personascope.cli.generate import PROMPTS_HELP, gather
from personascope.cli.layers import HELP as LAYERS_HELP
from personascope.cli.layers import joined, parse_layers
from personascope.cli.steer import HELP as STEER_HELP
from personascope.cli.steer import notes, parse_steer
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    progress,
    quiet_libraries,
    say,
    slug,
)
from personascope.cli.watch_tables import print_watch
from personascope.corpora import Record
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.engine.writes import Write
from personascope.errors import NonFinite, UserError
from personascope.report import save_watch
from personascope.runs import Config, RunFolder, cell_key
from personascope.subject import Subject
from personascope.watching import Watch, verify, watch
from personascope.watching.calibration import calibration_rows
from personascope.watching.decision_points import ALARMS_PER_1000
from personascope.watching.verify import check_continuations


def watch_command(
    model: ModelArgument,
    directions: Annotated[
        list[Path], typer.Option("--directions", help="directions that `extract` or `demo` wrote; several times")
    ],
    trait: TraitOption = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="a prompt; may be given several times")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help=PROMPTS_HELP)] = None,
    responses: Annotated[
        Path | None, typer.Option("--responses", help="a file with responses that exist: read them, sample nothing")
    ] = None,
    layers_given: Annotated[
        list[str] | None,
        typer.Option("--layers", help=f"{LAYERS_HELP}, several times; each trait's best and some spread by default"),
    ] = None,
    steer: Annotated[list[str] | None, typer.Option("--steer", help=STEER_HELP)] = None,
    verify_with: Annotated[
        int,
        typer.Option("--verify", min=0, help="resample so many continuations, 4 or more, around each decision point"),
    ] = 0,
    alarms: Annotated[
        float,
        typer.Option("--alarms", help="false alarms per 1,000 tokens of neutral runs that decision points may have"),
    ] = ALARMS_PER_1000,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
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
    """Watch traits token by token and write a run folder with a page."""
    quiet_libraries()
    layers = None if layers_given is None else joined(layers_given)
    if responses is not None and (prompt or prompts):
        raise UserError("--responses is read and nothing sampled; give --prompt and --prompts in a run of their own")
    if verify_with:
        check_continuations(verify_with)
    records = gather(prompt, responses or prompts, needs_response=responses is not None)
    if responses is None:
        # Answers that a prompt file happens to hold are not what the model says.
        records = [replace(record, response=None) for record in records]
    loaded = load_directions(directions)
    sets = chosen_sets(loaded, trait)
    writes = parse_steer(steer or [], loaded)
    subject = load(model, device=device, dtype=dtype)
    chosen = parse_layers(layers, subject.n_layers)
    steered = {direction.name for write in writes for direction in write.directions}
    used = steered | {one.name for one in sets}
    say_doubts(one for one in loaded if one.name in steered)
    say_reading_doubts(one for one in sets if one.name not in steered)
    for line in notes(steer or [], writes, loaded):
        say(line)
    if responses is not None:
        _say_unknown(subject, records)
    if estimate:
        estimate_sampling(subject, len(records) + calibration_rows(subject), max_new_tokens, as_json)
        return
    identity = {
        "directions": sorted(f"{one.name}:{one.digest}" for one in loaded if one.name in used),
        "layers": layers,
        "steer": steer or [],
        # A name alone is what was chosen for it, which may change.
        "writes": [str(line) for write in writes for line in write.describe()],
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "chat": chat,
        "alarms": alarms,
        "given": responses is not None,
    }
    prompts_given = [[record.prompt, record.response] for record in records]
    extent = {"prompts": prompts_given, "verify": verify_with}
    key = cell_key(model=subject.describe(), prompts=prompts_given, seed=seed, **identity)
    path = out or Path("runs") / f"watch-{slug(model)}-{key[:8]}"
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "watch", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        cells = Cells(folder.path, folder.journal, {"model": subject.name})
        found = watch(
            subject,
            sets,
            records,
            layers=chosen,
            steer=writes,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            chat=chat,
            alarms_per_1000=alarms,
            batch_size=batch_size,
            on_progress=advance,
            cells=cells,
        )
        if verify_with:
            found = _verified(found, verify_with, writes, chat, temperature, seed, batch_size, advance, cells)
        failed = {
            f"row {number}": row.generation.error for number, row in enumerate(found.rows) if row.generation.error
        }
        if len(failed) == len(found.rows):
            raise NonFinite(_failure(failed, found))
        if failed:
            folder.lacks(failed, extent)
        page = save_watch(folder, found)
    print_watch(found, page, as_json)
    if failed:
        raise NonFinite(_failure(failed, found))


def _say_unknown(subject: Subject, records: Sequence[Record]) -> None:
    """Where a tokenizer knows no token for a part of the text, another one is read in its place."""
    ids = [
        token
        for record in records
        for token in subject.tokenizer(record.response or "", add_special_tokens=False)["input_ids"]
    ]
    unknown = ids.count(subject.tokenizer.unk_token_id) if subject.tokenizer.unk_token_id is not None else 0
    if unknown:
        say(
            f"note: {unknown} of {len(ids)} tokens of the responses are {subject.tokenizer.unk_token}, which stands for text "
            "that the tokenizer has no tokens for: what the model reads there is not what was written"
        )


def _verified(
    found: Watch,
    n: int,
    writes: Sequence[Write],
    chat: bool,
    temperature: float,
    seed: int,
    batch_size: int | None,
    advance: Callable[[str, int | None], None],
    cells: Cells,
) -> Watch:
    rows = []
    advance("verifying decision points", sum(len(row.points) for row in found.rows) * 2 * n)
    for row in found.rows:
        prompt = found.subject.chat.prompt(row.prompt, chat=chat)
        verdicts = verify(
            found.subject,
            prompt,
            row.generation,
            row.points,
            found.traits,
            found.calibration,
            n,
            writes=writes,
            temperature=temperature or 1.0,
            seed=seed,
            batch_size=batch_size,
            on_done=lambda: advance("", None),
            cells=cells,
        )
        rows.append(replace(row, verdicts=tuple(verdicts)))
    return replace(found, rows=tuple(rows))


def _failure(failed: Mapping[str, str], found: Watch) -> str:
    return f"{len(failed)} of {len(found.rows)} rows failed; the first: {next(iter(failed.values()))}"


COMMAND = watch_command
