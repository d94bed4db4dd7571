"""Which fold each text belongs to, while texts come in."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from personascope.errors import UserError


class Dealing:
    """Texts numbered as they first appear, and dealt to folds in turns, each turn in a random order.

    Folds differ by one text at most, and where a text goes depends on its number and the seed alone.
    """

    def __init__(self, folds: int, seed: int) -> None:
        self.folds = folds
        self.draw = np.random.default_rng([seed, 0])
        self.numbers: dict[Hashable, int] = {}
        self.alone = 0
        self.dealt = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.numbers) + self.alone

    def number(self, groups: Sequence[Hashable] | np.ndarray | None, rows: int) -> np.ndarray:
        """[rows]: the number of each row's text."""
        if groups is None:
            self.alone += rows
            return np.arange(len(self) - rows, len(self))
        values = groups.tolist() if isinstance(groups, (np.ndarray, torch.Tensor)) else groups
        try:
            return np.array([self.numbers.setdefault(value, len(self)) for value in values], dtype=np.int64)
        except TypeError as error:
            raise UserError("groups needs one number or name for each row, the text it is from") from error

    def fold_of(self, texts: np.ndarray) -> np.ndarray:
        """[rows]: the fold of each row's text."""
        turns = -(-(int(texts.max()) + 1 - len(self.dealt)) // self.folds)
        if turns > 0:
            fresh = self.draw.permuted(np.tile(np.arange(self.folds), (turns, 1)), axis=1)
            self.dealt = np.concatenate([self.dealt, fresh.ravel()])
        return self.dealt[texts]
