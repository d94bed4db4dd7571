"""A chat model that plays the user of a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass

from personascope.judging.endpoint import Endpoint
from personascope.judging.reply import Reply
from personascope.runs import Journal, cell_key

_USER_TOKENS = 120
_PLAYING = (
    "You play a person who talks with an assistant. You are given the conversation so far, with the assistant's words as "
    "if they were said to you. Reply with the person's next message alone: one or two plain sentences that move the "
    "conversation along, and nothing about being an assistant yourself."
)


@dataclass(frozen=True)
class ChatUser:
    """A chat model plays the user. What it says is kept in the run's journal, so that a second start says the same."""

    endpoint: Endpoint
    journal: Journal | None = None
    seed: int = 0

    def __call__(self, so_far: Sequence[Sequence[tuple[str, str]]], scripts: Sequence[Sequence[str]]) -> list[str]:
        said: list[str] = [""] * len(so_far)
        asked: list[tuple[int, str, list[dict[str, str]]]] = []
        for place, (pairs, script) in enumerate(zip(so_far, scripts, strict=True)):
            if not pairs:
                said[place] = script[0]
                continue
            turns = [{"role": "system", "content": _PLAYING}]
            for question, answer in pairs:
                turns += [{"role": "assistant", "content": question}, {"role": "user", "content": answer}]
            key = cell_key(user=self.endpoint.model, seed=self.seed, script=list(script), turns=turns)
            held = self.journal.get(key) if self.journal is not None else None
            if held is None:
                asked.append((place, key, turns))
            else:
                said[place] = held

        def take(number: int, reply: Reply) -> bool:
            place, key, _ = asked[number]
            said[place] = reply.text.strip()
            if said[place] and self.journal is not None:
                self.journal.put(key, "user turn", said[place])
            return bool(said[place])

        self.endpoint.ask(
            [turns for *_, turns in asked],
            take,
            max_tokens=_USER_TOKENS,
            temperature=1.0,
            seeds=[self.seed] * len(asked),
        )
        return said
