"""`personascope diff`: how a fine-tune moved a base model along personas."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.chosen import TraitOption, chosen
from personascope.cli.doubts import say_reading_doubts
from personascope.cli.estimate import estimate_sampling
from personascope.cli.generate import gather
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    OutOption,
    SeedOption,
    emit,
    quiet_libraries,
    say,
    table,
)
from personascope.comparing.diff import Diff, diff
from personascope.corpora import Record, neutral_questions
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.runs import Config, RunFolder, cell_key, write_json


def diff_command(
    base: Annotated[str, typer.Argument(help="the base model: a Hugging Face id, a local folder, organism:llama")],
    tuned: Annotated[str, typer.Argument(help="the fine-tuned model")],
    directions: Annotated[list[Path], typer.Option("--directions", help="of the base model; several times")],
    trait: TraitOption = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="a prompt; may be given several times")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="a file of prompts; forty neutral questions by default")
    ] = None,
    responses: Annotated[
        Path | None, typer.Option("--responses", help="a file of prompts with responses: read those, sample nothing")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="responses of either model to each prompt", min=1)] = 1,
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
    """Compare a model with its base along each persona: same prompts, same tokens, with intervals."""
    quiet_libraries()
    if prompt or prompts or responses:
        records = gather(prompt, responses or prompts, needs_response=responses is not None)
    else:
        records = [Record(question) for question in neutral_questions()]
    if responses is None:
        records = [Record(one.prompt) for one in records]
    sets = chosen(load_directions(directions), trait)
    say_reading_doubts(sets)
    before = load(base, device=device, dtype=dtype)
    after = load(tuned, device=device, dtype=dtype)
    if estimate:
        count = 2 * samples * len(records) if responses is None else 0
        estimate_sampling(before, count, max_new_tokens, as_json)
        return
    asked = [[one.prompt, one.response] for one in records]
    identity = {
        "directions": sorted(f"{one.name}:{one.digest}" for one in sets),
        "tuned": after.describe(),
        "prompts": asked,
        "samples": samples,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "chat": chat,
    }
    path = out or Path("runs") / f"diff-{cell_key(base=base, seed=seed, **identity)[:8]}"
    config = Config(identity, {}, {"device": str(before.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "diff", config, before.describe(), seed)
    with folder.running():
        say(f"{len(records)} prompts, {len(sets)} personas: {base} against {tuned}")
        found = diff(
            before,
            after,
            sets,
            records,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            chat=chat,
            batch_size=batch_size,
            cells=Cells(folder.path, folder.journal, {"model": before.name}),
        )
        plain = {
            "base": base,
            "tuned": tuned,
            "prompts": found.prompts,
            "best": [one.describe() for one in found.best],
            "shifts": [one.describe() for one in found.shifts],
        }
        write_json(folder.path / "diff.json", plain)
    if as_json:
        emit({"run": folder.path, **plain})
    else:
        _print(found)
        print(f"\nall layers  {folder.path / 'diff.json'}")


def _print(found: Diff) -> None:
    rows = []
    for one in sorted(found.best, key=lambda one: -abs(one.same.estimate)):
        own = "–" if one.own is None else f"{one.own.estimate:+.2f} [{one.own.low:+.2f}, {one.own.high:+.2f}]"
        same = f"{one.same.estimate:+.2f} [{one.same.low:+.2f}, {one.same.high:+.2f}]"
        rows.append([one.persona, str(one.layer), f"{one.base:.2f}", f"{one.tuned:.2f}", same, own])
    table(
        "", ["persona", "layer", "base", "tuned", "shift, same tokens", "shift, own responses"], rows, spare=["layer"]
    )
    print("Shifts in standard deviations of the base model's projections over response tokens; 95 % over prompts.")


COMMAND = diff_command
