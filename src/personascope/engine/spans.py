"""Which tokens of which rows a forward pass holds, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Tokens [first, first + count) of a row, at columns [column, column + count) of batch row `index`."""

    index: int
    first: int
    count: int
    column: int = 0

    def flat(self, positions: Iterable[int], width: int) -> list[int]:
        """Places of the row's own positions in the batch flattened to [rows × width], where the span holds them."""
        shift = self.index * width + self.column - self.first
        stop = self.first + self.count
        return [position + shift for position in positions if self.first <= position < stop]


def batches(lengths: Sequence[int], tokens: int, rows: int | None = None) -> list[list[int]]:
    """Indices of texts grouped so that padding to the longest costs little and no group exceeds `tokens` in all."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        current = groups[-1] if groups else None
        fits = current is not None and (len(current) + 1) * lengths[current[0]] <= tokens
        if current is None or not fits or (rows is not None and len(current) >= rows):
            groups.append([index])
        else:
            current.append(index)
    return groups
