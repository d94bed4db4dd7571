"""Pairs of different texts, for the control: every x with the y of another text of its fold."""

import numpy as np

from personascope.transfer.gram import Gram


class Shuffling:
    """Sums over the rows of one fold, each x with the y of another text, while rows come in.

    Rows of a text that has more than half of those at hand wait for other texts, `room` of them at most; those that find
    none are left out.
    """

    def __init__(self, room: int, draw: np.random.Generator) -> None:
        self.room = room
        self.draw = draw
        self.waiting: list[np.ndarray] = []
        self.rows = 0
        self.x: np.ndarray | float = 0.0
        self.y: np.ndarray | float = 0.0
        self.xy: np.ndarray | float = 0.0

    def add(self, x: np.ndarray, y: np.ndarray, texts: np.ndarray) -> None:
        """Take in rows [n, d_source] and [n, d_target] with the number of each one's text."""
        if self.waiting:
            x, y, texts = (np.concatenate(both) for both in zip(self.waiting, (x, y, texts), strict=True))
        own = np.unique(texts, return_inverse=True)[1]
        counts = np.bincount(own)
        largest = np.flatnonzero(own == counts.argmax())
        spare = self.draw.permutation(largest)[: max(0, 2 * len(largest) - len(texts))]
        self.waiting = [each[spare[: self.room]] for each in (x, y, texts)]
        kept = np.delete(np.arange(len(texts)), spare)
        if len(kept):
            x, y = x[kept], y[kept]
            partners = _other_texts(own[kept], self.draw)
            self.rows += len(kept)
            self.x, self.y = self.x + x.sum(axis=0), self.y + y.sum(axis=0)
            self.xy = self.xy + x.T @ y[partners]

    def total(self, gram: Gram) -> np.ndarray | None:
        """[d_source, d_target]: Σ x yᵀ as if over all rows of the fold; None where fewer than half found another text.

        How x and y go together is scaled up from the rows that found one; the means are those of all rows.
        """
        if 2 * self.rows < gram.rows or not self.rows:
            return None
        together = (self.xy - np.outer(self.x, self.y) / self.rows) * (gram.rows / self.rows)
        return np.asarray(together + np.outer(gram.x, gram.y) / gram.rows)


def _other_texts(texts: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """[rows]: a permutation that gives every row the row of another text, where none has more than half of them."""
    counts = np.bincount(texts)
    # By text, texts in random order, rows in random order within: a text further on is another one.
    order = np.lexsort((draw.random(len(texts)), draw.permutation(len(counts))[texts]))
    partners = np.empty(len(texts), dtype=np.int64)
    partners[order] = np.roll(order, -int(counts.max()))
    return partners
