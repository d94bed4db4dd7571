"""Question insertion: cut a conversation at many points, ask questions there, and read the state the answer begins with."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from personascope.corpora import Transcript
from personascope.corpora.transcripts import Messages
from personascope.engine.forks import last_states
from personascope.errors import UserError
from personascope.persistence.signature import Insertion
from personascope.runs import Shards, cell_key
from personascope.subject import Prompt, Subject


def insertion(
    subject: Subject,
    transcripts: Sequence[Transcript | Messages],
    questions: Sequence[str],
    points: Sequence[int] | None = None,
    layer: int | None = None,
    control: Sequence[Transcript | Messages] | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Shards | None = None,
) -> Insertion:
    """Ask every question at every point of every transcript, and take the state at `layer` after the last token before the
    answer.

    transcripts: `Transcript`s, or chats as lists of messages. points: numbers of completed pairs of turns; 0 is before the
    first; by default all that every transcript has. layer: by default three fifths of the way up. control: transcripts
    whose states at the same point and question are taken off, such as those of no role: from each transcript the one with
    the same user turns where all have such a one, in the same order if there is one; of several the one that serves its
    role least; else the mean of all; by default each question asked with nothing before it. Equal transcripts count once.
    The beginnings that prompts share are run once.

    Raises `UserError` where there is nothing to ask, on points past a transcript's end, and on a transcript that overflows
    the context, before anything is run. Source: question insertion, after methodology notes on persona signatures.
    """
    Subject.check(subject)
    layer = subject.check_layer(usual_layer(subject) if layer is None else layer)
    if isinstance(transcripts, str | Path):
        raise UserError(f"transcripts={str(transcripts)!r} is a place; give what ps.read_transcripts reads there")
    if not transcripts or not questions or isinstance(questions, str):
        raise UserError(
            "there is nothing to ask; give a list of transcripts and a list of questions, one of each at least"
        )
    held = _transcripts(transcripts, "transcript")
    for number, question in enumerate(questions):
        if not question.strip():
            raise UserError(f"question {number} is empty; give it words or leave it out")
    if control is not None and not control:
        raise UserError("the control has no transcripts; give at least one, or leave it out")
    chosen = points_of(points, min(map(len, held)))
    beside = _transcripts(control or (), "control")
    if beside and max(chosen) > min(map(len, beside)):
        raise UserError(
            f"the control's shortest transcript has {min(map(len, beside))} pairs of turns, and point {max(chosen)} is asked"
        )
    longest = max(questions, key=lambda question: len(subject.chat.prompt(question)))
    for number, one in enumerate([*held, *beside]):
        _check_room(subject, one, number, longest, chosen)
    on_progress("asking", len(held) + max(len(beside), 1))

    def states(prompts: Sequence[Prompt]) -> np.ndarray:
        found = _states(subject, prompts, layer, cells).reshape(-1, len(questions), subject.hidden_size)
        on_progress("", None)
        return found

    def asked(transcript: Transcript) -> np.ndarray:
        return states([_prompt(subject, transcript, point, question) for point in chosen for question in questions])

    found = np.stack([asked(one) for one in held])
    if beside:
        reference, name = np.stack([asked(one) for one in beside]), "control transcripts"
        partners = _partners(held, beside)
        units = partners
    else:
        alone = states([subject.chat.prompt(question) for question in questions])
        reference, name = np.broadcast_to(alone, (1, *found.shape[1:])), "each question on its own"
        partners, units = (0,) * len(held), None
    roles = tuple(one.role for one in held)
    return Insertion(layer, chosen, tuple(questions), roles, found, reference, partners, name, units)


def usual_layer(subject: Subject) -> int:
    """The layer to read at where none was chosen: three fifths of the way up."""
    return 3 * subject.n_layers // 5


def _transcripts(given: Sequence[Transcript | Messages], name: str) -> list[Transcript]:
    """Each once: what is given twice is no second draw."""
    return list(
        dict.fromkeys(
            one if isinstance(one, Transcript) else Transcript.of(one, where=f"{name} {number}")
            for number, one in enumerate(given)
        )
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


def _partners(transcripts: Sequence[Transcript], control: Sequence[Transcript]) -> tuple[int, ...] | None:
    """For each transcript the control with the same user turns, whoever says them now; None where one has none.

    Those of the same order come first, and only then those of another one. Of several that match, one that serves its role
    least is taken, so that no control stands beside two transcripts of a role while another stands beside none.
    """
    found: dict[int, int] = {}
    served: Counter[tuple[str | None, int]] = Counter()
    orders: tuple[Callable[[Transcript], Sequence[str]], ...] = (lambda one: one.asked, lambda one: sorted(one.asked))
    for order in orders:
        matching: dict[tuple[str, ...], list[int]] = {}
        for number, one in enumerate(control):
            matching.setdefault(tuple(order(one)), []).append(number)
        for place, one in enumerate(transcripts):
            fitting = matching.get(tuple(order(one)), [])
            if place not in found and fitting:
                found[place] = min(fitting, key=lambda number: served[one.role, number])
                served[one.role, found[place]] += 1
    return tuple(found[place] for place in range(len(transcripts))) if len(found) == len(transcripts) else None


def _prompt(subject: Subject, transcript: Transcript, point: int, question: str) -> Prompt:
    return subject.chat.prompt([*transcript.messages(point), {"role": "user", "content": question}])


def _check_room(subject: Subject, transcript: Transcript, number: int, longest: str, points: Sequence[int]) -> None:
    """Raises `UserError` naming the first point at which the longest question does not fit."""
    if subject.context is None:
        return
    for point in sorted(points, reverse=True):
        length = len(_prompt(subject, transcript, point, longest))
        if length <= subject.context:
            return
        below = [one for one in points if one < point]
        fits = below and len(_prompt(subject, transcript, below[-1], longest)) <= subject.context
        if fits or not below:
            raise UserError(
                f"transcript {number} with a question at point {point} takes {length} tokens, more than {subject.name}'s "
                f"context of {subject.context}; ask at points below {point} only"
            )


def _states(subject: Subject, prompts: Sequence[Prompt], layer: int, cells: Shards | None) -> np.ndarray:
    """[prompts, hidden]; from the run folder where it has them. What is new is written down as soon as it is there."""
    model = {"model": subject.fingerprint, "dtype": str(subject.dtype), "layer": layer}
    keys = [cell_key(**model, prompt=prompt.ids) for prompt in prompts] if cells is not None else []
    found = np.empty((len(prompts), subject.hidden_size), dtype=np.float32)
    missing = list(range(len(prompts)))
    if cells is not None:
        held = [cells.get(key) for key in keys]
        missing = [number for number, one in enumerate(held) if one is None or one[1] is None]
        for number, one in enumerate(held):
            if one is not None and one[1] is not None:
                found[number] = one[1]
    if missing:
        found[missing] = last_states(subject, [prompts[number] for number in missing], [layer]).states[:, 0].numpy()
    if cells is not None and missing:
        for number in missing:
            cells.put(keys[number], {}, found[number])
        cells.flush()
    return found
