"""Mean activations of texts that exist, read once for a run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from personascope.engine.cells import Cells
from personascope.engine.forward import Passage, means_of
from personascope.runs import Shards, cell_key
from personascope.subject import Subject

_KIND = "passage"
_BATCH = 64


def passage_means(
    subject: Subject,
    passages: Sequence[Passage],
    layers: Sequence[int],
    selections: Sequence[str],
    store: Cells | None = None,
) -> list[Tensor]:
    """Per passage [selections, layers, hidden], in teacher-forced passes; NaN where a selection is empty.

    What a run has read stands in its shards and is not read again, nor for another of the selections.
    """
    found: dict[int, Tensor] = {}
    shards = None
    keys: list[str] = []
    if store is not None:
        attributes = {"model": subject.name, "layers": list(layers), "selections": list(selections)}
        shape = {"shape": "passages, selections, layers, hidden"}
        shards = Shards(store.folder, store.journal, _KIND, "means", attributes | shape, _BATCH)
        keys = [_key(subject, passage, layers, selections) for passage in passages]
        for number, key in enumerate(keys):
            known = shards.get(key)
            if known is not None and known[1] is not None:
                found[number] = torch.from_numpy(known[1])
    missing = [number for number in range(len(passages)) if number not in found]
    for start in range(0, len(missing), _BATCH):
        part = missing[start : start + _BATCH]
        means = means_of(subject, [passages[number] for number in part], layers, selections, allows_empty=True)
        for number, each in zip(part, means, strict=True):
            found[number] = each
            if shards is not None:
                shards.put(keys[number], {}, each.numpy())
    if shards is not None:
        shards.flush()
    return [found[number] for number in range(len(passages))]


def _key(subject: Subject, passage: Passage, layers: Sequence[int], selections: Sequence[str]) -> str:
    return cell_key(
        what=_KIND,
        model=subject.fingerprint,
        dtype=str(subject.dtype),
        prompt=passage.prompt.ids,
        turns=[[turn.role, turn.start, turn.stop] for turn in passage.prompt.turns],
        raw=passage.prompt.is_raw,
        response=passage.response,
        layers=list(layers),
        selections=list(selections),
    )
