"""Tables and their numbers, as Markdown."""

from collections.abc import Iterable, Sequence

from personascope.statistics import Interval


def table(columns: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the columns' names parted by `|`, the first to the left and the others to the right."""
    names = columns.split("|")
    return [
        "| " + " | ".join(names) + " |",
        "|" + "|".join("---" if place == 0 else "--:" for place in range(len(names))) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def number(value: float) -> str:
    """Three places."""
    return f"{value:.3f}"


def spread(interval: Interval) -> str:
    """An estimate with its bounds."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
