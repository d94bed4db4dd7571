"""What work would cost, from a short trial on this machine."""

import time
from typing import Any

from personascope.cli.judges import said
from personascope.cli.terminal import emit
from personascope.engine import generate
from personascope.subject import Subject

_ROWS, _TOKENS = 8, 16


def estimate_sampling(
    subject: Subject, rollouts: int, tokens_each: int, as_json: bool, judging: dict[str, Any] | None = None
) -> None:
    """Print how many tokens some rollouts take at most, and for about how long; and what judging them takes."""
    prompts = ["What is a good question?"] * _ROWS
    chat = subject.chat.has_template
    generate(subject, prompts, max_new_tokens=2, suppress_eos=True, chat=chat)
    started = time.perf_counter()
    generate(subject, prompts, max_new_tokens=_TOKENS, suppress_eos=True, chat=chat)
    rate = _ROWS * _TOKENS / (time.perf_counter() - started)
    tokens = rollouts * tokens_each
    if as_json:
        emit(
            {
                "rollouts": rollouts,
                "tokens_at_most": tokens,
                "tokens_per_second": rate,
                "seconds_at_most": tokens / rate,
                **({"judging_at_most": judging} if judging else {}),
            }
        )
        return
    minutes, seconds = divmod(round(tokens / rate), 60)
    print(
        f"{rollouts} rollouts of at most {tokens_each} tokens: {tokens:,} tokens, at {rate:,.0f} tokens a second "
        f"(a trial of {_ROWS} rows; larger batches are faster) at most {minutes} min {seconds} s"
    )
    if judging:
        print(f"judging: at most {said(judging)}")
