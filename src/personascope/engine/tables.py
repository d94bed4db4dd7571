"""Writes whose shapes do not change from step to step: a table of vectors, and for every row an index into it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from personascope.engine.edits import Edit


@dataclass
class Table:
    """An edit whose shapes do not change: every row of the batch has an index into the table, whose row 0 does nothing."""

    kind: Literal["add", "bound"]
    index: Tensor
    table: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def like(cls, edit: Edit, rows: int) -> "Table":
        size = 1 + room(len(edit.table))
        index = torch.zeros(rows, dtype=torch.long, device=edit.table.device)
        table = edit.table.new_zeros(size, edit.table.shape[1])
        bounds = torch.empty(2, size, device=edit.table.device)
        bounds[0], bounds[1] = float("-inf"), float("inf")
        return cls(edit.kind, index, table, *bounds)

    def load(self, edit: Edit) -> None:
        count = 1 + len(edit.table)
        self.index.zero_()
        self.index[edit.flat] = edit.rows + 1
        self.table[1:count] = edit.table
        if edit.low is not None and edit.high is not None:
            self.low[1:count], self.high[1:count] = edit.low, edit.high

    def apply(self, stream: Tensor) -> None:
        """Change the residual stream [rows, hidden] in place."""
        taken = self.table[self.index]
        if self.kind == "add":
            stream.add_(taken)
            return
        rows = stream.float()
        along = (rows * taken).sum(dim=1)
        missing = along.clamp(self.low[self.index], self.high[self.index]) - along
        changed = (rows + missing[:, None] * taken).to(stream.dtype)
        stream.copy_(torch.where(self.index[:, None] > 0, changed, stream))


def room(rows: int) -> int:
    """A power of two: a few vectors more or less need no other recording."""
    return 1 << max(0, rows - 1).bit_length()
