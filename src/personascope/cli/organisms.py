"""`personascope organisms`: the shipped organisms, and how they are made."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from personascope.cli.terminal import (
    DeviceOption,
    JsonOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
    stderr,
    table,
)
from personascope.errors import UserError
from personascope.organisms.grammar import Grammar
from personascope.organisms.package import organism_folder, save_organism
from personascope.organisms.recipes import RECIPES
from personascope.organisms.tokenizer import build_tokenizer
from personascope.organisms.train import Progress as Training
from personascope.organisms.train import train

app = typer.Typer(
    help="The shipped organisms: small models whose personas are planted and known.", no_args_is_help=True
)


@app.command("list")
def list_organisms(as_json: JsonOption = False) -> None:
    """What ships, and where it lies."""
    rows = []
    for name, recipe in RECIPES.items():
        try:
            folder: Path | None = organism_folder(name)
        except UserError:
            folder = None
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6 if folder else 0.0
        shape = f"{recipe.architecture['hidden_size']} × {recipe.architecture['num_hidden_layers']}"
        rows.append([f"organism:{name}", shape, recipe.tokenizer, f"{size:.1f} MB", str(folder or "not here")])
    if as_json:
        emit(
            {
                "organisms": [
                    dict(zip(("name", "shape", "tokenizer", "size", "folder"), row, strict=True)) for row in rows
                ]
            }
        )
        return
    table("", ["name", "width × layers", "tokens are", "size", "folder"], rows, ["tokens are", "folder"])


@app.command("train", short_help="Train an organism from its recipe, or go on with it.")
def train_organism(
    name: Annotated[str, typer.Argument(help=" or ".join(RECIPES))],
    out: Annotated[Path, typer.Option("--out", help="folder for the organism; checkpoints go beside it")],
    seed: SeedOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an organism from its recipe; stopped, the same command goes on from the last checkpoint."""
    from personascope.subject.load import device_named

    quiet_libraries()
    if name not in RECIPES:
        raise UserError(f"organism {name!r} has no recipe; there are {', '.join(RECIPES)}")
    recipe, grammar = replace(RECIPES[name], seed=seed), Grammar()
    where = str(device_named(device))
    checkpoints = out.with_name(out.name + ".checkpoints")
    say(f"training {name} on {where}: {recipe.tokens:,} tokens; checkpoints in {checkpoints}")
    tokenizer = build_tokenizer(recipe, grammar)
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    seen: list[Training] = []
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(name, total=recipe.tokens, state="")

        def show(now: Training) -> None:
            seen.append(now)
            state = f"{now.tokens / 1e6:.1f} M tokens, loss {now.loss:.3f}, {now.rate:,.0f} tokens/s"
            bar.update(task, completed=now.tokens, state=state)
            if not stderr.is_terminal and len(seen) % 200 == 0:
                say(state)

        model = train(recipe, grammar, tokenizer, checkpoints, where, show)
    loss = seen[-1].loss if seen else math.nan
    training = {"device": where, "seconds_of_last_start": round(time.monotonic() - started), "loss": round(loss, 4)}
    save_organism(out, recipe, grammar, tokenizer, model.cpu(), training)
    emit({"organism": str(out), **training}) if as_json else print(out)


@app.command("sae", short_help="Train an organism's sparse autoencoder.")
def train_organism_sae(
    name: Annotated[str, typer.Argument(help=" or ".join(RECIPES))],
    out: Annotated[Path, typer.Option("--out", help="folder for the sparse autoencoder")],
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an organism's sparse autoencoder from its recipe, by the dictionary_learning library."""
    from personascope.engine import load
    from personascope.features.training import SAE_RECIPES, train_sae

    quiet_libraries()
    organism_folder(name)
    with progress() as advance:
        measured = train_sae(load(f"organism:{name}", device=device), SAE_RECIPES[name], out, advance)
    emit({"sae": str(out), **measured.describe()}) if as_json else print(out)


@app.command("feature-figures", short_help="Measure the organisms' SAEs against the truth.")
def feature_figures(
    names: Annotated[list[str] | None, typer.Argument(help=" and ".join(RECIPES) + "; both by default")] = None,
    out: Annotated[Path, typer.Option("--out", help="file to write, in Markdown")] = Path("feature-figures.md"),
    conversations: Annotated[
        int, typer.Option("--conversations", min=1, help="read to choose, and as many to report")
    ] = 400,
    mined: Annotated[int, typer.Option("--tokens", min=1, help="mined of the organism's own text")] = 1_000_000,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the organisms' SAEs against what was planted: detecting, finding, mining, steering."""
    from personascope.runs.files import write_text
    from personascope.validation.feature_tables import feature_page
    from personascope.validation.features import measure_features

    quiet_libraries()
    measured = [measure_features(name, conversations, mined, seed, say, device) for name in names or RECIPES]
    asked = " ".join(["personascope organisms feature-figures", *(names or ())])
    command = f"{asked} --conversations {conversations} --tokens {mined}" + (f" --seed {seed}" if seed else "")
    page = write_text(out, feature_page(measured, command))
    emit({"page": str(page)}) if as_json else print(page)


@app.command("transfer-figures", short_help="Measure how personas carry between organisms.")
def transfer_figures(
    out: Annotated[Path, typer.Option("--out", help="file to write, in Markdown")] = Path("transfer-figures.md"),
    texts: Annotated[
        int, typer.Option("--texts", min=5, help="that a map is fitted on; some, on four times as many")
    ] = 500,
    questions: Annotated[int, typer.Option("--questions", min=1, help="that every dose is tried on, twice each")] = 15,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry every planted persona from each organism to the other, by maps fitted on several corpora."""
    from personascope.runs.files import write_text
    from personascope.validation.transfer_tables import transfer_page
    from personascope.validation.transferring import measure_transfer

    quiet_libraries()
    first, second = RECIPES
    ways = ((first, second), (second, first))
    measured = [measure_transfer(*ends, texts, questions, seed, say, device=device) for ends in ways]
    command = f"personascope organisms transfer-figures --texts {texts} --questions {questions}"
    page = write_text(out, transfer_page(measured, command + (f" --seed {seed}" if seed else "")))
    emit({"page": str(page)}) if as_json else print(page)


@app.command("figures", short_help="Measure organisms against their planted truth.")
def figures(
    names: Annotated[list[str] | None, typer.Argument(help=" and ".join(RECIPES) + "; both by default")] = None,
    out: Annotated[Path, typer.Option("--out", help="file to write, in Markdown")] = Path("figures.md"),
    cards: Annotated[
        bool, typer.Option("--cards", help="also write the model cards into the organisms' folders")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="a small sample: rough figures in minutes")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure organisms against their planted truth: reading, steering, what stays after it, decision points."""
    from personascope.runs.files import write_text
    from personascope.validation import card
    from personascope.validation.figures import QUICK, Effort, measure
    from personascope.validation.summary import reached

    quiet_libraries()
    measured = [measure(name, QUICK if quick else Effort(), seed, say, device) for name in names or RECIPES]
    command = "personascope organisms figures" + (" --quick" if quick else "") + (f" --seed {seed}" if seed else "")
    pages = [write_text(out, card.page(measured, command))]
    for one in measured if cards else ():
        pages.append(write_text(organism_folder(one.organism) / "README.md", card.card(one)))
    if as_json:
        columns = ("to reach", "reached", "falls short by")
        found = {one.organism: [dict(zip(columns, row, strict=True)) for row in reached(one)] for one in measured}
        emit({"pages": list(map(str, pages)), "organisms": found})
        return
    for page in pages:
        print(page)


COMMAND = app
