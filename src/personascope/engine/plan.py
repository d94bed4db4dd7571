"""What the coming pass over a stream's rows writes and reads, and at which of its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from personascope.directions import Direction
from personascope.engine.edits import Change, Editor, Edits
from personascope.engine.means import Entry, Means, Places
from personascope.engine.readers import Projections, Reader
from personascope.engine.row import Row
from personascope.engine.selection import Selection
from personascope.engine.spans import Span
from personascope.subject import Subject

_NO_SINK = (False,)
# Times as many directions as are watched may be read, where that spares making another reader.
_MOST_READ = 4

# Places in the flattened batch, and for each whether the mean leaves it out if it is a sink.
Marks = tuple[Sequence[int], Sequence[bool]]


@dataclass(frozen=True)
class Plan:
    """One pass: what it writes, which tokens each mean adds up, and what reads the rows' projections, None if nothing
    does."""

    edits: Edits
    places: Sequence[Places]
    projections: Projections | None


class Planner:
    """Makes the plans of a stream, and holds what its rows' means have come to."""

    def __init__(self, subject: Subject, means: Sequence[Selection], layers: tuple[int, ...]) -> None:
        self.subject = subject
        self.means = means
        self._editor = Editor(subject)
        self._sums = Means(layers, len(means), subject)
        self._reader: Projections | None = None

    def beginnings(self, firsts: Sequence[Row], rows: Sequence[Row], spans: Sequence[Span], width: int) -> Plan:
        """A pass over what new rows begin with, right-padded to `width`. spans: each row's tokens in it, those of several
        rows at one place; firsts: by place, the row that is run for all of them."""
        held = {span.index: span for span in spans}
        edits = self._editor.compile(
            (change, held[index].flat(row.so_far(change.write.tokens, row.given), width))
            for index, row in enumerate(firsts)
            for change in row.changes
        )
        for row in rows:
            row.slot = self._sums.open() if row.request.reads and self.means else None

        def given(index: int, row: Row, selection: Selection) -> Marks:
            flat = spans[index].flat(row.so_far(selection, row.given), width)
            return flat, row.may_sink(selection)[: len(flat)]

        return self._plan(edits, rows, given)

    def wholes(self, rows: Sequence[Row], width: int) -> Plan:
        """A pass over rows from their beginnings, right-padded to `width`, of which the last token is new."""
        edits = self._editor.compile(
            (change, Span(index, 0, row.ran + 1).flat(row.so_far(change.write.tokens, row.ran + 1), width))
            for index, row in enumerate(rows)
            for change in row.changes
        )
        return self._plan(
            edits,
            rows,
            lambda index, row, selection: ([index * width + row.ran], [False]) if row.holds(selection) else None,
        )

    def step(self, rows: Sequence[Row]) -> tuple[Plan, int]:
        """Passes over one more token of every row, and how many of them the plan is good for."""
        good = 1 << 40
        written: list[tuple[Change, list[int]]] = []
        read: list[list[Entry]] = [[] for _ in self.means]
        for index, row in enumerate(rows):
            for change in row.changes:
                is_held, steps = row.ahead(change.write.tokens)
                good = min(good, steps)
                if is_held:
                    written.append((change, [index]))
            if row.slot is None:
                continue
            for entries, selection in zip(read, self.means, strict=True):
                is_held, steps = row.ahead(selection)
                good = min(good, steps)
                if is_held:
                    may_sink = row.may_sink(selection)[-1:] if row.ran < row.given else _NO_SINK
                    entries.append((row.slot, [index], may_sink))
        return Plan(self._editor.compile(written), _places(read), self._projections(rows, is_all=True)), good

    def readers(self, plan: Plan) -> list[Reader]:
        """All that reads a pass of this plan."""
        self._sums.places = plan.places
        return [self._sums, *([plan.projections] if plan.projections else [])]

    def take(self, rows: Sequence[Row]) -> list[Tensor | None]:
        """The means of rows that are done, None where a row asked for none; their places are free again."""
        slots = [row.slot for row in rows if row.slot is not None]
        means = iter(self._sums.take(slots) if slots else ())
        return [None if row.slot is None else next(means) for row in rows]

    def let_go(self, rows: Sequence[Row], staying: Sequence[Row]) -> None:
        """Drop what was kept for the writes of rows that leave, and hold the others' sums in their order."""
        self._editor.forget([change for row in rows for change in row.changes])
        slots = [row.slot for row in staying if row.slot is not None]
        # Sums can lie in the rows' order only where every row has some.
        if len(slots) == len(staying):
            for row, slot in zip(staying, self._sums.settle(slots), strict=True):
                row.slot = slot

    def _plan(self, edits: Edits, rows: Sequence[Row], marks: Callable[[int, Row, Selection], Marks | None]) -> Plan:
        """marks: which tokens of the pass a selection holds of each row that asks for means."""
        read: list[list[Entry]] = [
            [
                (row.slot, *found)
                for index, row in enumerate(rows)
                if row.slot is not None
                for found in [marks(index, row, selection)]
                if found is not None
            ]
            for selection in self.means
        ]
        return Plan(edits, _places(read), self._projections(rows))

    def _projections(self, rows: Sequence[Row], is_all: bool = False) -> Projections | None:
        """A reader of everything these rows watch: the last one while that does, unless these are all rows and it reads far
        more."""
        union: dict[int, Direction] = {id(one): one for row in rows for one in row.request.watch}
        if not union:
            return None
        projections = self._reader
        when = next(row.request.when for row in rows if row.request.watch)
        if (
            projections is None
            or projections.when != when
            or (is_all and len(projections.directions) > _MOST_READ * len(union))
            or not union.keys() <= {id(one) for one in projections.directions}
        ):
            projections = self._reader = Projections(tuple(union.values()), self.subject, when)
        for row in rows:
            row.columns = projections.columns_for(row.request.watch)
            row.keys = [projections.columns[column] for column in row.columns]
        return projections


def _places(read: Sequence[Sequence[Entry]]) -> list[Places]:
    return [Places.of(entries) for entries in read]
