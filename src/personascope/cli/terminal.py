"""What commands share: their options, their progress bar, their way of printing."""

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from personascope.cli.signs import printable, printable_lines
from personascope.cli.widths import fitted
from personascope.runs.files import plain

ModelArgument = Annotated[
    str, typer.Argument(help="organism:llama, organism:gemma2, a Hugging Face id or a local folder", metavar="MODEL")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout, everything else on stderr")]
OutOption = Annotated[Path | None, typer.Option("--out", help="run folder to write")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="seed of everything that is drawn")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 …; CUDA where there is one by default")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16")]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", help="rows at once; what memory holds by default", min=1)
]
EstimateOption = Annotated[bool, typer.Option("--estimate", help="say what it would cost, and stop")]

# Between two columns.
_GAP = 2

stderr = Console(stderr=True, highlight=False)
# A pipe has no width: what goes into one is not broken into lines.
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def say(text: str) -> None:
    """A line for the user to read, on stderr."""
    stderr.print(printable_lines(text), markup=False, emoji=False, soft_wrap=not stderr.is_terminal)


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=plain))


def slug(model: str) -> str:
    """A model's id or path as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", model).strip("-.")[-60:]


def quiet_libraries() -> None:
    """Keep the libraries' own notices off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    # Each of its tries to reach the hub would be told; that none did is one sentence of ours.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    logging.getLogger("personascope").setLevel(logging.INFO)


class _Rate(ProgressColumn):
    """How many are done a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "–/s", style="dim")


@contextmanager
def progress() -> Iterator[Callable[[str, int | None], None]]:
    """A progress bar with rate and time left: call with a phase and its total, then ("", None) for each one done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        current: list[Any] = []

        def advance(phase: str, total: int | None) -> None:
            if phase:
                for task in current:
                    bar.remove_task(task)
                current[:] = [bar.add_task(phase, total=total)]
                if not stderr.is_terminal:
                    say(f"{phase}: {total}" if total else phase)
            elif current:
                bar.advance(current[0])

        yield advance


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: Sequence[str] = (),
    cut: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A table on stdout: the first column and those named in `words` and `cut` to the left, the others to the right.

    Where it is wider than the terminal, those in `words` are broken into lines and those in `cut` end in an ellipsis; then
    those in `spare` are left out, the first one first, and at last the first column is cut too. Numbers stay whole.
    """
    if title:
        # A line of its own: as the table's it would be broken where the table is narrow.
        stdout.print(Text(f"\n{printable(title)}", style="bold"), soft_wrap=True)
    shown, widths = _columns(columns, rows, {*words, *cut}, spare)
    drawn = Table(show_edge=False, pad_edge=False, padding=(0, 0, 0, 1), box=box.SIMPLE_HEAD)
    for place, width in zip(shown, widths, strict=True):
        name = columns[place]
        is_text = place == 0 or name in words or name in cut
        drawn.add_column(
            name,
            justify="left" if is_text else "right",
            no_wrap=is_text and name not in words,
            overflow="ellipsis",
            width=width,
        )
    for row in rows:
        drawn.add_row(*(Text(printable(row[place])) for place in shown))
    stdout.print(drawn)
    left = [name for place, name in enumerate(columns) if place not in shown]
    if left:
        stdout.print(Text(f"A wider terminal also shows {', '.join(left)}; --json has all.", style="dim"))


def _columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[str], spare: Sequence[str]
) -> tuple[list[int], list[int | None]]:
    """Which columns fit the terminal, by their places, and their widths; without widths where not even those do."""
    filled = [[name, *(printable(row[place]) for row in rows)] for place, name in enumerate(columns)]
    elastic = {place for place, name in enumerate(columns) if name in texts}
    kept = list(range(len(columns)))
    for gone in (None, *spare, columns[0]):
        kept = [place for place in kept if place == 0 or columns[place] != gone]
        elastic |= {0} if gone == columns[0] else set()
        room = stdout.width - _GAP * (len(kept) - 1)
        widths = fitted(
            [filled[place] for place in kept], [at for at, place in enumerate(kept) if place in elastic], room
        )
        if widths is not None:
            return kept, list(widths)
    return kept, [None] * len(kept)


def within(interval: Sequence[float | None] | None, digits: int) -> str:
    """An estimate with its bounds, as far as there are any: `0.94 [0.90, 0.97]`."""
    if interval is None or interval[0] is None or math.isnan(interval[0]):
        return "–"
    estimate, low, high = (math.nan if value is None else value for value in interval)
    if math.isnan(low) or math.isnan(high):
        return f"{estimate:.{digits}f}"
    return f"{estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
