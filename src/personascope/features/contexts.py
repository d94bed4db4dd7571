"""The contexts in which features fire: windows of tokens around a peak, and the best few of each feature."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from personascope.corpora import record_of
from personascope.features.windows import Window

# Two contexts that agree in so many tokens up to their peak are taken for copies of one another.
_SAME = 8
_ROUNDED = np.uint32(0xFFFFFC00)


@dataclass(frozen=True, eq=False)
class Context:
    """A place where a feature fires.

    score: its activation there. document: the document's name; position: the token's place in it. ids: the tokens around
    it, of which `peak` is the one; activations: [tokens], the feature's. order: a hash of document and position.
    """

    feature: int
    score: float
    document: str
    position: int
    ids: tuple[int, ...]
    peak: int
    activations: np.ndarray
    order: int

    @property
    def rank(self) -> tuple[float, int]:
        """Best first; scores that differ by rounding only are told apart by the hash, not by who came first."""
        return -float(rounded(np.float32(self.score))), self.order

    @cached_property
    def record(self) -> str:
        """What the document is, or is a part of."""
        return record_of(self.document)

    @property
    def copy(self) -> tuple[int, ...]:
        """The same for contexts that are copies of one another."""
        return self.ids[max(0, self.peak - _SAME + 1) : self.peak + 1]

    def plain(self) -> dict[str, Any]:
        return {
            "feature": self.feature,
            "score": self.score,
            "document": self.document,
            "position": self.position,
            "ids": list(self.ids),
            "peak": self.peak,
            "activations": self.activations.tolist(),
            "order": self.order,
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Context":
        values = np.asarray(plain["activations"], dtype=np.float32)
        return cls(**{**plain, "ids": tuple(plain["ids"]), "activations": values})


def context_at(feature: int, window: Window, values: np.ndarray, place: int, order: int, length: int) -> Context:
    """`length` tokens of a window around its token number `place`, three quarters of them before it.

    values: [tokens], the feature's activations in the window, BOS not counted; place likewise.
    """
    own = window.ids[window.skipped :]
    start = max(0, min(place - 3 * length // 4, len(own) - length))
    part = slice(start, start + length)
    return Context(
        feature,
        float(values[place]),
        window.document,
        window.offset + place,
        tuple(own[part]),
        place - start,
        values[part].astype(np.float32),
        order,
    )


def rounded(values: np.ndarray | np.float32) -> np.ndarray:
    """Activations to 13 bits: how a batch is put together changes the bits below."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) & _ROUNDED
    return np.asarray(bits.view(np.float32).reshape(np.shape(values)))


def document_hash(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "little"))


def token_hashes(document: np.uint64, positions: np.ndarray) -> np.ndarray:
    """[tokens] uint64: a hash of each token's document and position. Source: SplitMix64 (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        value = document + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        # One bit fewer, so that it is a whole number in every file format.
        return np.asarray((value ^ (value >> np.uint64(31))) >> np.uint64(1))


class BestContexts:
    """The best contexts of each feature, copies of one another counting once, and `per_record` of one record at most.

    Where no two of a record vie, what it ends with does not depend on the order in which contexts are offered: it is the
    best context of each group of copies, and of those the `top` best. Documents come in their order, so that it depends on
    the corpus alone.
    """

    def __init__(self, features: Sequence[int], top: int, per_record: int) -> None:
        self.top, self.per_record = top, per_record
        self._held: dict[int, dict[tuple[int, ...], Context]] = {feature: {} for feature in features}

    def floor(self, feature: int) -> float:
        """The rounded score that a context needs at least to enter."""
        held = self._held[feature]
        if len(held) < self.top:
            return 0.0
        return float(-max(one.rank for one in held.values())[0])

    def offer(self, contexts: Iterable[Context]) -> list[Context]:
        """Take in what is good enough; returns those that were taken."""
        taken = []
        for one in contexts:
            held, key = self._held[one.feature], one.copy
            if key in held and held[key].rank <= one.rank:
                continue
            # A record's parts are documents of their own, which may come one after the other.
            rivals = [each for each in held if each != key and held[each].record == one.record]
            if len(rivals) < self.per_record:
                rivals = list(held) if key not in held and len(held) >= self.top else []
            if rivals:
                worst = max(rivals, key=lambda each: held[each].rank)
                if held[worst].rank <= one.rank:
                    continue
                del held[worst]
            held[key] = one
            taken.append(one)
        return taken

    def of(self, feature: int) -> list[Context]:
        """Best first."""
        return sorted(self._held[feature].values(), key=lambda one: one.rank)
