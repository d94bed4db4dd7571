"""`personascope transfer`: carry personas from one model to another."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.estimate import in_words, work_cost
from personascope.cli.judges import estimate_judging
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
from personascope.cli.workers import WorkersOption, check_workers, working
from personascope.engine.work import Work
from personascope.report import write_report
from personascope.subject import Subject
from personascope.transfer.config import TransferConfig
from personascope.transfer.config_file import load_config
from personascope.transfer.experiment import transfer
from personascope.transfer.markdown import COLUMNS, result_rows
from personascope.transfer.models import Models
from personascope.transfer.plan import Plan, judge_of
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
    seed: Annotated[int | None, typer.Option("--seed", help="in place of the configuration's")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a transfer experiment; started again, it goes on."""
    quiet_libraries()
    asked = load_config(config)
    changed = {"output_dir": out, "seed": seed}
    asked = asked.model_copy(update={name: value for name, value in changed.items() if value is not None})
    check_workers(workers)
    settings: dict[str, Any] = {"device": device, "dtype": dtype}
    if estimate:
        _estimate(asked, settings, as_json)
        return

    def run_by(subject: Subject) -> AbstractContextManager[None]:
        return working(subject, asked.target_model, workers, device, dtype)

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
    )
    print(f"\n{found['verdict']['sentence']}")
    print(f"criteria    {found['verdict']['criteria_met'] or 'none'} met by the mapped vector")
    for name, kinds in result.main_maps.items():
        for doubt in kinds["ridge"].doubts if "ridge" in kinds else ():
            say(f"note: map{name}: {doubt}")
    for remark in found["verdict"]["remarks"]:
        say(f"note: {remark}")
    print(f"results     {result.folder / 'results.md'}")
    print(f"report      {page}")


def _estimate(config: TransferConfig, settings: dict[str, Any], as_json: bool) -> None:
    """Say how much there is to sample, read and judge, and for about how long on this machine."""
    models = Models({}, settings)
    plan = Plan.of(config, models)
    size = plan.size()
    target = models.open(config.target_model)
    work = Work.of(2 * size["extraction"], config.extraction_max_new_tokens) + Work.of(
        size["generations"], config.max_new_tokens
    )
    judge = judge_of(target, config)
    # Of each persona its own rows, and the baseline's once more.
    each = round(config.judge_fraction * size["generations"] / len(plan.asked)) + size["extraction"]
    judging = estimate_judging(judge, [(one.persona, each) for one in plan.asked], config.max_new_tokens, None)
    cost = {**size, **work_cost(target, work, judging)}
    if as_json:
        emit(cost)
        return
    print(
        f"{size['extraction']:,} rollouts to extract in each model, {size['texts']:,} texts to read in both, "
        f"{size['generations']:,} generations, each read once more for its perplexity"
    )
    print(in_words(cost))


COMMAND = app
