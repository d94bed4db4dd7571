"""One pass over paired rows: into folds by text, and into sums. How the rows come in blocks changes nothing."""

import operator
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from personascope.errors import NonFinite, UserError
from personascope.transfer.dealing import Dealing
from personascope.transfer.gram import FoldedGram, Gram
from personascope.transfer.shuffling import Shuffling

# Rows of x and y, the number of the text each belongs to.
Block = tuple[Any, Any, Sequence[Hashable] | np.ndarray | None]
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]

# Numbers that are held as float64 at once.
_CHUNK = 2**24


def gather(blocks: Iterable[Block], folds: int = 5, seed: int = 0, has_shuffled: bool = True) -> FoldedGram:
    """The sums of each fold of paired rows, held a few thousand at a time.

    blocks: (x [n, d_source], y [n, d_target], groups), n as it comes; groups: for each row the text it is from, None
    where every row is a text of its own. Texts go to folds whole and in turn, in a random order within each turn.
    has_shuffled: sum up, too, every x with the y of another text of the same fold, for the control; left out where in some
    fold one text has more than three quarters of the rows.
    Raises `UserError` where rows do not pair up or there are fewer texts than folds, `NonFinite` naming row and text.
    """
    try:
        # NumPy's whole numbers are ones too.
        folds = operator.index(folds)
    except TypeError as error:
        raise UserError(f"folds={folds!r} is no whole number; give 2 or more") from error
    if folds < 2:
        raise UserError(f"folds={folds} cannot be: what is tested on must be left out of a fit; give 2 or more")
    dealt = Dealing(folds, seed)
    rows, head, is_small = _opened(_checked(blocks, dealt))
    bases: list[np.ndarray | None] = [None, None]
    if is_small:
        # Fewer rows than dimensions: their coordinates in the space they span say as much and are fewer.
        for side in (0, 1):
            if head[side].shape[0] < head[side].shape[1]:
                basis, coordinates = np.linalg.qr(head[side].astype(np.float64).T)
                bases[side] = basis
                head = (coordinates.T, head[1], head[2]) if side == 0 else (head[0], coordinates.T, head[2])
    grams: list[Gram] = []
    size, draw = _chunk_size(head), np.random.default_rng([seed, 1])
    shufflings = [Shuffling(size, draw) for _ in range(folds if has_shuffled else 0)]
    for x, y, texts in _chunks(rows, head, size):
        x, y = x.astype(np.float64), y.astype(np.float64)
        if not grams:
            at = x.mean(axis=0), y.mean(axis=0)
            grams = [Gram.empty(*at) for _ in range(folds)]
        x, y = x - at[0], y - at[1]
        numbers = dealt.fold_of(texts)
        for fold in range(folds):
            own = np.flatnonzero(numbers == fold)
            if len(own):
                grams[fold].add(x[own], y[own])
                if has_shuffled:
                    shufflings[fold].add(x[own], y[own], texts[own])
    if len(dealt) < folds:
        raise UserError(
            f"{folds} folds need at least {folds} texts, and there are {len(dealt)}; "
            f"{f'give folds={len(dealt)}, or more texts' if len(dealt) > 1 else 'give more texts'}"
        )
    shuffled = [one.total(gram) for one, gram in zip(shufflings, grams, strict=False)]
    if shuffled and all(one is not None for one in shuffled):
        grams = [replace(gram, shuffled=one) for gram, one in zip(grams, shuffled, strict=True)]
    return FoldedGram(tuple(grams), len(dealt), *bases)


def _checked(blocks: Iterable[Block], dealt: Dealing) -> Iterator[_Rows]:
    """Blocks as arrays with the number of each row's text. Raises `UserError` and `NonFinite` on bad ones."""
    done, widths, is_grouped = 0, None, None
    for number, (given_x, given_y, groups) in enumerate(blocks):
        x, y = _array(given_x, "X"), _array(given_y, "Y")
        if len(x) != len(y):
            raise UserError(
                f"X has {len(x)} rows and Y has {len(y)}; row i of both must be of the same place in a text"
            )
        if groups is not None and len(groups) != len(x):
            raise UserError(f"groups has {len(groups)} entries for {len(x)} rows; give one for each row")
        if (widths or (x.shape[1], y.shape[1])) != (x.shape[1], y.shape[1]):
            raise UserError(f"block {number} has widths {x.shape[1]} and {y.shape[1]}, the ones before it {widths}")
        if is_grouped not in (None, groups is not None):
            raise UserError("some blocks of rows have groups and some have none; give them for all or for none")
        widths, is_grouped = (x.shape[1], y.shape[1]), groups is not None
        for name, rows in (("X", x), ("Y", y)):
            if not np.isfinite(rows).all():
                bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
                text = f" (text {groups[bad]!s})" if groups is not None else ""
                raise NonFinite(
                    f"row {done + bad}{text} of {name} holds NaN or infinity; leave it out or read it again"
                )
        done += len(x)
        if len(x):
            yield x, y, dealt.number(groups, len(x))
    if not done:
        raise UserError("there are no rows to fit a map to; give at least as many texts as folds")


def _array(rows: Any, name: str) -> np.ndarray:
    """Rows as a floating-point array."""
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu()
        rows = (rows if rows.dtype in (torch.float32, torch.float64) else rows.float()).numpy()
    try:
        found = np.asarray(rows)
        found = found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} needs numbers, one row for each pair") from error
    if found.ndim != 2 or not found.shape[1]:
        raise UserError(f"{name} needs the shape [rows, hidden], not {list(found.shape)}")
    return found


def _opened(rows: Iterator[_Rows]) -> tuple[Iterator[_Rows], _Rows, bool]:
    """The rest of the rows, the first ones joined, and whether those are all and fewer than dimensions."""
    parts: list[_Rows] = []
    for part in rows:
        parts.append(part)
        if sum(len(x) for x, _, _ in parts) >= max(part[0].shape[1], part[1].shape[1]):
            return rows, _joined(parts), False
    return rows, _joined(parts), True


def _joined(parts: Sequence[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    x, y, texts = (np.concatenate(each) for each in zip(*parts, strict=True))
    return x, y, texts


def _chunk_size(rows: _Rows) -> int:
    return max(1, _CHUNK // (rows[0].shape[1] + rows[1].shape[1]))


def _chunks(rows: Iterator[_Rows], head: _Rows, size: int) -> Iterator[_Rows]:
    """The rows cut anew, always at the same places."""
    held, count = [head], len(head[0])
    while True:
        if count >= size:
            x, y, texts = _joined(held)
            whole = count - count % size
            for start in range(0, whole, size):
                yield x[start : start + size], y[start : start + size], texts[start : start + size]
            held, count = [(x[whole:], y[whole:], texts[whole:])], count - whole
        following = next(rows, None)
        if following is None:
            break
        held.append(following)
        count += len(following[0])
    if count:
        yield _joined(held)
