"""What `watch` prints: a line for each row, or one JSON object."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personascope.cli.terminal import emit, table
from personascope.watching import Watch
from personascope.watching.decision_points import DecisionPoint
from personascope.watching.watch import Watched

# Of a response's mean z: below it no trait is called strong.
_STRONG = 1.0


def print_watch(found: Watch, page: Path, as_json: bool) -> None:
    """The rows in a table and where the page is; or all of it as JSON."""
    if as_json:
        emit(
            {
                "report": page,
                "run": page.parent,
                "traits": [trait.name for trait in found.traits],
                "layers": found.layers,
                "rows": [
                    {
                        "label": row.label,
                        "text": row.generation.text,
                        "tokens": len(row.generation.tokens),
                        "strongest": _plain(found, row),
                        "points": [point.describe() for point in row.points],
                        "verdicts": [verdict.describe() for verdict in row.verdicts],
                        "error": row.generation.error,
                    }
                    for row in found.rows
                ],
            }
        )
    else:
        _print_table(found)
        print(f"\nreport  {page}")


def _print_table(found: Watch) -> None:
    is_verified = any(row.verdicts for row in found.rows)
    rows = []
    for row in found.rows:
        confirmed = f"{sum(v.changed for v in row.verdicts)}/{len(row.verdicts)}" if row.verdicts else "–"
        cells = [
            row.label,
            str(len(row.generation.response_ids)),
            _strength(found, row),
            _counted(row.points),
            confirmed,
        ]
        rows.append(cells if is_verified else cells[:-1])
    columns = ["prompt", "tokens", "strongest trait", "decision points", "confirmed"]
    table("", columns if is_verified else columns[:-1], rows, cut=["prompt"])
    count = len(found.traits)
    among = f" of the {count} watched" if count > 1 else ""
    print(f"Strongest trait: the one{among} with the highest mean z over the response, from {_STRONG:g} up.")


def _counted(points: Sequence[DecisionPoint]) -> str:
    """How many decision points there are, and how many of them steering made."""
    edges = Counter(point.steering for point in points if point.steering)
    said = ", ".join(f"{count} where steering {which}" for which, count in sorted(edges.items()))
    return f"{len(points)} ({said})" if said else str(len(points))


@dataclass(frozen=True)
class _Strongest:
    """The watched trait of the largest mean z over a response; `is_doubted`: its direction may be chance."""

    trait: str
    z: float
    is_doubted: bool


def _strongest(found: Watch, row: Watched) -> _Strongest | None:
    """Among the traits that surely read better than chance if there are any; None where no token was sampled or none is
    strong."""
    generation = row.generation
    doubted = found.rule.doubted
    means = {
        key: found.calibration.z(key, generation.projections[key], generation.prompt_length)[
            generation.prompt_length :
        ].mean()
        for key in [key for key in found.rule.keys if key not in doubted] or found.rule.keys
        if len(generation.response_ids)
    }
    key = max((one for one in means if means[one] >= _STRONG), key=lambda one: means[one], default=None)
    if key is None:
        return None
    return _Strongest(key, float(means[key]), key in doubted)


def _plain(found: Watch, row: Watched) -> dict[str, Any] | None:
    strongest = None if row.generation.error else _strongest(found, row)
    return None if strongest is None else asdict(strongest)


def _strength(found: Watch, row: Watched) -> str:
    if row.generation.error:
        return "failed"
    strongest = _strongest(found, row)
    if strongest is None:
        return "–"
    return f"{strongest.trait} {strongest.z:+.1f}{' (not surely)' if strongest.is_doubted else ''}"
