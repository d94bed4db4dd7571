"""`personascope report`: a page from run folders."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.terminal import JsonOption, emit
from personascope.report import write_report


def report_command(
    runs: Annotated[
        list[Path], typer.Argument(help="run folders; rows of all of them can be put side by side", metavar="RUN…")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="page to write; by default in the first folder: report.html, or comparison.html of several runs",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the page of a run, or of several to compare."""
    page = write_report(runs, out or runs[0] / ("report.html" if len(runs) == 1 else "comparison.html"))
    emit({"report": page}) if as_json else print(f"report  {page}")


COMMAND = report_command
