"""What the first start of an experiment settles: all that is done since hangs on it, and it stays whatever is added."""

from collections.abc import Callable
from dataclasses import dataclass

from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.runs import Journal, cell_key
from personascope.subject import Subject
from personascope.transfer.config import TransferConfig

_KIND = "settled"


@dataclass(frozen=True)
class Settled:
    """Kept in the journal."""

    journal: Journal

    def layers(self, choose: Callable[[], tuple[int, int]]) -> tuple[int, int]:
        """The layers of source and target that CKA chose."""
        source, target = self.journal.once(cell_key(settled="layers"), _KIND, choose)
        return source, target

    def residual_norm(self, target: Subject, layer: int) -> float:
        """The target's median at a layer: the last digit of every vector hangs on it."""
        key = cell_key(settled="residual norm", layer=layer)
        return float(self.journal.once(key, _KIND, lambda: median_norm(target, layer)))

    def wrong_persona(self, place: int, identities: list[str]) -> int:
        """Whose vector is carried in a persona's place: the first other one's."""
        key = cell_key(settled="wrong persona", persona=identities[place])
        return identities.index(self.journal.once(key, _KIND, lambda: identities[0 if place else 1]))

    def dosed(self, config: TransferConfig) -> TransferConfig:
        """The configuration with the α of its sweeps. Raises `UserError` where they are named later, and leave out what
        was run."""
        key, asked = cell_key(settled="sweep.alpha_values"), config.sweep.alpha_values
        if asked:
            gone = {*(self.journal.get(key) or ())} - {*asked}
            if gone:
                raise UserError(
                    f"the sweeps were run at α = {min(gone):g}; name it in sweep.alpha_values too, or give another output_dir"
                )
            return config
        kept = tuple(self.journal.once(key, _KIND, lambda: list(config.swept_alphas)))
        return config.model_copy(update={"sweep": config.sweep.model_copy(update={"alpha_values": kept})})
