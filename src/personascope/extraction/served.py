"""Rollouts sampled by a server that serves the same model, such as one's own vLLM; activations are read here."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from personascope.engine.cells import Cells
from personascope.engine.forward import Passage
from personascope.errors import UserError
from personascope.extraction.passages import passage_means
from personascope.extraction.rollouts import Cell, Rollout
from personascope.runs import cell_key
from personascope.subject import Subject

if TYPE_CHECKING:
    from personascope.judging.endpoint import Endpoint
    from personascope.judging.reply import Reply

_KIND = "served rollout"
# What the server takes a seed for.
_SEEDS = 2**31


def served_rollouts(
    subject: Subject,
    server: "Endpoint",
    wanted: Sequence[Cell],
    layers: Sequence[int],
    selections: Sequence[str],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_done: Callable[[], None] = lambda: None,
    store: Cells | None = None,
    degree: str | None = None,
) -> list[Rollout]:
    """As `sample_rollouts`, with the responses sampled by `server` and read in teacher-forced passes.

    The server applies its own chat template and seeds its own noise; where a response ended by itself, the template's
    end of turn is read with it, as in a response sampled here. Every response is journalled as it arrives, and what is
    read of it as it is read. Raises `UserError` where the server cannot be reached, `EndpointFailed` where some responses
    could not be had.
    """
    # What cannot be read here is not worth sampling there.
    chats = [subject.chat.folded(cell.chat(degree)) for cell in wanted]
    for chat in chats:
        subject.chat.prompt(chat)
    keys = [
        cell_key(
            at=server.base_url,
            model=server.model,
            chat=chat,
            seed=cell.seed(seed),
            tokens=max_new_tokens,
            temperature=temperature,
        )
        for cell, chat in zip(wanted, chats, strict=True)
    ]
    found: dict[int, dict[str, Any]] = {}
    for number, key in enumerate(keys):
        known = store.journal.get(key) if store is not None else None
        if known is not None:
            found[number] = known
            on_done()
    missing = [number for number in range(len(wanted)) if number not in found]
    refused: list[str] = []

    def take(place: int, reply: "Reply") -> bool:
        if reply.complaint:
            # A sample without what a server refuses is not the sample that was asked for.
            refused.append(f"{wanted[missing[place]].question[:60]!r}: {reply.complaint}")
            return False
        number = missing[place]
        found[number] = {"text": reply.text, "finish": reply.finish}
        if store is not None:
            store.journal.put(keys[number], _KIND, found[number])
        on_done()
        return True

    # Imported here: the client takes a second to load.
    from personascope.judging.endpoint import EndpointFailed

    try:
        server.ask(
            [chats[number] for number in missing],
            take,
            max_tokens=max_new_tokens,
            temperature=temperature,
            top_p=1.0,
            seeds=[wanted[number].seed(seed) % _SEEDS for number in missing],
        )
    except EndpointFailed as error:
        if not refused:
            raise
        raise EndpointFailed(
            f"{server.base_url} refuses {len(refused)} of {len(missing)} rollouts for what they ask, first {refused[0]}; the "
            "others are kept: take the question or its instruction out of the persona's file, or leave --generate-with out"
        ) from error
    return _read(subject, wanted, chats, found, layers, selections, store)


def _read(
    subject: Subject,
    wanted: Sequence[Cell],
    chats: Sequence[list[dict[str, str]]],
    found: dict[int, dict[str, Any]],
    layers: Sequence[int],
    selections: Sequence[str],
    store: Cells | None,
) -> list[Rollout]:
    end = tuple(sorted(subject.chat.end_ids()))[:1]
    kept: list[tuple[int, Passage]] = []
    for number in sorted(found):
        text = found[number]["text"]
        prompt = subject.chat.prompt(chats[number])
        response = subject.chat.respond(prompt, text) if text.strip() else ()
        if response:
            closing = end if found[number]["finish"] == "stop" else ()
            kept.append((number, Passage(prompt, response + closing)))
    if not kept:
        raise UserError("the server answered nothing but empty responses; look at its log, and at --max-new-tokens")
    means = passage_means(subject, [passage for _, passage in kept], layers, selections, store)
    return [
        Rollout(wanted[number], found[number]["text"], each.transpose(0, 1), passage)
        for (number, passage), each in zip(kept, means, strict=True)
    ]
