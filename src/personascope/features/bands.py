"""Examples from every strength of activation, not from the top alone: a few per feature and octave."""

from collections.abc import Sequence

import numpy as np

from personascope.features.contexts import Context
from personascope.features.tally import FIRST, OCTAVES, PER_OCTAVE, bins

_LAST_HASH = np.uint64(2**64 - 1)


class Bands:
    """For each feature and octave of its activation the contexts with the smallest hashes: a fair draw among all tokens
    of that strength, and the same whatever the order they come in."""

    def __init__(self, features: Sequence[int], examples: int = 3) -> None:
        self.features = list(features)
        self.examples = examples
        self._held: dict[tuple[int, int], list[Context]] = {}
        # [features, octaves]: hashes below this may enter.
        self._limits = np.full((len(self.features), OCTAVES), _LAST_HASH)
        self._column = {feature: column for column, feature in enumerate(self.features)}

    def candidates(self, values: np.ndarray, hashes: np.ndarray) -> list[tuple[int, int]]:
        """(token, column) of activations [tokens, features] that would enter; hashes: [tokens]."""
        if not self.examples:
            return []
        tokens, columns = np.nonzero(values > 0)
        octaves = octaves_of(values[tokens, columns])
        entering = hashes[tokens] < self._limits[columns, octaves]
        tokens, columns, octaves = tokens[entering], columns[entering], octaves[entering]
        order = np.lexsort((hashes[tokens], octaves, columns))
        tokens, columns, octaves = tokens[order], columns[order], octaves[order]
        group = columns * OCTAVES + octaves
        firsts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.empty(0, int)
        place_in_group = np.arange(len(group)) - np.repeat(firsts, np.diff(np.r_[firsts, len(group)]))
        few = place_in_group < self.examples
        return list(zip(tokens[few].tolist(), columns[few].tolist(), strict=True))

    def offer(self, contexts: Sequence[Context]) -> list[Context]:
        """Take in those with small enough hashes; returns those that were taken."""
        taken = []
        for one in contexts:
            column, octave = self._column[one.feature], int(octaves_of(np.array([one.score]))[0])
            held = self._held.setdefault((column, octave), [])
            if any(other.order == one.order for other in held) or np.uint64(one.order) >= self._limits[column, octave]:
                continue
            held.append(one)
            held.sort(key=lambda each: each.order)
            del held[self.examples :]
            if len(held) == self.examples:
                self._limits[column, octave] = np.uint64(held[-1].order)
            if one in held:
                taken.append(one)
        return taken

    def of(self, feature: int) -> dict[int, list[Context]]:
        """Examples by octave; octave o holds activations from 2^(o−12) to 2^(o−11)."""
        column = self._column[feature]
        return {octave: held for (one, octave), held in sorted(self._held.items()) if one == column}


def octaves_of(values: np.ndarray) -> np.ndarray:
    """The octave of each positive activation."""
    return np.asarray(bins(values) // PER_OCTAVE)


def octave_bounds(octave: int) -> tuple[float, float]:
    return 2.0 ** (octave + FIRST), 2.0 ** (octave + FIRST + 1)
