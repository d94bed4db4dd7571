"""Whether question insertion finds the roles that are known to be there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.corpora import Record, Transcript, neutral_questions
from personascope.directions import Direction
from personascope.engine import add, generate
from personascope.errors import UserError
from personascope.organisms.score import mean_shares
from personascope.organisms.truth import Truth
from personascope.persistence.insertion import insertion
from personascope.persistence.nearest import classify
from personascope.persistence.simulate import scripts_from, simulate
from personascope.personas import load_persona
from personascope.statistics import Interval
from personascope.subject import Subject

_TURNS, _ANSWER = 5, 90
_ASKED = 8


@dataclass(frozen=True)
class Signed:
    """One role. unsteered, own, signature, no_role: its share of the slot words in fresh conversations, steered with nothing,
    its own direction, its signature (instruction removed), and that of transcripts of no role, all of equal length."""

    persona: str
    unsteered: float
    own: float
    signature: float
    no_role: float

    @property
    def brought(self) -> float:
        """What the signature brings, of what the role's own direction brings."""
        return (self.signature - self.unsteered) / max(self.own - self.unsteered, 1e-9)


@dataclass(frozen=True)
class Inserted:
    """Question insertion on an organism. one_state, conversation: nearest-centroid accuracy with the instruction removed, of
    single states and of conversations. known: at how many points the exact posterior over personas, given the same turns
    without the instruction, names the role; states cannot know more."""

    one_state: Interval
    conversation: Interval
    known: float
    signed: tuple[Signed, ...]


def check_inserting(
    subject: Subject,
    directions: Sequence[Direction],
    layer: int,
    transcripts: int = 6,
    samples: int = 4,
    seed: int = 0,
) -> Inserted:
    """Hold conversations under each role, take the instruction away, tell the roles apart, and steer with what is found.

    directions: the roles' own, at `layer`, all with α = 1; a signature gets the length of its role's own direction.
    """
    truth = subject.truth
    if truth is None:
        raise UserError("roles can be checked only where they are planted; use an organism")
    names = [one.name for one in directions]
    lines = [Record(text) for text in neutral_questions()]
    scripts = scripts_from(lines[: len(lines) // 2], transcripts, _TURNS, seed)
    held = simulate(
        subject, [None, *map(load_persona, names)], scripts, degree="very", max_new_tokens=_ANSWER, seed=seed
    )
    without = [one for one in held if one.role is None]
    bare = [one.without_instruction() for one in held if one.role is not None]
    questions = [str(line.prompt) for line in lines[len(lines) // 2 :]]
    found = insertion(subject, bare, questions[:_ASKED], None, layer, without)
    told = classify(found)
    none = insertion(subject, without, questions[:_ASKED], None, layer).signature
    fresh = [question for question in questions[_ASKED:] for _ in range(samples)]

    def share(name: str, direction: Direction | None) -> float:
        writes = [] if direction is None else [add(direction, 1.0)]
        said = generate(subject, fresh, steer=writes, max_new_tokens=_ANSWER, seed=seed)
        return mean_shares(truth.reader, [one.text for one in said])[name]

    signed = []
    for own in directions:
        vectors = [
            own,
            *(Direction(one.unit() * own.norm, layer, own.name) for one in (found.of(own.name).signature, none)),
        ]
        signed.append(Signed(own.name, share(own.name, None), *(share(own.name, one) for one in vectors)))
    return Inserted(told.accuracy, told.by_conversation, _known(subject, truth, bare, questions[0]), tuple(signed))


def _known(subject: Subject, truth: Truth, transcripts: Sequence[Transcript], question: str) -> float:
    """The share of points at which the turns so far are, by the exact posterior, likelier of their role than of others."""
    columns = sorted({truth.personas.index(str(one.role)) for one in transcripts})
    right = []
    for one in transcripts:
        for point in range(1, len(one) + 1):
            prompt = subject.chat.prompt([*one.messages(point), {"role": "user", "content": question}])
            belief = truth.posterior(list(prompt.ids))[-1]
            right.append(truth.personas[max(columns, key=lambda column: float(belief[column]))] == one.role)
    return float(np.mean(right))
