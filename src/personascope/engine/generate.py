"""Sampling responses while steering and watching."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Integral

from personascope.directions import Direction, DirectionSet
from personascope.engine.cells import Cells, request_key
from personascope.engine.choose import Sampling
from personascope.engine.noise import derive_seed
from personascope.engine.readers import When
from personascope.engine.rows import Generation, Request
from personascope.engine.selection import Selection
from personascope.engine.stream import RowStream
from personascope.engine.workers import run_here
from personascope.engine.writes import Write, per_row
from personascope.errors import UserError
from personascope.subject import PromptLike, Subject


def generate(
    subject: Subject,
    prompts: PromptLike | Sequence[PromptLike],
    steer: Sequence[Write] | Sequence[Sequence[Write]] | None = None,
    watch: Sequence[Direction | DirectionSet] = (),
    max_new_tokens: int = 60,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] | None = None,
    seed: int | Sequence[int] = 0,
    suppress_eos: bool = False,
    chat: bool = True,
    logprobs: int = 0,
    batch_size: int | None = None,
    when: When = "before",
) -> list[Generation]:
    """One response per prompt, all of them rows of one stream.

    prompts: strings (one user turn each; raw text with chat=False) or chats as lists of messages. steer: one list of
    writes for every row, or one list per row. watch: directions, or direction sets at all their layers. seed: an
    integer gives every row a seed of its own, shown as `.seed`; a list is taken as it is. A row's tokens depend on its
    prompt, seed and settings, not on its company. suppress_eos bans every end token. logprobs: how many of the highest
    log-probabilities to keep per token. batch_size: rows at once (default: what memory holds). when: whether a layer is
    read `before` or `after` what is written to it. A row whose numbers are not finite fails alone: its `finish` is
    `non-finite` and its `error` names the layer.
    Raises `UserError` where a row cannot be run.
    """
    requests = requests_for(
        subject,
        prompts,
        steer,
        watch,
        Sampling(temperature, top_p, top_k),
        max_new_tokens,
        stop,
        seed,
        suppress_eos,
        chat,
        logprobs,
        when,
    )
    return run_requests(subject, requests, batch_size)


def requests_for(
    subject: Subject,
    prompts: PromptLike | Sequence[PromptLike],
    steer: Sequence[Write] | Sequence[Sequence[Write]] | None,
    watch: Sequence[Direction | DirectionSet],
    sampling: Sampling,
    max_new_tokens: int,
    stop: str | Sequence[str] | None,
    seed: int | Sequence[int],
    suppress_eos: bool,
    chat: bool,
    logprobs: int,
    when: When = "before",
) -> list[Request]:
    """The rows of a call to `generate`."""
    Subject.check(subject)
    listed = told_prompts(prompts)
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 0:
        raise UserError(f"max_new_tokens={max_new_tokens!r} must be 0 (read the prompt only) or a whole number above")
    writes = per_row(steer, len(listed))
    seeds = row_seeds(seed, len(listed))
    watched = flat_directions(watch)
    stops = _stops(stop)
    if not isinstance(logprobs, Integral) or logprobs < 0:
        raise UserError(f"logprobs={logprobs!r} must be 0 or a whole number above")
    return [
        Request(
            prompt=subject.chat.prompt(prompt, chat=chat),
            seed=row_seed,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            writes=row_writes,
            watch=watched,
            stop=stops,
            suppress_eos=suppress_eos,
            logprobs=logprobs,
            when=when,
        )
        for prompt, row_writes, row_seed in zip(listed, writes, seeds, strict=True)
    ]


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    if stop is not None and not isinstance(stop, Iterable):
        raise UserError(f"stop={stop!r:.40} is no text; give one text or a list of them")
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(isinstance(one, str) for one in stops):
        raise UserError(f"stop={list(stops)!r:.60} holds something that is no text; give one text or a list of them")
    if not all(stops):
        raise UserError("stop is an empty text, which every response holds; leave it out")
    return stops


def run_requests(
    subject: Subject,
    requests: Sequence[Request],
    batch_size: int | None = None,
    means: Sequence[str | Selection] = (),
    mean_layers: Sequence[int] | None = None,
    on_done: Callable[[int, Generation], None] = lambda *_: None,
    cells: Cells | None = None,
) -> list[Generation]:
    """Run rows to their ends, in the order given. on_done: called with each row's number as it ends.

    They run here, or on `subject.workers`. cells: a run's finished rollouts; those that are in it are not run again, new
    ones are entered as they end.
    """
    checked = RowStream(subject, batch_size, means, mean_layers)
    reads = {"means": list(map(str, checked.means)), "layers": list(checked.mean_layers)}
    keys = [request_key(subject, request, reads) for request in requests] if cells is not None else []
    done: dict[int, Generation] = {}
    for index in range(len(requests)):
        known = cells.get(keys[index]) if cells is not None else None
        if known is not None:
            done[index] = known
            on_done(index, known)
    missing = [index for index in range(len(requests)) if index not in done]
    runner = partial(run_here, subject) if subject.workers is None else subject.workers.run
    try:
        for place, generation in runner([requests[index] for index in missing], batch_size, means, mean_layers):
            index = missing[place]
            done[index] = generation
            if cells is not None:
                cells.put(keys[index], generation)
            on_done(index, generation)
    finally:
        if cells is not None:
            cells.flush()
    return [done[index] for index in range(len(requests))]


def listed_prompts(prompts: PromptLike | Sequence[PromptLike]) -> list[PromptLike]:
    """Prompts as a list: a single string or a single chat becomes a list of one."""
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, Mapping) or not isinstance(prompts, Iterable) or isinstance(prompts, bytes):
        raise UserError(f"a prompt is text or a chat (a list of messages), not {type(prompts).__name__}")
    listed = list(prompts)
    if not listed:
        raise UserError("there are no prompts; give at least one")
    return [listed] if isinstance(listed[0], dict) else listed  # type: ignore[list-item, return-value]


def told_prompts(prompts: PromptLike | Sequence[PromptLike]) -> list[PromptLike]:
    """Prompts as a list, each of them text or a chat. Raises `UserError` on anything else."""
    listed = listed_prompts(prompts)
    for place, one in enumerate(listed):
        if not isinstance(one, Iterable) or isinstance(one, bytes):
            raise UserError(f"prompt {place} is {one!r:.60}; a prompt is text or a chat (a list of messages)")
    return listed


def row_seeds(seed: int | Sequence[int], rows: int) -> list[int]:
    """One seed per row, derived from an integer or as given."""
    if isinstance(seed, Integral):
        return [derive_seed("row", int(seed), row) for row in range(rows)]
    if not isinstance(seed, Sequence):
        raise UserError(f"seed={seed!r} is no whole number and no list of them")
    if len(seed) != rows:
        raise UserError(f"seed has {len(seed)} numbers for {rows} rows; give one integer, or one per row")
    if not all(isinstance(one, Integral) for one in seed):
        raise UserError(f"seed={list(seed)!r} is no list of whole numbers")
    return [int(one) for one in seed]


def flat_directions(watch: Sequence[Direction | DirectionSet]) -> tuple[Direction, ...]:
    """Directions one by one, sets taken at all their layers."""
    if isinstance(watch, (Direction, DirectionSet)):
        watch = [watch]
    if not isinstance(watch, Iterable) or not all(isinstance(item, Direction | DirectionSet) for item in watch):
        raise UserError("watch takes directions and direction sets, such as extract and load_directions make")
    return tuple(one for item in watch for one in ([item] if isinstance(item, Direction) else item))
