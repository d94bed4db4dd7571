"""`personascope screen`: which samples of a fine-tuning set would push a model along a persona."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.chosen import TraitOption, chosen
from personascope.cli.doubts import say_reading_doubts
from personascope.cli.estimate import estimate_sampling
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
from personascope.comparing.screen import Screening, screen
from personascope.corpora import Record, read_prompts
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.runs import Config, RunFolder, cell_key, write_json, write_table

_WIDTH = 70


def screen_command(
    dataset: Annotated[Path, typer.Argument(help="prompts with responses: .jsonl, .json, .csv or .parquet")],
    model: Annotated[str, typer.Option("--model", help="the model that would be fine-tuned")],
    directions: Annotated[list[Path], typer.Option("--directions", help="its directions; several times")],
    trait: TraitOption = None,
    samples: Annotated[int, typer.Option("--samples", help="responses of the model's own to each prompt", min=1)] = 1,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    chat: Annotated[bool, typer.Option("--chat/--no-chat", help="through the chat template, or as raw text")] = True,
    top: Annotated[int, typer.Option("--top", help="samples to print from either end", min=1)] = 5,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank the samples of a dataset by how far they lie from what the model itself would say, along each persona."""
    quiet_libraries()
    records = read_prompts(dataset, needs_response=True, allows_empty=True)
    sets = chosen(load_directions(directions), trait)
    say_reading_doubts(sets)
    subject = load(model, device=device, dtype=dtype)
    if estimate:
        estimate_sampling(subject, samples * len({repr(one.prompt) for one in records}), max_new_tokens, as_json)
        return
    identity = {
        "directions": sorted(f"{one.name}:{one.digest}" for one in sets),
        "dataset": cell_key(records=[[one.prompt, one.response] for one in records]),
        "samples": samples,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "chat": chat,
    }
    path = out or Path("runs") / f"screen-{cell_key(model=model, seed=seed, **identity)[:8]}"
    config = Config(identity, {}, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "screen", config, subject.describe(), seed)
    with folder.running():
        say(f"samples: {len(records)}, personas: {len(sets)}")
        found = screen(
            subject,
            sets,
            records,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            chat=chat,
            batch_size=batch_size,
            cells=Cells(folder.path, folder.journal, {"model": subject.name}),
        )
        names = [one.name for one in sets]
        plain = {
            "samples": len(records),
            "left_out": list(found.left_out),
            "mean": {name: found.mean(name) for name in names} if found.rows else {},
            "ranked": {name: [row.describe() for row in found.ranked(name)] for name in names} if found.rows else {},
        }
        write_json(folder.path / "screen.json", plain)
        write_table(folder.path / "screen.parquet", _columns(found, records))
    if as_json:
        emit({"run": folder.path, **plain})
        return
    for name in names if found.rows else ():
        ranked = found.ranked(name)
        shown = ranked if len(ranked) <= 2 * top else [*ranked[:top], *ranked[-top:]]
        rows = [
            [
                f"{row.sample}",
                f"{row.difference:+.2f}",
                f"{row.given:.2f}",
                f"{row.own:.2f}",
                _said(records[row.sample]),
            ]
            for row in shown
        ]
        table(
            f"{name} at layer {ranked[0].layer}: mean difference {found.mean(name):+.2f} residual-stream units",
            ["sample", "difference", "given", "own", "response"],
            rows,
            cut=["response"],
        )
    if found.left_out:
        say(f"{len(found.left_out)} samples were left out: no response, the dataset's or the model's own")
    print(f"\nall samples  {folder.path / 'screen.parquet'}")


def _said(record: Record) -> str:
    text = " ".join((record.response or "").split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _columns(found: Screening, records: list[Record]) -> dict[str, list[object]]:
    rows = [row.describe() for row in found.rows]
    columns: dict[str, list[object]] = {
        name: [row[name] for row in rows] for name in ("sample", "persona", "layer", "given", "own", "difference")
    }
    return columns | {"response": [records[row.sample].response for row in found.rows]}


COMMAND = screen_command
