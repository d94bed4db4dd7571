"""What features do when they steer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.corpora import neutral_questions
from personascope.directions import Direction, random_like
from personascope.engine.cells import Cells
from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.extraction.steering import Dose, Trial, dose_response
from personascope.features.sae import SAE, sae_layer
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.subject import Subject

# Lengths to steer at, in median residual norms of the layer.
LENGTHS = (0.25, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class FeatureDose:
    """What steering with one feature's decoder column scored for a persona. feature: None for a random direction.

    length: of the vector that was added, in median residual norms of the layer; 0 for no steering.
    """

    feature: int | None
    length: float
    dose: Dose

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.dose.describe(), "feature": self.feature, "length": self.length}


def steer_features(
    subject: Subject,
    sae: SAE,
    features: Mapping[str, Sequence[int]],
    personas: Sequence[Persona],
    judge: Judge,
    lengths: Sequence[float] = LENGTHS,
    questions: int = 8,
    max_new_tokens: int = 120,
    seed: int = 0,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> list[FeatureDose]:
    """Steer with each feature's decoder column, and judge the answers for trait and coherence.

    features: by persona's name those to try for it. lengths: in median residual norms of the layer. Each persona is asked
    its own questions for evaluation, the neutral ones if it has none, without a system prompt; beside the features nothing,
    and a random direction. All are rows of one stream, paired by their seeds.
    Raises `UserError` where the SAE does not fit the subject, and on a feature without a decoder column.
    """
    Subject.check(subject)
    trials = feature_trials(subject, sae, features, personas, lengths, questions, seed)
    on_progress("steering with features", sum(len(trial.questions) for _, _, trial in trials))
    doses = dose_response(
        subject,
        [trial for _, _, trial in trials],
        judge,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        on_done=lambda: on_progress("", None),
        store=cells,
    )
    return [FeatureDose(feature, length, dose) for (feature, length, _), dose in zip(trials, doses, strict=True)]


def feature_trials(
    subject: Subject,
    sae: SAE,
    features: Mapping[str, Sequence[int]],
    personas: Sequence[Persona],
    lengths: Sequence[float] = LENGTHS,
    questions: int = 8,
    seed: int = 0,
) -> list[tuple[int | None, float, Trial]]:
    """What `steer_features` runs: (feature, length, trial), None for a random direction."""
    if questions < 1:
        raise UserError(f"questions={questions} must be 1 or more")
    layer = sae_layer(sae, subject)
    unit = median_norm(subject, layer)
    trials: list[tuple[int | None, float, Trial]] = []
    for persona in personas:
        asked = tuple((persona.eval_questions or neutral_questions())[:questions])
        vectors: dict[int | None, Direction] = {}
        for feature in features[persona.name]:
            column = sae.direction(feature)
            if column.norm == 0.0:
                raise UserError(f"feature {feature} of {sae.name} has no decoder column to steer with; leave it out")
            vectors[feature] = Direction(column.unit() * unit, layer, column.name, column.provenance)
        if not vectors:
            raise UserError(f"no feature is given to try for {persona.name!r}; name at least one")
        first = next(iter(vectors.values()))
        vectors[None] = random_like(first, seed)
        trials.append((None, 0.0, Trial(persona, first, 0.0, asked)))
        trials += [
            (feature, length, Trial(persona, vector, length, asked))
            for feature, vector in vectors.items()
            for length in lengths
        ]
    return trials
