"""Windows of a corpus drawn without regard to any feature: what features' contexts are set against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class RandomWindow:
    """A window of `context` tokens at most. strongest: [features], the largest activation of each mined feature in it."""

    document: str
    position: int
    ids: tuple[int, ...]
    strongest: np.ndarray
    order: int

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "ids": list(self.ids), "strongest": self.strongest.tolist()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "RandomWindow":
        strongest = np.asarray(plain["strongest"], dtype=np.float32)
        return cls(**{**plain, "ids": tuple(plain["ids"]), "strongest": strongest})


class WindowSample:
    """The windows around the tokens with the smallest hashes, one a document: a fair draw that does not depend on the
    order in which they are offered."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: dict[str, RandomWindow] = {}

    @property
    def limit(self) -> int:
        """Hashes below this may enter."""
        return max(one.order for one in self._held.values()) if len(self._held) >= self.size else 2**63

    def offer(self, windows: Sequence[RandomWindow]) -> list[RandomWindow]:
        """Take in those with small enough hashes; returns those that were taken."""
        taken = []
        for one in sorted(windows, key=lambda each: each.order):
            known = self._held.get(one.document)
            if one.order >= self.limit or (known is not None and known.order <= one.order):
                continue
            self._held[one.document] = one
            taken.append(one)
            if len(self._held) > self.size:
                del self._held[max(self._held, key=lambda name: self._held[name].order)]
        return taken

    @property
    def windows(self) -> list[RandomWindow]:
        """Smallest hash first."""
        return sorted(self._held.values(), key=lambda one: one.order)
