"""Which of several SAEs in a folder or a repository is meant."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from personascope.errors import UserError
from personascope.features.formats.known import Format, format_of, looked_for

_TRAINER = re.compile(r"(?:^|/)trainer_(\d+)(?=/|$)")
_PRE = re.compile(r"(?:^|/)(?:blocks\.(\d+)\.hook_resid_pre|resid_pre_layer_(\d+))(?=/|$)")
# As folders name the block: resid_post_layer_3, layer_3, layers.3, blocks.3.hook_resid_post, …-L3R-8x.
_LAYER = re.compile(r"(?:^|[/_])(?:layers?[._]|blocks\.|[^/]*-L)(\d+)(?=[/_.]|R|$)")
_ELSEWHERE = re.compile(r"mlp|attn|attention|att_out|hook_z|transcoder|embed|(?:^|/)clt|L\d+(?:M|A|TC)-", re.IGNORECASE)
_LISTED = 12


@dataclass(frozen=True)
class Place:
    """An SAE among others. file: its weights; home: its folder; both below where the search began."""

    file: PurePosixPath
    home: PurePosixPath
    format: Format

    @property
    def layer(self) -> int | None:
        """As the names of its folders say it."""
        if before := _PRE.search(str(self.home)):
            return int(before[1] or before[2]) - 1
        found = _LAYER.findall(str(self.home))
        return int(found[-1]) if found else None

    @property
    def trainer(self) -> int | None:
        found = _TRAINER.findall(str(self.home))
        return int(found[-1]) if found else None


def places_of(files: Iterable[str]) -> list[Place]:
    """The SAEs among some files, paths with forward slashes."""
    found = []
    for name in sorted(files):
        file = PurePosixPath(name)
        if known := format_of(file):
            found.append(Place(file, known[1], known[0]))
    return found


def choose(places: Sequence[Place], where: str, layer: int | None, trainer: int | None) -> Place:
    """The one SAE that fits. layer, trainer: what the names of its folders must say, where they say anything.

    Raises `UserError` where none fits and where several do; the message lists them as they can be given.
    """
    if not places:
        raise UserError(f"{where} holds no SAE; it would be one of {looked_for()}")
    fitting = list(places)
    if trainer is not None:
        fitting = [place for place in fitting if place.trainer == trainer]
        if not fitting and any(place.trainer is not None for place in places):
            have = sorted({place.trainer for place in places if place.trainer is not None})
            raise UserError(f"{where} has no trainer {trainer}; it has {', '.join(map(str, have))}")
        if not fitting:
            raise UserError(f"{where} has no trainer_{trainer} folders; leave trainer= out")
    if layer is not None:
        named = [place for place in fitting if place.layer == layer]
        # One that does not name its layer may still be the one; its settings are asked later.
        fitting = named or [place for place in fitting if place.layer is None]
        if not fitting:
            have = sorted({place.layer for place in places if place.layer is not None})
            raise UserError(f"{where} has no SAE of layer {layer}; it has layers {', '.join(map(str, have))}")
    residual = [place for place in fitting if not _ELSEWHERE.search(str(place.home))]
    fitting = residual or fitting
    if len(fitting) > 1:
        names = [str(place.home) for place in fitting[:_LISTED]]
        more = f" and {len(fitting) - _LISTED} more" if len(fitting) > _LISTED else ""
        raise UserError(
            f"{where} holds {len(fitting)} SAEs that fit; choose with layer= and trainer=, or add the folder of one to the "
            f"path: {', '.join(names)}{more}"
        )
    return fitting[0]
