"""A running batch of rows: they join, are stepped together, and leave."""

from collections import deque
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from personascope.engine.batches import batches
from personascope.engine.cache import STORES, Store, most_rows
from personascope.engine.edits import changes
from personascope.engine.forward import Passage, default_tokens, means_of
from personascope.engine.lanes import lanes
from personascope.engine.late import LateMeans
from personascope.engine.passes import Passes
from personascope.engine.plan import Plan, Planner
from personascope.engine.readers import When
from personascope.engine.row import Row, draw, ending, finished
from personascope.engine.rows import Event, Request, duplicates
from personascope.engine.selection import Selection, select
from personascope.engine.spans import Span
from personascope.engine.writes import check_width
from personascope.errors import NonFinite, PersonascopeError, UserError
from personascope.subject import Subject

# Rows join once this part of the places is free; beside recorded steps a pass for them costs more than places that wait.
_JOINING, _JOINING_RECORDED = 16, 8


class RowStream:
    """Rows that are generated together: `submit`, `cancel`, `step`.

    Rows may differ in everything: prompts, lengths, seeds, sampling settings, writes, what is watched. A row's tokens
    do not depend on its company. The model carries hooks only inside `step`. max_rows bounds how many run at once
    (default: what memory holds, at most 512); the others wait. means: selections whose mean activations at
    `mean_layers` are taken of the rows that ask for `reads`, while they run, or when they have ended where a selection
    counts from there.
    """

    def __init__(
        self,
        subject: Subject,
        max_rows: int | None = None,
        means: Sequence[str | Selection] = (),
        mean_layers: Sequence[int] | None = None,
    ) -> None:
        if max_rows is not None and (not isinstance(max_rows, Integral) or max_rows < 1):
            raise UserError(
                f"batch_size={max_rows!r} must be 1 or a whole number above; leave it out for what memory holds"
            )
        self.subject = subject
        self.means = tuple(select(one) for one in means)
        layers = tuple(range(subject.n_layers) if mean_layers is None else map(subject.check_layer, mean_layers))
        self.mean_layers = layers
        self._max_rows: int | None = max_rows
        self._waiting: deque[Row] = deque()
        self._live: list[Row] = []
        self._store: Store = STORES[subject.cache]()
        self._late = LateMeans(subject, self.means, layers)
        self._planner = Planner(subject, self._late.early, layers)
        self._passes = Passes(subject, self._store, self._planner)
        self._ids = 0
        self._steps = 0
        self._replan_at = 0
        self._plan = Plan({}, (), None)
        self._is_broken = False
        # When the rows that are in read what they watch; None where none watches.
        self._when: When | None = None

    def __len__(self) -> int:
        """Rows that have not ended."""
        return len(self._live) + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Rows that have not joined yet."""
        return len(self._waiting)

    def submit(self, request: Request) -> int:
        """Take a row in and return its number. Raises `UserError` if the model cannot run it."""
        self._check(request)
        if request.watch:
            self._when = request.when
        row = Row(self._ids, request, changes(self.subject, request.writes), response=list(request.forced))
        if not request.max_new_tokens:
            row.finish = "length"
        self._ids += 1
        self._waiting.append(row)
        return row.id

    def cancel(self, row: int) -> None:
        """Let a row end; the next step returns what there is of it. Does nothing if it has ended already."""
        for one in (*self._live, *self._waiting):
            if one.id == row and one.finish is None:
                one.finish = "cancelled"
                self._replan_at = 0

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Let waiting rows join, then run one more token of every row. What happened, in order.

        After an exception in a step the rows in it are lost, and further steps raise.
        """
        if self._is_broken:
            raise PersonascopeError("this stream was interrupted in the middle of a step; start a new one")
        self._is_broken = True
        events = self._admit()
        if self._live:
            events += self._advance() if self._store.caches else self._rerun()
        self._steps += 1
        self._is_broken = False
        return events

    def _check(self, request: Request) -> None:
        subject, length = self.subject, len(request.prompt) + len(request.forced)
        subject.check_length(length if len(request.prompt) else 0, min(request.max_new_tokens, 1))
        written = [direction for write in request.writes for direction in write.directions]
        check_width([*written, *request.watch], subject.hidden_size, subject.n_layers, subject.name)
        if request.when not in ("before", "after"):
            raise UserError(f"when={request.when!r} is not known; what is watched is read 'before' or 'after' writes")
        if not len(self):
            self._when = None
        if request.watch and self._when not in (None, request.when):
            raise UserError(
                "rows of one stream are read at one moment; give those with another `when` to another stream"
            )
        # A turn that the prompt does not have is found here, and not in a step that others are in.
        for selection in (*(write.tokens for write in request.writes), *(self.means if request.reads else ())):
            selection.check(request.prompt.turns)
        twice = duplicates(request.watch)
        if twice:
            raise UserError(f"two watched directions are both called {twice!r}; rename one with .named('…')")

    # Joining

    def _admit(self) -> list[Event]:
        events = self._ended([row for row in self._waiting if row.finish == "cancelled"])
        self._waiting = deque(row for row in self._waiting if row.finish != "cancelled")
        if not self._waiting or (self._live and not self._store.joins):
            return events
        if self._max_rows is None:
            longest = max(row.given + row.request.max_new_tokens for row in self._waiting)
            self._max_rows = most_rows(self.subject, longest)
        room = self._max_rows - len(self._live)
        # A pass for each place that falls free would cost more than the places do while they are empty.
        part = _JOINING_RECORDED if self._passes.replays else _JOINING
        if self._live and room < max(1, min(len(self._waiting), self._max_rows // part)):
            return events
        joining = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        longest = max(row.given + row.request.max_new_tokens for row in (*self._live, *joining))
        self._store.expect(len(self._live) + len(joining), longest + 1)
        if not self._store.joins:
            late = [row for row in joining if row.given != joining[0].given]
            joining = [row for row in joining if row not in late]
            self._waiting.extendleft(reversed(late))
            return events + self._prefill(lanes(joining, can_part=False)[0])
        whole, parted = lanes(joining, can_part=self._store.joins and self._store.caches)
        for kind, left in ((whole, 0), (parted, 1)):
            for group in batches([lane[0].given for lane in kind], default_tokens(self.subject)):
                events += self._prefill([kind[index] for index in group], left)
        return events

    def _prefill(self, together: Sequence[Sequence[Row]], left: int = 0) -> list[Event]:
        """Run new rows' prompts, right-padded, put them beside the others, and choose their first token.

        together: rows that begin alike; what they begin with is run once. left: how many of the tokens given to each are
        left for the next step, which is where those rows part.
        """
        firsts, rows = [lane[0] for lane in together], [row for lane in together for row in lane]
        lane_of = [index for index, lane in enumerate(together) for _ in lane]
        width = self._passes.width(firsts, max(row.given for row in firsts) - left)
        spans = [Span(index, 0, row.given - left) for index, row in zip(lane_of, rows, strict=True)]
        passed = self._passes.beginnings(firsts, self._planner.beginnings(firsts, rows, spans, width), width, left)
        self._store.adopt(passed.cache, lane_of, [span.count for span in spans])
        self._live += rows
        # What was planned for a step was for other rows.
        self._replan_at = 0
        if left:
            self._take(rows, spans, passed.read)
            return []
        logits = passed.logits[lane_of] if len(rows) > len(firsts) else passed.logits
        return self._after(rows, spans, passed.read, logits)

    # Stepping

    def _advance(self) -> list[Event]:
        rows = self._live
        if self._steps >= self._replan_at:
            self._plan, good = self._planner.step(rows)
            self._replan_at = self._steps + good
        passed = self._passes.one_more(rows, self._plan)
        self._store.stepped()
        return self._after(rows, None, passed.read, passed.logits)

    def _rerun(self) -> list[Event]:
        """One more token of every row, from the rows' beginnings: what `_advance` does with a cache."""
        rows = self._live
        passed = self._passes.wholes(rows, self._planner.wholes(rows, max(row.ran for row in rows) + 1))
        spans = [Span(index, row.ran, 1, column=row.ran) for index, row in enumerate(rows)]
        return self._after(rows, spans, passed.read, passed.logits)

    # Choosing and leaving

    def _after(
        self, rows: Sequence[Row], spans: Sequence[Span] | None, read: np.ndarray | None, logits: Tensor
    ) -> list[Event]:
        """Take what was read, choose the next token of every row that goes on, let go of those that are done."""
        self._take(rows, spans, read)
        events = self._choose(rows, logits)
        staying = [row for row in self._live if not row.is_done]
        if len(staying) < len(self._live):
            events += self._ended([row for row in self._live if row.is_done])
            self._let_go()
        if len(staying) < len(rows) or any(row.finish for row in staying):
            self._replan_at = 0
        return events

    def _take(self, rows: Sequence[Row], spans: Sequence[Span] | None, read: np.ndarray | None) -> None:
        """What a pass read goes to its rows, whose tokens it has run. spans: which of its tokens are whose; None where it
        ran one of each."""
        if read is not None:
            for index, row in enumerate(rows):
                if row.columns:
                    row.note(_of(read, index, spans)[:, row.columns])
        if spans is None:
            for row in rows:
                row.ran += 1
        else:
            for row, span in zip(rows, spans, strict=True):
                row.ran += span.count

    def _choose(self, rows: Sequence[Row], logits: Tensor) -> list[Event]:
        events = []
        for row, token in zip(rows, draw(rows, logits, self.subject.end_ids), strict=True):
            if token is None:
                row.finish, row.error = "non-finite", self._why(row)
            elif row.finish is None:
                row.response.append(token)
                row.finish = ending(self.subject, row)
                events.append(Event(row.id, token))
        return events

    def _let_go(self) -> None:
        """Drop the rows that are done; rows from the back take their places, so that little is moved."""
        order = list(range(len(self._live)))
        place = 0
        while place < len(order):
            if self._live[order[place]].is_done:
                last = order.pop()
                if place < len(order):
                    order[place] = last
            else:
                place += 1
        staying = [self._live[index] for index in order]
        self._planner.let_go([row for row in self._live if row.is_done], staying)
        self._store.select(order)
        self._live = staying

    def _ended(self, rows: Sequence[Row]) -> list[Event]:
        """What rows that are done came to."""
        taken = zip(rows, self._planner.take(rows), strict=True)
        ended = [(row.request, finished(self.subject, row, means)) for row, means in taken]
        return [Event(row.id, None, one) for row, one in zip(rows, self._late.completed(ended), strict=True)]

    def _why(self, row: Row) -> str:
        """Where a row's numbers stopped being finite."""
        response = tuple(row.response[: row.ran - row.prompt])
        passage = Passage(row.request.prompt, response, row.request.writes, is_open=True)
        try:
            means_of(self.subject, [passage], range(self.subject.n_layers), ["all"], "after")
        except NonFinite as error:
            return str(error)
        return f"the logits of {self.subject.name} are not finite, on {row.request.prompt.text[:60]!r}"


def _of(values: np.ndarray, index: int, spans: Sequence[Span] | None) -> np.ndarray:
    """[tokens, columns]: a row's of what a pass read, [rows, tokens, columns]."""
    if spans is None:
        return np.asarray(values[index])
    span = spans[index]
    return np.asarray(values[span.index, span.column : span.column + span.count])
