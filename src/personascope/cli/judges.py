"""What commands with a judge share: its options, what it will cost, and what it has cost."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from personascope.errors import UserError
from personascope.judging import Judge, judge_for
from personascope.judging.chat import ASKED_AGAIN, ChatJudge, Usage, ask
from personascope.judging.rating import SCALES
from personascope.personas import Persona
from personascope.runs import RunFolder, write_json
from personascope.subject import Subject

JudgeScale = Annotated[str, typer.Option("--judge-scale", help="numbers a chat judge is asked for: 0-100 or 1-5")]
JudgePrices = Annotated[
    str | None,
    typer.Option(
        "--judge-prices", help="of a million prompt and completion tokens, such as 0.15,0.60: costs are given"
    ),
]

# A token is about so many characters of English.
_CHARACTERS = 4
_ANSWER = 4


def judge_option(subject: Subject, name: str, scale: str, personas: Sequence[Persona] = ()) -> Judge | None:
    """The judge of `--judge` and `--judge-scale` for some personas. Raises `UserError` on an unknown scale."""
    if scale not in SCALES:
        raise UserError(f"--judge-scale {scale!r} is not known; use {' or '.join(SCALES)}")
    return judge_for(subject, name, SCALES[scale], personas)


def parse_prices(text: str | None) -> tuple[float, float] | None:
    """Prices per million prompt and completion tokens. Raises `UserError` on anything but two numbers from 0 up."""
    if text is None:
        return None
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--judge-prices {text!r} is not two numbers; write them as 0.15,0.60") from error
    if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
        raise UserError(f"--judge-prices {text!r}: prices are numbers from 0 up")
    return prompt, completion


def estimate_judging(
    judge: Judge | None, answers: Sequence[tuple[Persona, int]], tokens_each: int, prices: tuple[float, float] | None
) -> dict[str, Any] | None:
    """What judging will take at most: so many answers of each persona, of at most `tokens_each` tokens. None where the
    judge costs nothing."""
    if not isinstance(judge, ChatJudge):
        return None
    expected = Usage()
    for persona, count in answers:
        for about in (persona, None):
            question = max((*persona.questions, *persona.eval_questions), key=len)
            characters = len(ask(about, question, "", judge.scale))
            expected.calls += count
            expected.prompt_tokens += count * (characters // _CHARACTERS + tokens_each)
            expected.completion_tokens += count * _ANSWER
    return expected.describe(prices)


def said(usage: dict[str, Any]) -> str:
    """A usage in words."""
    cost = f", {usage['cost']:.2f} in the prices' unit" if "cost" in usage else ""
    return (
        f"{usage['calls']:,} calls, {usage['prompt_tokens']:,} prompt and {usage['completion_tokens']:,} completion "
        f"tokens{cost}"
    )


def report_usage(
    folder: RunFolder, judges: Sequence[Judge | None], prices: tuple[float, float] | None = None
) -> dict[str, Any] | None:
    """Write `judging.json`: what this start has asked, and what the whole run folder holds; None without a chat judge.

    Call it while the run is running.
    """
    chat = list({id(one): one for one in judges if isinstance(one, ChatJudge)}.values())
    if not chat:
        return None
    now, whole = Usage(), Usage()
    for one in chat:
        for key, value in vars(one.usage).items():
            setattr(now, key, getattr(now, key) + value)
    for _, answer in (*folder.journal.cells("judgement"), *folder.journal.cells(ASKED_AGAIN)):
        whole.calls += 1
        whole.prompt_tokens += answer["prompt_tokens"]
        whole.completion_tokens += answer["completion_tokens"]
    plain = {
        "models": sorted({one.endpoint.model for one in chat}),
        "this_start": now.describe(prices),
        "whole_run": whole.describe(prices),
    }
    write_json(folder.path / "judging.json", plain)
    return plain
