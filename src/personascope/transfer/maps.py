"""The maps of an experiment, fitted once and kept as files of its run."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from personascope.errors import UserError
from personascope.runs import RunFolder, cell_key
from personascope.transfer.conditions import Method
from personascope.transfer.config import TransferConfig
from personascope.transfer.gathering import Block, gather
from personascope.transfer.gram import FoldedGram
from personascope.transfer.map import LinearMap
from personascope.transfer.pairs import PairedActivations
from personascope.transfer.procrustes import procrustes
from personascope.transfer.reduced_rank import reduced_rank
from personascope.transfer.ridge import ridge

# The methods that move by a map, and which.
MAPPED: dict[Method, str] = {
    "ridge_mapped": "ridge",
    "wrong_persona": "ridge",
    "procrustes": "procrustes",
    "procrustes_whitened": "procrustes_whitened",
    "shuffled": "shuffled",
}
# Fitted to say how many dimensions a map needs.
REDUCED = "reduced_rank"
_logger = logging.getLogger("personascope")


@dataclass(frozen=True)
class Setting:
    """Where and on how much a map is fitted: layers of source and target, texts. The experiment's own, or one of a sweep."""

    source_layer: int
    target_layer: int
    texts: int

    @property
    def label(self) -> str:
        return f"{self.source_layer}-{self.target_layer}-{self.texts}"


def fit_maps(
    run: RunFolder,
    pairs: PairedActivations,
    setting: Setting,
    config: TransferConfig,
    kinds: Sequence[str],
    corpus: str,
) -> dict[str, LinearMap]:
    """The maps of a setting, `ridge`, `procrustes`, `procrustes_whitened`, `shuffled` and `reduced_rank` as far as they are
    asked for, from one pass over the pairs. shuffled: ridge with the same penalty on pairs of different texts. corpus: what
    the setting's pairs are, in a hash; maps that were fitted to the same are read from their files, and fitted again where
    a file is lost or damaged.
    """
    asked = {
        kind: run.path / "maps" / f"{kind}-{setting.label}-{corpus[:8]}.safetensors" for kind in dict.fromkeys(kinds)
    }
    keys = {kind: cell_key(map=kind, setting=vars(setting), corpus=corpus) for kind in asked}
    read = {kind: _read(path) for kind, path in asked.items() if keys[kind] in run.journal and path.exists()}
    found = {kind: one for kind, one in read.items() if one is not None}
    if len(found) < len(asked):
        layers = setting.source_layer, setting.target_layer
        gram = gather(_first(pairs, *layers, setting.texts), config.folds, config.seed)
        fit = partial(
            ridge, center=config.center, relative=config.relative, source_layer=layers[0], target_layer=layers[1]
        )
        if asked.keys() & {"ridge", "shuffled"} - found.keys():
            own = found.get("ridge") or fit(gram, config.lambdas)
            fitted = {"ridge": own}
            if "shuffled" in asked:
                fitted["shuffled"] = fit(_shuffled(gram), [own.best_lambda or 0.0])
        else:
            fitted = {}
        for kind, is_whitened in (("procrustes", False), ("procrustes_whitened", True)):
            if kind in asked.keys() - found.keys():
                fitted[kind] = procrustes(gram, is_whitened, config.center, *layers)
        if REDUCED in asked.keys() - found.keys():
            # Without the controls, which are ridge's.
            plain = replace(gram, folds=tuple(replace(one, shuffled=None) for one in gram.folds))
            fitted[REDUCED] = reduced_rank(plain, None, config.lambdas, config.center, config.relative, *layers)
        for kind in asked.keys() - found.keys():
            # One that was fitted before but lost its file is the same to rounding, and vectors once carried stay.
            fitted[kind].save(asked[kind])
            run.journal.put(keys[kind], "map", {"file": asked[kind].name, "digest": fitted[kind].digest})
            found[kind] = fitted[kind]
    return found


def _read(path: Path) -> LinearMap | None:
    """A map that was fitted before; None where its file cannot be read, which is no reason to stop."""
    try:
        return LinearMap.load(path)
    except UserError as error:
        _logger.warning("%s; the map is fitted again", error)
        return None


def describe_maps(maps: Mapping[str, Mapping[str, LinearMap]]) -> dict[str, dict[str, object]]:
    """Plain values of all maps, by corpus and kind."""
    return {what: {kind: one.describe() for kind, one in held.items()} for what, held in maps.items()}


def _first(pairs: PairedActivations, source_layer: int, target_layer: int, texts: int) -> Iterator[Block]:
    """The rows of the first texts."""
    if texts > pairs.texts:
        raise UserError(f"{texts} texts are asked for and {pairs.texts} were read")
    for x, y, numbers in pairs.blocks(source_layer, target_layer):
        kept = numbers < texts
        if kept.any():
            yield x[kept], y[kept], np.asarray(numbers)[kept]


def _shuffled(gram: FoldedGram) -> FoldedGram:
    """The sums of pairs in which every x met the y of another text. Raises `UserError` where there are none."""
    met = [one.shuffled for one in gram.folds if one.shuffled is not None]
    if len(met) < len(gram.folds):
        raise UserError(
            "methods has shuffled, and some fold is of one text or nearly; start anew with more texts, or without it"
        )
    folds = tuple(replace(one, xy=xy, shuffled=None) for one, xy in zip(gram.folds, met, strict=True))
    return replace(gram, folds=folds)
