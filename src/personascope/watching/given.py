"""What is given to be watched: rows checked before anything runs, and responses that exist."""

from collections.abc import Sequence

from personascope.corpora import Record
from personascope.directions import Direction
from personascope.engine.forward import Passage, projections_of
from personascope.engine.rows import Generation
from personascope.engine.writes import Write
from personascope.errors import UserError
from personascope.subject import Subject


def passage_of(subject: Subject, record: Record, writes: Sequence[Write], chat: bool) -> Passage:
    """A record's tokens: its prompt, and the response where it has one."""
    prompt = subject.chat.prompt(record.prompt, chat=chat)
    response = () if record.response is None else subject.chat.respond(prompt, record.response)
    return Passage(prompt, response, tuple(writes))


def check_row(subject: Subject, number: int, record: Record, passage: Passage, max_new_tokens: int) -> None:
    """Raises `UserError` naming the prompt where it does not fit the context, or has no turn that is written to."""
    try:
        subject.check_length(len(passage), min(max_new_tokens, 1) if record.response is None else 0)
        for write in passage.writes:
            write.tokens.check(passage.prompt.turns)
    except UserError as error:
        raise UserError(f"prompt {number}, {shortened(last_said(record), 40)!r}: {error}") from error


def read_given(
    subject: Subject, records: Sequence[Record], passages: Sequence[Passage], watched: tuple[Direction, ...]
) -> list[Generation]:
    """Responses that exist, as if they had been generated."""
    return [
        Generation(
            text=record.response or "",
            response_ids=list(passage.response),
            token_ids=list(passage.ids),
            tokens=subject.pieces(passage.ids),
            prompt_length=len(passage.prompt),
            turns=passage.prompt.turns,
            seed=0,
            finish="given",
            writes=[line for write in passage.writes for line in write.describe()],
            projections=read.projections,
            norms=read.norms,
        )
        for record, passage, read in zip(records, passages, projections_of(subject, passages, watched), strict=True)
    ]


def last_said(record: Record) -> str:
    """A prompt, or of a chat its last message."""
    return record.prompt if isinstance(record.prompt, str) else record.prompt[-1]["content"]


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"
