"""What happens when a signature steers fresh conversations: is the role heard in what is said?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.directions import Direction, random_like
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.extraction.steering import Dose, Trial, dose_response
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.subject import Subject

ALPHAS = (0.5, 1.0, 1.5, 2.0)
QUESTIONS = 8
TOKENS = 120


@dataclass(frozen=True)
class SignatureDose:
    """What steering on one vector scored for a role. source: where the vector comes from; `unsteered`, `random`, `own` (the
    role's own direction), or the name of a signature."""

    role: str
    source: str
    dose: Dose

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.dose.describe(), "role": self.role, "source": self.source}


def signature_doses(
    subject: Subject,
    personas: Sequence[Persona],
    signatures: Mapping[str, Mapping[str, Direction]],
    lengths: Mapping[str, float],
    judge: Judge,
    own: Mapping[str, Direction] | None = None,
    questions: int = QUESTIONS,
    alphas: Sequence[float] = ALPHAS,
    max_new_tokens: int = TOKENS,
    seed: int = 0,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> list[SignatureDose]:
    """Steer fresh conversations without a system prompt, and judge them for the role.

    signatures: by role and source. lengths: by role, in residual-stream units, at α = 1; every vector of a role gets the
    same. own: by role, the direction found by extraction. Beside them nothing, and a random direction. All are rows of one
    stream, paired by their seeds. Raises `UserError` on a role without signatures or with a length of zero.
    """
    trials: list[tuple[str, Trial]] = []
    for persona in personas:
        found = signatures.get(persona.name)
        if not found or not lengths.get(persona.name, 0.0) > 0:
            raise UserError(f"{persona.name!r} has no signature of any length to steer with")
        length = lengths[persona.name]
        first = next(iter(found.values()))
        vectors = {**found, "random": random_like(first, seed)}
        if own and persona.name in own:
            vectors["own"] = own[persona.name]
        asked = tuple(persona.eval_questions[:questions])
        trials.append(("unsteered", Trial(persona, first, 0.0, asked)))
        trials += [
            (source, Trial(persona, Direction(one.unit() * length, one.layer, persona.name), alpha, asked))
            for source, one in vectors.items()
            for alpha in alphas
        ]
    on_progress("steering on signatures", sum(len(trial.questions) for _, trial in trials))
    doses = dose_response(
        subject,
        [trial for _, trial in trials],
        judge,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        on_done=lambda: on_progress("", None),
        store=cells,
    )
    return [
        SignatureDose(trial.persona.name, source, dose) for (source, trial), dose in zip(trials, doses, strict=True)
    ]


def dose_count(persona: Persona, sources: int, questions: int = QUESTIONS, alphas: Sequence[float] = ALPHAS) -> int:
    """How many responses of a role `signature_doses` samples, steered with vectors of so many sources and with nothing."""
    return len(persona.eval_questions[:questions]) * (1 + sources * len(alphas))
