"""How wide the columns of a table are where they do not all fit."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

# What a text that gives way is cut down to: while there is another way, and where there is none.
_AMPLE, _LEAST = 24, 8


def fitted(columns: Sequence[Sequence[str]], elastic: Iterable[int], room: int) -> list[int] | None:
    """Widths of columns, each its header and its cells, that add up to at most `room`; None where there are none.

    Texts, the columns in `elastic`, give way first, then headers are broken between their words. No other cell is cut.
    """
    whole = [max(map(cell_len, column)) for column in columns]
    broken = [max(map(cell_len, [*header.split(), *cells]), default=0) for header, *cells in columns]
    for widths, least in ((whole, _AMPLE), (broken, _AMPLE), (broken, _LEAST)):
        found = list(widths)
        for index in sorted(elastic, key=lambda one: -found[one]):
            excess = max(sum(found) - room, 0)
            longest = max(map(cell_len, columns[index][0].split()), default=0)
            found[index] = max(min(found[index], max(least, longest)), found[index] - excess)
        if sum(found) <= room:
            return found
    return None
