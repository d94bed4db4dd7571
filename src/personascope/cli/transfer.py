"""`personascope transfer`: carry personas from one model to another."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    OutOption,
    emit,
    progress,
    quiet_libraries,
    say,
    table,
)
from personascope.cli.transfer_estimate import estimate_transfer
from personascope.cli.workers import WorkersOption, check_workers, working
from personascope.report import write_report
from personascope.subject import Subject
from personascope.transfer.config_file import load_config
from personascope.transfer.experiment import transfer
from personascope.transfer.markdown import COLUMNS, result_rows
from personascope.transfer.result import TransferResult

app = typer.Typer(
    help="Carry personas from one model to another, and measure whether they arrive.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Carry personas from one model to another, and measure whether they arrive."""


@app.command("run")
def run_command(
    config: Annotated[str, typer.Option("--config", help="a .yaml or .json file, or the shipped one: organisms")],
    workers: WorkersOption = None,
    out: OutOption = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="in place of the configuration's")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a transfer experiment; started again, it goes on."""
    quiet_libraries()
    changed = {"output_dir": out, "seed": seed}
    asked = load_config(config, **{name: value for name, value in changed.items() if value is not None})
    check_workers(workers)
    settings: dict[str, Any] = {"device": device, "dtype": dtype}
    if estimate:
        estimate_transfer(asked, settings, as_json)
        return

    def run_by(subject: Subject) -> AbstractContextManager[None]:
        return working(subject, subject.name, workers, device, dtype)

    with progress() as advance:
        result = transfer(asked, batch_size=batch_size, working=run_by, on_progress=advance, **settings)
        page = write_report([result.folder], result.folder / "report.html")
    if as_json:
        emit({"run": result.folder, "report": page, **_short(result)})
        return
    _print(result, page)


def _short(result: TransferResult) -> dict[str, Any]:
    """What fits on a screen: the conditions are in `aggregated_results.json`."""
    return {name: value for name, value in result.aggregated.items() if name not in ("conditions", "geometry")}


def _print(result: TransferResult, page: Path) -> None:
    found = result.aggregated
    table(
        f"{found['source_model']} → {found['target_model']}, layers {found['main']['source_layer']} → "
        f"{found['main']['target_layer']}",
        list(COLUMNS),
        result_rows(found),
        spare=["ceiling", "retrieval", "told", "collapse"],
    )
    print(f"\n{found['verdict']['sentence']}")
    met = found["verdict"]["criteria_met"]
    print(
        "criteria    the mapped vector was not judged" if met is None else f"criteria    {met} met by the mapped vector"
    )
    for name, kinds in result.main_maps.items():
        for doubt in kinds["ridge"].doubts if "ridge" in kinds else ():
            say(f"note: map{name}: {doubt}")
    for remark in found["verdict"]["remarks"]:
        say(f"note: {remark}")
    print(f"results     {result.folder / 'results.md'}")
    print(f"report      {page}")


COMMAND = app
