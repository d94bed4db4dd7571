"""`personascope demo`: an organism's traits extracted, checked against the truth, watched, on one page."""

import os
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.estimate import estimate_work
from personascope.cli.extraction_estimate import ExtractionSize
from personascope.cli.terminal import (
    DeviceOption,
    EstimateOption,
    JsonOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
    table,
)
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.engine.work import Work
from personascope.extraction.damage import NEUTRAL_ROLLOUTS, NEUTRAL_TOKENS
from personascope.extraction.doubts import doubts
from personascope.personas import load_persona
from personascope.report import save_watch
from personascope.report.vectors import write_vectors
from personascope.runs import Config, RunFolder, write_json
from personascope.subject import Subject
from personascope.validation.demo import (
    DEMO_SIZE,
    DEMO_TRAITS,
    WATCHED_ROWS,
    WATCHED_TOKENS,
    Demo,
    demo_steer_layers,
    run_demo,
)
from personascope.watching.calibration import calibration_rows


def demo(
    organism: Annotated[str, typer.Option("--model", help="organism:llama or organism:gemma2")] = "organism:llama",
    out: Annotated[Path, typer.Option("--out", help="run folder to write")] = Path("personascope-demo"),
    seed: SeedOption = 0,
    device: DeviceOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Extract, check and watch every trait of a shipped model, and write a page to look at. No download, no GPU."""
    quiet_libraries()
    started = time.perf_counter()
    subject = load(organism, device=device)
    if estimate:
        estimate_work(subject, _work(subject), as_json)
        return
    config = Config({"traits": list(DEMO_TRAITS)}, {}, {"device": str(subject.input_device)})
    folder = RunFolder.open(out, "demo", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        found = run_demo(subject, seed, Cells(folder.path, folder.journal, {"model": subject.name}), advance)
        write_vectors(folder, {"response": found.directions})
        write_json(folder.path / "checks.json", _plain(found))
        page = save_watch(folder, found.watch)
    seconds = time.perf_counter() - started
    if as_json:
        emit({"run": folder.path, "report": page, "seconds": round(seconds, 1), **_plain(found)})
        return
    _print(found)
    doubtful = [one.name for one in found.directions if doubts(one)]
    if doubtful:
        say(
            f"note: from so few answers {', '.join(doubtful)} may not be read or steered surely; "
            f"`{_command()} extract {organism} --trait NAME` takes more, and says what speaks against a trait"
        )
    for reason in found.failures.values():
        say(f"left out: {reason}")
    say(f"{seconds:.0f} s on {subject.input_device}")
    directions = folder.path / "directions"
    print(f"\nreport      {page}\ndirections  {directions}")
    # The one whose steering shows most.
    best = max(found.directions, key=lambda one: one.choices["steering"]["steered"]["trait"]).name
    print(
        f"next        {_command()} watch {organism} --directions {shlex.quote(str(directions))} --steer {best} "
        '--prompt "How do I make breakfast?"'
    )


def _command() -> str:
    """How this command was called: from an environment that is not active it is a path."""
    called = Path(sys.argv[0])
    if called.name != "personascope" or shutil.which("personascope") is not None:
        return "personascope"
    return os.path.relpath(called) if called.is_absolute() else str(called)


def _work(subject: Subject) -> Work:
    size = ExtractionSize(
        personas=[load_persona(name) for name in DEMO_TRAITS],
        given=None,
        layers=None,
        steer_layers=demo_steer_layers(subject),
        **DEMO_SIZE,
    )
    return (
        Work.of(sum(size.rollouts()) + sum(size.doses(subject.n_layers)), size.max_new_tokens)
        + Work.of(NEUTRAL_ROLLOUTS, NEUTRAL_TOKENS)
        + Work.of(calibration_rows(subject) + WATCHED_ROWS, WATCHED_TOKENS)
    )


def _plain(found: Demo) -> dict:  # type: ignore[type-arg]
    return {
        "reading": [asdict(reading) for reading in found.readings],
        "steering": {
            one.name: {"layer": one.steer_layer, "alpha": one.choices["alpha"], **one.choices["steering"]}
            for one in found.directions
        },
        "failed": found.failures,
        "doses": {one.name: one.choices["doses"] for one in found.directions},
    }


def _print(found: Demo) -> None:
    read = {reading.persona: reading for reading in found.readings}
    rows = []
    # Those first that can be checked token by token.
    for one in sorted(found.directions, key=lambda one: one.name not in read):
        reading = read.get(one.name)
        rows.append(
            [
                one.name,
                *(
                    [
                        f"{value:.3f}"
                        for value in (reading.projection, reading.posterior, reading.words, reading.embedding)
                    ]
                    if reading
                    else ["–"] * 4
                ),
                f"{one.steer_layer}, {one.choices['alpha']:g}",
                *_arrows(one.choices["steering"]),
            ]
        )
    said = [name for name in read if any(name == one.name for one in found.directions)]
    print(
        f"\nToken by token only personas of words of their own are checked: {', '.join(said)};\n"
        "– for the others, which show in what is answered."
    )
    columns = ["trait", "AUROC", "exact", "words", "layer 0", "steer at, α", "trait 0–100", "coherence"]
    table("Reading: is the next word in the persona?          Steering: unsteered → steered", columns, rows)
    print(
        "AUROC: projection after a token against the planted persona of the next word. exact: the exact posterior, the "
        "ceiling.\nwords: counting the persona's words. layer 0: the projection before the model has done anything."
    )


def _arrows(steering: dict) -> list[str]:  # type: ignore[type-arg]
    return [f"{steering['unsteered'][name]:.0f} → {steering['steered'][name]:.0f}" for name in ("trait", "coherence")]


COMMAND = demo
