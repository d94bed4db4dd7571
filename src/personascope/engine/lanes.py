"""Rows that begin alike: what they have in common is run once."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from personascope.engine.row import Row


def lanes(rows: Sequence[Row], can_part: bool) -> tuple[list[list[Row]], list[list[Row]]]:
    """Rows that begin with the same tokens and turns under the very same writes, in order; and apart from them, rows that
    differ in their writes, none of which is on a token before the last.

    can_part: whether rows may part before their last token; otherwise there are none of the second kind.
    """
    whole: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        whole.setdefault((*_beginning(row), tuple(map(id, row.request.writes))), []).append(row)
    if not can_part:
        return list(whole.values()), []
    late: dict[tuple[Any, ...], list[list[Row]]] = {}
    for lane in whole.values():
        if lane[0].given > 1 and _writes_late(lane[0]):
            late.setdefault(_beginning(lane[0]), []).append(lane)
    parted = [list(chain.from_iterable(group)) for group in late.values() if len(group) > 1]
    inside = {row.id for lane in parted for row in lane}
    return [lane for lane in whole.values() if lane[0].id not in inside], parted


def _beginning(row: Row) -> tuple[Any, ...]:
    prompt = row.request.prompt
    return prompt.ids, prompt.turns, tuple(row.response), row.finish


def _writes_late(row: Row) -> bool:
    """Whether nothing is written before the last token that is given."""
    written: Iterable[int] = (at for change in row.changes for at in row.so_far(change.write.tokens, row.given))
    return all(at >= row.given - 1 for at in written)
