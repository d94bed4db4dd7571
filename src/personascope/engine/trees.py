"""Texts that begin alike in one row: what they share is run once, and each token sees its own text alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.engine.hooks import run
from personascope.engine.logits import picked
from personascope.subject import Subject
from personascope.subject.encoding import shared_beginning

_Ids = tuple[int, ...]
# Texts that share less have rows of their own: each token of a row is one more column for all of it.
_LEAST_SHARED = 4
_MOST_TOKENS = 192
# Attention that adds any mask it is given, and layers that differ in their masks alone.
_ADDING = ("sdpa", "eager")
_FULL, _SLIDING = "full_attention", "sliding_attention"
# How far logits may be from those of a text alone, of the largest one in half and in single precision, and of what it
# changes if all is seen.
_ROUNDING, _HEEDED = (0.05, 1e-4), 0.1


@dataclass(frozen=True)
class Tree:
    """Texts in one row. ids: [tokens]; depths: [tokens], how many tokens of its text come before each. For each of `texts`,
    paths: the places of its tokens; firsts: the first of those that it does not share with the text before it."""

    ids: list[int]
    depths: list[int]
    texts: list[_Ids]
    paths: list[list[int]]
    firsts: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def mark(self, seen: np.ndarray) -> None:
        """Set in [tokens, tokens] what each token sees: its text up to itself."""
        for path, first in zip(self.paths, self.firsts, strict=True):
            stop = path[-1] + 1
            seen[first:stop, path[: len(path) - (stop - first)]] = True
            seen[first:stop, first:stop] |= np.tri(stop - first, dtype=bool)


def trees(texts: Iterable[_Ids], room: float) -> list[Tree]:
    """Different texts, of at least a token each, as trees: together are those that share enough for it to pay. room: tokens
    of the longest tree of more than one text; with none each text is a tree."""
    out: list[Tree] = []
    before: _Ids = ()
    for text in sorted(texts):
        shared = shared_beginning(before, text)
        if shared < _LEAST_SHARED or len(out[-1]) + len(text) - shared > min(room, _MOST_TOKENS):
            out.append(Tree([], [], [], [], []))
            shared = 0
        tree = out[-1]
        first = len(tree)
        beginning = tree.paths[-1][:shared] if shared else []
        tree.paths.append([*beginning, *range(first, first + len(text) - shared)])
        tree.ids.extend(text[shared:])
        tree.depths.extend(range(shared, len(text)))
        tree.texts.append(text)
        tree.firsts.append(first)
        before = text
    return out


def tree_inputs(subject: Subject, rows: Sequence[tuple[int, Tree]], columns: int) -> dict[str, Any]:
    """What a pass over trees is told beside ids and cache: masks and positions. rows: how many tokens are before each tree,
    the first of `columns` columns that the cache has; trees are padded on the right."""
    width = max(len(tree) for _, tree in rows)
    seen = np.zeros((len(rows), width, columns + width), dtype=bool)
    positions = np.zeros((len(rows), columns + width), dtype=np.int64)
    positions[:, :columns] = range(columns)
    # Padding sees itself, since attention to nothing is no number.
    seen[:, range(width), range(columns, columns + width)] = True
    for row, (before, tree) in enumerate(rows):
        stop = columns + len(tree)
        seen[row, : len(tree), :before] = True
        tree.mark(seen[row, : len(tree), columns:stop])
        positions[row, columns:stop] = np.add(tree.depths, before)
    at = torch.from_numpy(positions)
    now = at[:, columns:]
    masks = {_FULL: torch.from_numpy(seen)}
    window = _window(subject)
    if window is not None and int(now.max()) >= window:
        masks[_SLIDING] = masks[_FULL] & (now[:, :, None] - at[:, None] < window)
    added = {kind: _added(mask, subject) for kind, mask in masks.items()}
    added.setdefault(_SLIDING, added[_FULL])
    kinds = set(getattr(subject.text_config, "layer_types", None) or ())
    # A model whose layers are all of one kind takes one mask.
    mask = {kind: added[kind] for kind in kinds} if len(kinds) > 1 else added[_SLIDING]
    return {"attention_mask": mask, "position_ids": now.to(subject.input_device)}


def _window(subject: Subject) -> int | None:
    """How many tokens a layer with a window sees, where the model has such layers."""
    config = subject.text_config
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    return None if window is None or (kinds and _SLIDING not in kinds) else int(window)


def _added(seen: Tensor, subject: Subject) -> Tensor:
    """[rows, 1, tokens, columns]: what is added to attention's scores so that only what is seen counts."""
    mask = torch.zeros(seen.shape, dtype=subject.dtype).masked_fill_(~seen, torch.finfo(subject.dtype).min)
    return mask[:, None].to(subject.input_device)


def takes_trees(subject: Subject) -> bool:
    """Whether the model gives the same for texts in a tree as for each alone: tried once for a subject, on a few tokens,
    since no model's config says whether it heeds a mask that it has not made."""
    if subject.takes_trees is None:
        subject.takes_trees = _may_take(subject) and _takes(subject)
    return subject.takes_trees


def _may_take(subject: Subject) -> bool:
    config = subject.text_config
    kinds = set(getattr(config, "layer_types", None) or ())
    attention = getattr(config, "_attn_implementation", None)
    return subject.takes_positions and attention in _ADDING and kinds <= {_FULL, _SLIDING}


def _takes(subject: Subject) -> bool:
    size = len(subject.tokenizer)
    beginning = tuple(place % size for place in range(5, 5 + _LEAST_SHARED))
    texts = [(*beginning, *(place % size for place in rest)) for rest in ((11, 12, 13), (14, 15), (12, 16, 17, 11))]
    (tree,) = trees(texts, _MOST_TOKENS)
    ends = torch.tensor([path[-1] for path in tree.paths])
    try:
        found = _logits(subject, tree.ids, ends, tree_inputs(subject, [(0, tree)], 0))
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        # A model that expects another mask says so in a way of its own.
        return False
    alone = torch.cat([_logits(subject, text, torch.tensor([len(text) - 1])) for text in tree.texts])
    off, largest = float((found - alone).abs().max()), float(alone.abs().max())
    # Rounding of half precision is told from a mask that is not heeded by what seeing everything would change.
    unheeded = float((_logits(subject, tree.ids, ends) - alone).abs().max())
    return off <= min(_ROUNDING[subject.dtype.itemsize > 2] * largest, _HEEDED * unheeded)


def _logits(subject: Subject, ids: Sequence[int], places: Tensor, inputs: Mapping[str, Any] | None = None) -> Tensor:
    """[places, vocabulary] float32: of one row, from its beginning."""
    told = {"input_ids": torch.tensor([list(ids)], device=subject.input_device), "use_cache": False, **(inputs or {})}
    return run(subject, told, {}, partial(picked, places)).logits[0].float()
