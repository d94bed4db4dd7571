"""Question insertion: cut a conversation at many points, ask questions there, and read the state the answer begins with."""

from collections.abc import Callable, Sequence

import numpy as np

from personascope.corpora import Transcript
from personascope.engine.forks import last_states
from personascope.errors import UserError
from personascope.persistence.signature import Insertion
from personascope.runs import Shards, cell_key
from personascope.subject import Prompt, Subject


def insertion(
    subject: Subject,
    transcripts: Sequence[Transcript],
    questions: Sequence[str],
    points: Sequence[int] | None = None,
    layer: int = 3,
    control: Sequence[Transcript] | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Shards | None = None,
) -> Insertion:
    """Ask every question at every point of every transcript, and take the state at `layer` after the last token before the
    answer.

    points: numbers of completed pairs of turns; 0 is before the first; by default all that every transcript has. control:
    transcripts whose mean state at the same point and question is taken off, such as those of no role on the same user
    turns; by default each question asked with nothing before it. The beginnings that prompts share are run once.

    Raises `UserError` where there is nothing to ask, on points past a transcript's end, and on a transcript that overflows
    the context, before anything is run. Source: question insertion, after methodology notes on persona signatures.
    """
    subject.check_layer(layer)
    if not transcripts or not questions:
        raise UserError("there is nothing to ask; give at least one transcript and one question")
    for number, question in enumerate(questions):
        if not question.strip():
            raise UserError(f"question {number} is empty; give it words or leave it out")
    shortest = min(map(len, transcripts))
    chosen = points_of(points, shortest)
    asked = [_asked(subject, transcripts, number, questions, chosen) for number in range(len(transcripts))]
    ours = _checked(control, chosen)
    beside = [_asked(subject, ours, number, questions, chosen) for number in range(len(ours))]
    alone = [subject.chat.prompt(question) for question in questions]
    on_progress("asking", len(transcripts) + max(len(ours), 1))
    took = np.zeros(2, dtype=np.int64)

    def states(prompts: Sequence[Prompt]) -> np.ndarray:
        found, ran, least = _states(subject, prompts, layer, cells)
        took[:] += ran, least
        on_progress("", None)
        return found.reshape(-1, len(questions), subject.hidden_size)

    found = np.stack([states(prompts) for prompts in asked])
    reference = np.mean([states(prompts) for prompts in beside or [alone]], axis=0)
    if cells is not None:
        cells.flush()
    return Insertion(
        layer,
        chosen,
        tuple(questions),
        tuple(one.role for one in transcripts),
        found,
        np.broadcast_to(reference, found.shape[1:]),
        "each question on its own" if control is None else "control transcripts",
        int(took[0]),
        int(took[1]),
    )


def points_of(points: Sequence[int] | None, shortest: int) -> tuple[int, ...]:
    """The points to ask at, all of the shortest transcript by default. Raises `UserError` on one past its end."""
    if points is None:
        return tuple(range(1, shortest + 1))
    if not points:
        raise UserError("there are no points to ask at; give at least one, or leave points out for all")
    wrong = [point for point in points if not 0 <= point <= shortest]
    if wrong:
        raise UserError(
            f"point {wrong[0]} is past the end: the shortest transcript has {shortest} pairs of turns; give points from 0 "
            f"to {shortest}"
        )
    return tuple(sorted(set(points)))


def _checked(control: Sequence[Transcript] | None, points: Sequence[int]) -> Sequence[Transcript]:
    if control is None:
        return ()
    if not control:
        raise UserError("the control has no transcripts; give at least one, or leave it out")
    shortest = min(map(len, control))
    if max(points) > shortest:
        raise UserError(
            f"the control's shortest transcript has {shortest} pairs of turns, and point {max(points)} is asked"
        )
    return control


def _asked(
    subject: Subject, transcripts: Sequence[Transcript], number: int, questions: Sequence[str], points: Sequence[int]
) -> list[Prompt]:
    """All prompts of one transcript, points outermost."""
    transcript, prompts = transcripts[number], []
    for point in points:
        for question in questions:
            prompt = subject.chat.prompt([*transcript.messages(point), {"role": "user", "content": question}])
            if subject.context is not None and len(prompt) > subject.context:
                raise UserError(
                    f"transcript {number} with a question at point {point} takes {len(prompt)} tokens, more than "
                    f"{subject.name}'s context of {subject.context}; ask at points below {point} only"
                )
            prompts.append(prompt)
    return prompts


def _states(
    subject: Subject, prompts: Sequence[Prompt], layer: int, cells: Shards | None
) -> tuple[np.ndarray, int, int]:
    """[prompts, hidden], and how many tokens it took and had to take; from the run folder where it has them."""
    key = cell_key(
        model=subject.fingerprint, dtype=str(subject.dtype), layer=layer, prompts=[prompt.ids for prompt in prompts]
    )
    held = cells.get(key) if cells is not None else None
    if held is not None and held[1] is not None:
        return held[1], held[0]["ran"], held[0]["least"]
    forked = last_states(subject, prompts, [layer])
    found = forked.states[:, 0].numpy()
    if cells is not None:
        cells.put(key, {"ran": forked.ran, "least": forked.least}, found)
    return found, forked.ran, forked.least
