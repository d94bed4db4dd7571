"""Which tokens of which rows a forward pass holds, and where."""

from collections.abc import Iterable
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
