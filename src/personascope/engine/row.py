"""A row while it is in a stream: its state, its next token, how it ends."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from personascope.engine.choose import choose
from personascope.engine.edits import Change
from personascope.engine.forward import Projected, split_columns
from personascope.engine.norms import sinks
from personascope.engine.rows import Generation, Request, TokenLogprobs
from personascope.engine.selection import Layout, Selection, Windows
from personascope.subject import Subject


@dataclass(eq=False)
class Row:
    """ran: how many of its tokens the model has run. given: how many there are before anything is sampled.

    slot: its place among the mean reads, None if it has none. columns: which of a pass's columns are the row's.
    """

    id: int
    request: Request
    changes: list[Change]
    ran: int = 0
    slot: int | None = None
    response: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    keys: list[tuple[int, str]] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None
    prompt: int = field(init=False)
    given: int = field(init=False)
    _read: np.ndarray = field(init=False, default_factory=lambda: np.empty((0, 0), np.float32))
    _noted: int = field(init=False, default=0)
    _windows: dict[Selection, Windows] = field(init=False, default_factory=dict)
    _held: dict[Selection, tuple[bool, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.prompt = len(self.request.prompt)
        self.given = self.prompt + len(self.request.forced)

    @property
    def total(self) -> int:
        return self.prompt + len(self.response)

    @property
    def next_token(self) -> int:
        """The token that the next step runs."""
        if self.ran < self.prompt:
            return self.request.prompt.ids[self.ran]
        return self.response[self.ran - self.prompt]

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be chosen or read."""
        if self.finish is None:
            return False
        wants_last = bool(self.request.watch) or self.slot is not None
        return self.error is not None or not wants_last or self.ran >= self.total

    @property
    def read(self) -> np.ndarray:
        """[tokens, columns]: the projections that were read."""
        return self._read[: self._noted]

    def note(self, values: np.ndarray) -> None:
        """Take in what a pass read of the row's tokens, [tokens, columns]. In one piece for many tokens: a small one for each
        would lie scattered among all that passes take and give back, and keep the memory between from being used again."""
        stop = self._noted + len(values)
        if stop > len(self._read):
            grown = np.empty((max(self.given + 64, 2 * stop), values.shape[1]), values.dtype)
            if self._noted:
                grown[: self._noted] = self.read
            self._read = grown
        self._read[self._noted : stop] = values
        self._noted = stop

    def so_far(self, selection: Selection, count: int) -> list[int]:
        """The selection's positions among the first `count` tokens, the next one still to be chosen or not."""
        layout = Layout(self.prompt, count, self.request.prompt.turns, is_open=self.finish is None)
        return selection.positions(layout)

    def may_sink(self, selection: Selection) -> list[bool]:
        """Which of the selection's tokens among those that are given are left out of a mean if they are sinks."""
        return sinks(self.request.prompt, self.so_far(selection, self.given))

    def holds(self, selection: Selection) -> bool:
        """Whether the token about to be run is selected."""
        return self.ahead(selection)[0]

    def ahead(self, selection: Selection) -> tuple[bool, int]:
        """Whether the token about to be run is selected, and in how many steps that may change."""
        if self.finish is not None:
            return self.ran in selection.positions(Layout(self.prompt, self.total, self.request.prompt.turns)), 1
        if self.ran < self.given:
            return self.ran in self.so_far(selection, self.given), 1
        is_held, until = self._following(selection)
        return is_held, until - self.ran

    def _following(self, selection: Selection) -> tuple[bool, int]:
        """Whether the token about to be run, one that was sampled, is selected; and the first that may differ in this."""
        known = self._held.get(selection)
        if known is None or self.ran >= known[1]:
            if selection not in self._windows:
                self._windows[selection] = selection.following(self.prompt)
            windows = self._windows[selection]
            known = self._held[selection] = self.ran in windows, windows.changes_after(self.ran)
        return known


def draw(rows: Sequence[Row], logits: Tensor, ends: Collection[int]) -> list[int | None]:
    """The next token of each row, from logits [rows, vocabulary] float32, which this may overwrite: None where one of them
    is not finite. Notes the log-probabilities of rows that ask for them."""
    raw = {
        index: logits[index].log_softmax(0)
        for index, row in enumerate(rows)
        if row.request.logprobs and row.finish is None
    }
    banned = [index for index, row in enumerate(rows) if row.request.suppress_eos]
    if banned and ends:
        # Added: a logit that is no number stays one, and fails its row.
        logits[torch.tensor(banned)[:, None], torch.tensor(sorted(ends))[None]] += float("-inf")
    requests = [row.request for row in rows]
    tokens, peaks = choose(
        logits,
        [request.sampling for request in requests],
        [request.seed for request in requests],
        [len(row.response) for row in rows],
    )
    chosen = [
        token if abs(peak) < float("inf") else None for token, peak in zip(tokens.tolist(), peaks.tolist(), strict=True)
    ]
    for index, values in raw.items():
        token = chosen[index]
        if token is not None:
            top = values.topk(min(rows[index].request.logprobs, len(values)))
            best = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            rows[index].logprobs.append(TokenLogprobs(float(values[token]), best))
    return chosen


def ending(subject: Subject, row: Row) -> str | None:
    """Why the row ends with its last token, None if it goes on."""
    if row.response[-1] in subject.end_ids:
        return "end"
    if row.request.stop:
        text = subject.decode(row.response)
        if any(stop in text for stop in row.request.stop):
            return "stop"
    total = row.total
    if total - row.given >= row.request.max_new_tokens:
        return "length"
    if subject.context is not None and total >= subject.context:
        return "context"
    return None


def finished(subject: Subject, row: Row, means: Tensor | None) -> Generation:
    """What a row came to. A row that failed, in its logits or in what was read, ends before the token whose state is not
    finite."""
    request = row.request
    read = row.read.copy()
    response, finish, error = row.response, row.finish or "cancelled", row.error
    if error is not None:
        response = response[: max(row.ran - 1 - row.prompt, 0)]
    bad = np.flatnonzero(~np.isfinite(read[: row.prompt + len(response)]).all(axis=1))
    if request.watch and len(bad):
        if error is None:
            finish, error = "non-finite", _unreadable(subject, row, read[bad[0]])
        response = response[: max(int(bad[0]) - row.prompt, 0)]
    token_ids = [*request.prompt.ids, *response]
    read = read[: len(token_ids)]
    is_whole = len(read) == len(token_ids) and bool(np.isfinite(read).all())
    projected = split_columns(read, row.keys) if request.watch and is_whole else Projected({}, {})
    text = subject.decode(response[:-1] if finish == "end" else response)
    for stop in request.stop:
        text = text.split(stop)[0]
    return Generation(
        text=text,
        response_ids=list(response),
        token_ids=token_ids,
        tokens=subject.pieces(token_ids),
        prompt_length=len(request.prompt),
        turns=request.prompt.turns,
        seed=request.seed,
        finish=finish,
        writes=[line for write in request.writes for line in write.describe()],
        projections=projected.projections,
        norms=projected.norms,
        logprobs=row.logprobs[: max(len(response) - len(request.forced), 0)],
        means=means,
        error=error,
    )


def _unreadable(subject: Subject, row: Row, values: np.ndarray) -> str:
    """Which of a token's values, by column, is the first that is not finite."""
    layer, name = row.keys[int(np.flatnonzero(~np.isfinite(values))[0])]
    what = f"the projection on {name}@{layer}" if name else f"the norm of the residual stream at layer {layer}"
    return f"{what} of {subject.name} is not finite, on {row.request.prompt.text[:60]!r}"
