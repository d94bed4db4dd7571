"""What work would cost, from a short trial on this machine."""

import time
from typing import Any

from personascope.cli.judges import said
from personascope.cli.terminal import emit
from personascope.engine import generate
from personascope.engine.work import Work
from personascope.subject import Subject

_ROWS, _TOKENS = 8, 16
_QUESTION = "What is a good question?"


def estimate_sampling(
    subject: Subject, rollouts: int, tokens_each: int, as_json: bool, judging: dict[str, Any] | None = None
) -> None:
    """Print how many tokens some rollouts take at most, and for about how long; and what judging them takes."""
    estimate_work(subject, Work.of(rollouts, tokens_each), as_json, judging)


def estimate_work(subject: Subject, work: Work, as_json: bool, judging: dict[str, Any] | None = None) -> None:
    """The same of rollouts that differ."""
    cost = work_cost(subject, work, judging)
    if as_json:
        emit(cost)
        return
    print(in_words(cost))


def work_cost(subject: Subject, work: Work, judging: dict[str, Any] | None = None) -> dict[str, Any]:
    """What work takes at most, after a trial: plain values."""
    chat = subject.chat.has_template
    prompts = [_QUESTION] * _ROWS
    generate(subject, prompts, max_new_tokens=2, suppress_eos=True, chat=chat)
    started = time.perf_counter()
    generate(subject, prompts, max_new_tokens=_TOKENS, suppress_eos=True, chat=chat)
    rate = _ROWS * _TOKENS / (time.perf_counter() - started)
    cost: dict[str, Any] = {
        "rollouts": work.rows,
        "tokens_at_most": work.sampled,
        "tokens_per_second": rate,
        "seconds_at_most": work.sampled / rate,
    }
    if work.given:
        started = time.perf_counter()
        read = generate(subject, [" ".join(prompts)] * _ROWS, max_new_tokens=1, suppress_eos=True, chat=chat)
        elapsed = time.perf_counter() - started
        cost["tokens_given"] = work.given
        cost["seconds_at_most"] += work.given * elapsed / sum(one.prompt_length for one in read)
    return cost | ({"judging_at_most": judging} if judging else {})


def in_words(cost: dict[str, Any]) -> str:
    """A cost in lines to read."""
    minutes, seconds = divmod(round(cost["seconds_at_most"]), 60)
    given = f", going on from {cost['tokens_given']:,} that are written by then" if "tokens_given" in cost else ""
    lines = [
        f"{cost['rollouts']:,} rollouts: at most {cost['tokens_at_most']:,} tokens{given}; at "
        f"{cost['tokens_per_second']:,.0f} tokens a second (a trial of {_ROWS} rows; larger batches are faster) at most "
        f"{minutes} min {seconds} s"
    ]
    if "judging_at_most" in cost:
        lines.append(f"judging: at most {said(cost['judging_at_most'])}")
    return "\n".join(lines)
