"""What a caller says about an SAE beside where it lies."""

import re
from dataclasses import dataclass

from personascope.errors import UserError

_POST = re.compile(r"blocks\.(\d+)\.hook_resid_post")
_PRE = re.compile(r"blocks\.(\d+)\.hook_resid_pre")
# A decoder block by its module's name, in the families of Hugging Face.
_MODULE = re.compile(r"(?:[a-z_]+\.)*(?:layers|h)\.(\d+)(?:\.output)?")


@dataclass(frozen=True)
class Asked:
    """name: what to call the SAE, its last folders. layer: where it belongs. threshold: for one that never set its own.
    scale: the factor on its inputs, for one that lost it.
    """

    name: str
    layer: int | None = None
    threshold: float | None = None
    scale: float | None = None

    def agreed(self, said: int | None) -> int | None:
        """The layer, of what the files say and what the caller said. Raises `UserError` where the two differ."""
        if said is not None and self.layer is not None and said != self.layer:
            raise UserError(f"{self.name} reads layer {said}, not layer {self.layer}; leave layer= out or give {said}")
        return self.layer if said is None else said

    def refuse_spare(self, *, threshold: bool = False, scale: bool = False) -> None:
        """Raises `UserError` where a threshold or a scale was given to an SAE that has no use for it."""
        if self.threshold is not None and not threshold:
            raise UserError(f"{self.name} has no threshold to be set; leave threshold= out")
        if self.scale is not None and not scale:
            raise UserError(f"{self.name} has no unknown scale; leave scale= out")


def layer_of(hook: str, name: str) -> int:
    """The block whose output a hook point reads, `blocks.4.hook_resid_post` or `model.layers.4`: 4.

    The stream before block i is the output of block i − 1. Raises `UserError` on every place that is no block's output.
    """
    if found := _POST.fullmatch(hook) or _MODULE.fullmatch(hook):
        return int(found[1])
    if found := _PRE.fullmatch(hook):
        if int(found[1]) > 0:
            return int(found[1]) - 1
        raise UserError(
            f"{name} was trained on {hook}, the embeddings before any block, and Personascope reads the residual stream "
            "after a block; choose an SAE of a later layer"
        )
    raise UserError(
        f"{name} was trained on {hook}, and Personascope reads the residual stream after a block; choose an SAE that was "
        "trained there (resid_post)"
    )
