"""Whether all that an experiment asks of a model fits its context."""

from personascope.corpora.prompts import read_prompts, read_values
from personascope.errors import UserError
from personascope.subject import PromptLike, Subject
from personascope.transfer.config import TransferConfig
from personascope.transfer.contrast import Asked, extraction_cells
from personascope.transfer.grid import Prompts


def check_texts(subject: Subject, asked: Asked, config: TransferConfig) -> None:
    """What a persona is extracted from: texts must fit the context, chats leave room for `extraction_max_new_tokens`.

    Raises `UserError` naming persona, text and model.
    """
    if asked.texts is not None:
        for pole in ("positive_texts", "negative_texts"):
            for number, text in enumerate(getattr(asked.texts, pole), start=1):
                _check(subject, len(subject.chat.raw(text)), f"persona {asked.name!r}, {pole}, text {number}")
        return
    room = config.extraction_max_new_tokens
    # Samples of one cell ask the same.
    for cell in {(one.pair, one.pole, one.question): one for one in extraction_cells(asked, config)}.values():
        where = (
            f"persona {asked.name!r}, question {asked.persona.questions.index(cell.question) + 1} under instruction "
        )
        length = _length(subject, cell.chat(None))
        _check(subject, length, f"{where}{cell.pair + 1} ({cell.pole})", room, "extraction_max_new_tokens")


def check_prompts(subject: Subject, prompts: Prompts, asked: tuple[Asked, ...], config: TransferConfig) -> None:
    """Every prompt of an experiment must leave room for `max_new_tokens`, under the personas' system prompts too where those
    are asked for. Raises `UserError` naming file, record and model."""
    is_told = "system_prompt" in (*config.steered, *config.sweep.methods)
    systems = ["", *(one.persona.system_prompt(0) for one in asked if is_told)]
    for text in prompts.all:
        for system in systems:
            chat = [{"role": "system", "content": system}] if system else []
            length = _length(subject, [*chat, {"role": "user", "content": text}])
            if subject.context is not None and length + config.max_new_tokens > subject.context:
                _check(subject, length, _place(config, prompts, text), config.max_new_tokens, "max_new_tokens")


def _length(subject: Subject, chat: PromptLike) -> int:
    return len(subject.chat.prompt(chat))


def _check(subject: Subject, length: int, where: str, room: int = 0, setting: str = "") -> None:
    if not length:
        raise UserError(f"{where} has no tokens in {subject.name}; give at least one character")
    if subject.context is None or length + room <= subject.context:
        return
    if not room:
        raise UserError(
            f"{where} has {length} tokens in {subject.name}, more than its context of {subject.context}; shorten it or "
            "leave it out"
        )
    raise UserError(
        f"{where} has {length} tokens in {subject.name}, whose context of {subject.context} has no room for {room} more; "
        f"shorten it, or lower {setting}"
    )


def _place(config: TransferConfig, prompts: Prompts, text: str) -> str:
    """Where a prompt stands, numbered as the reader of its file does."""
    if config.prompts is None:
        return f"shipped neutral question {prompts.all.index(text) + 1}"
    records = zip(read_values(config.prompts), read_prompts(config.prompts), strict=True)
    number = next(number for (number, _), record in records if record.prompt == text)
    return f"{config.prompts}, record {number}"
