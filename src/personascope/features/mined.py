"""What was mined: contexts that make features fire, and how often they do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personascope.features.bands import octave_bounds
from personascope.features.contexts import Context
from personascope.features.sample import RandomWindow
from personascope.features.tally import Tally


@dataclass(frozen=True, eq=False)
class Mined:
    """Contexts of features in a corpus.

    contexts: by feature, best first. examples: by feature and octave of activation. tally: how often and how strongly each
    of `features` fired. documents: how many were read; left_out: records that could not be, by reason. pieces: from token
    ids to the text each adds. sample: windows drawn without regard to the features.
    """

    model: str
    sae: str
    layer: int
    corpus: str
    context: int
    features: tuple[int, ...]
    documents: int
    left_out: Mapping[str, int]
    contexts: Mapping[int, Sequence[Context]]
    examples: Mapping[int, Mapping[int, Sequence[Context]]]
    tally: Tally
    sample: Sequence[RandomWindow] = ()
    pieces: Callable[[Sequence[int]], list[str]] = field(default=lambda ids: [str(one) for one in ids], repr=False)

    @property
    def scores(self) -> dict[int, list[float]]:
        """By feature the activation at each context's peak, in the SAE's units, best first."""
        return {feature: [one.score for one in held] for feature, held in self.contexts.items()}

    def describe(self) -> dict[str, Any]:
        """What was mined as plain values, a record per feature."""
        rates, means = self.tally.rate, self.tally.mean
        return {
            "model": self.model,
            "sae": self.sae,
            "layer": self.layer,
            "corpus": self.corpus,
            "documents": self.documents,
            "left_out": dict(self.left_out),
            "tokens": self.tally.tokens,
            "features": [
                {
                    "feature": feature,
                    "rate": float(rates[column]),
                    "mean": float(means[column]),
                    "contexts": [self._plain(one) for one in self.contexts[feature]],
                    "examples": [
                        {"from": octave_bounds(octave)[0], "to": octave_bounds(octave)[1], "contexts": held}
                        for octave, held in (
                            (octave, [self._plain(one) for one in some])
                            for octave, some in self.examples[feature].items()
                        )
                    ],
                }
                for column, feature in enumerate(self.features)
            ],
        }

    def _plain(self, one: Context) -> dict[str, Any]:
        return {
            "score": one.score,
            "document": one.document,
            "position": one.position,
            "peak": one.peak,
            "tokens": self.pieces(one.ids),
            "activations": one.activations.tolist(),
        }
