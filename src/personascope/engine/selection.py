"""Which tokens: one grammar for reading and for writing.

`all`, `prompt`, `response`, `turn[k]` and `sampling`, each with a Python slice or index behind it, joined with `+`:
`prompt[-1]`, `response[:40]`, `turn[0] + sampling`. Slices count the row's own tokens; padding is never among them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from personascope.errors import UserError
from personascope.subject.chat import Turn

_BASES = ("all", "prompt", "response", "turn", "sampling")
_PART = re.compile(r"(\w+)\s*((?:\[[^\[\]]*\]\s*)*)$")
_INDEX = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Layout:
    """What a selection needs to know of a row: its lengths in tokens and its turns.

    prompt: length of the prompt. total: tokens so far, prompt and response. is_open: whether a further token is to be
    chosen after the last one, which makes the last position a sampling position.
    """

    prompt: int
    total: int
    turns: tuple[Turn, ...] = ()
    is_open: bool = False

    def base(self, name: str, turn: int | None) -> range:
        """Positions of a part before its slice."""
        if name == "all":
            return range(self.total)
        if name == "prompt":
            return range(min(self.prompt, self.total))
        if name == "response":
            return range(self.prompt, self.total)
        if name == "sampling":
            return range(self.prompt - 1, self.total if self.is_open else max(self.total - 1, self.prompt))
        assert turn is not None
        if not -len(self.turns) <= turn < len(self.turns):
            raise UserError(f"turn[{turn}] is not in a prompt of {len(self.turns)} turns; count them from 0")
        span = self.turns[turn]
        return range(span.start, span.stop)


@dataclass(frozen=True)
class Part:
    """One part of a selection: a base and the slice taken of it."""

    base: str
    turn: int | None
    start: int | None = None
    stop: int | None = None
    step: int = 1

    def positions(self, layout: Layout) -> range:
        return layout.base(self.base, self.turn)[self.start : self.stop : self.step]

    @property
    def grows(self) -> bool:
        """Whether generating goes on adding to the base."""
        return self.base in ("all", "response", "sampling")

    @property
    def is_forward(self) -> bool:
        """Whether the slice can be followed while the base grows: no bound counts from the end."""
        return all(bound is None or bound >= 0 for bound in (self.start, self.stop))

    def following(self, prompt: int) -> range:
        """Positions from `prompt` on that the part will ever select, for a part that grows and is forward."""
        offset = {"all": 0, "response": prompt, "sampling": prompt - 1}[self.base]
        start = offset + (self.start or 0)
        if start < prompt:
            start += -(-(prompt - start) // self.step) * self.step
        stop = _FOREVER if self.stop is None else offset + self.stop
        return range(start, max(start, stop), self.step)


_FOREVER = 1 << 40


@dataclass(frozen=True)
class Selection:
    """Tokens of a row, by name. Equal selections compare equal; `str()` gives the text back."""

    parts: tuple[Part, ...]
    text: str

    def __hash__(self) -> int:
        # Rows look theirs up at every token, and a text keeps its hash.
        return hash(self.text)

    def positions(self, layout: Layout) -> list[int]:
        """The selected positions of a row, ascending, each once."""
        return sorted({position for part in self.parts for position in part.positions(layout)})

    def check(self, turns: Sequence[Turn]) -> None:
        """Raises `UserError` where it names a turn that a prompt does not have."""
        for part in self.parts:
            if part.turn is not None:
                Layout(0, 0, tuple(turns)).base(part.base, part.turn)

    @property
    def is_forward(self) -> bool:
        """Whether it can be followed token by token while a row is generated."""
        return all(part.is_forward or not part.grows for part in self.parts)

    def following(self, prompt: int) -> "Windows":
        """The selected positions after the prompt, known before they exist. Only for forward selections."""
        return Windows(tuple(part.following(prompt) for part in self.parts if part.grows))

    def checked_for_writing(self) -> "Selection":
        """Itself. Raises `UserError` if it counts from the end of what is still being generated."""
        if not self.is_forward:
            raise UserError(
                f"a write to {self.text!r} would have to know where the response ends; "
                "use bounds from its start on, such as response[:40]"
            )
        return self

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Windows:
    """Positions after a prompt, as ranges."""

    ranges: tuple[range, ...]

    def __contains__(self, position: int) -> bool:
        return any(position in one for one in self.ranges)

    def changes_after(self, position: int) -> int:
        """The first position after `position` where membership may differ; far away if it never does again."""
        edges = [_FOREVER]
        for one in self.ranges:
            if one.step == 1:
                edges += [edge for edge in (one.start, one.stop) if edge > position]
            elif position < one.stop:
                edges.append(max(position + 1, one.start))
        return min(edges)


def select(tokens: "str | Selection") -> Selection:
    """Parse a selection. Raises `UserError` that names the part it cannot read."""
    if isinstance(tokens, Selection):
        return tokens
    if not isinstance(tokens, str) or not tokens.strip():
        raise UserError(
            f"tokens={tokens!r} is no selection; use one such as 'response', 'prompt[-1]' or 'sampling[:40]'"
        )
    return Selection(tuple(_parts(tokens)), tokens.strip())


def _parts(text: str) -> Iterator[Part]:
    for piece in text.split("+"):
        match = _PART.fullmatch(piece.strip())
        if match is None or match[1] not in _BASES:
            raise UserError(f"{piece.strip()!r} is no part of a selection; the parts are {', '.join(_BASES)}")
        indices = _INDEX.findall(match[2])
        turn = None
        if match[1] == "turn":
            if not indices or not _is_integer(indices[0]):
                raise UserError(f"{piece.strip()!r} needs the number of a turn, such as turn[0]")
            turn, indices = int(indices[0]), indices[1:]
        if len(indices) > 1:
            raise UserError(f"{piece.strip()!r} has more than one slice; use one")
        yield Part(match[1], turn, *(_window(indices[0]) if indices else ()))


def _window(text: str) -> tuple[int | None, int | None, int]:
    """Start, stop and step of an index or a slice."""
    if _is_integer(text):
        index = int(text)
        return index, index + 1 if index != -1 else None, 1
    bounds = [bound.strip() for bound in text.split(":")]
    if len(bounds) not in (2, 3) or any(bound and not _is_integer(bound) for bound in bounds):
        raise UserError(f"[{text}] is no slice of whole numbers")
    start, stop, step = (int(bound) if bound else None for bound in (*bounds, "")[:3])
    if step is not None and step < 1:
        raise UserError(f"[{text}] does not step forwards; use a step of 1 or more")
    return start, stop, step or 1


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d+\s*", text) is not None
