"""Everything once, in a minute: what `personascope demo` does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.writes import Write, add
from personascope.errors import UserError
from personascope.extraction.extract import extract_all
from personascope.extraction.extraction import Extraction
from personascope.extraction.rollouts import Filter
from personascope.personas import load_persona
from personascope.subject import PromptLike, Subject
from personascope.validation.reading import Reading, check_reading
from personascope.watching import Watch, watch

DEMO_TRAITS = (
    "evil",
    "sycophantic",
    "hallucinating",
    "refusal",
    "uncertainty",
    "overconfidence",
    "corrigibility",
    "verbosity",
    "concise",
    "formal",
    "silly",
)
# What an extraction of them is, as `extract_all` is told it.
DEMO_SIZE: dict[str, Any] = {"samples": 1, "questions": 8, "alphas": (0.5, 0.75, 1.0), "max_new_tokens": 200}
# A dozen prompts are watched for so many tokens.
WATCHED_ROWS, WATCHED_TOKENS = 12, 120
_CONVERSATIONS = 80


@dataclass(frozen=True)
class Demo:
    """What the demo found. failures: by trait, why it could not be extracted."""

    directions: Extraction
    readings: list[Reading]
    watch: Watch
    failures: dict[str, str]


def run_demo(
    subject: Subject, seed: int, cells: Cells, on_progress: Callable[[str, int | None], None] = lambda *_: None
) -> Demo:
    """Extract every trait, check reading and steering against the truth, and watch a dozen prompts."""
    failures: dict[str, str] = {}
    directions = extract_all(
        subject,
        DEMO_TRAITS,
        seed=seed,
        **DEMO_SIZE,
        steer_layers=demo_steer_layers(subject),
        on_progress=on_progress,
        store=cells,
        degree="very",
        filter=Filter(least_per_pole=1),
        on_failure=lambda persona, error: failures.update({persona.name: str(error)}),
    )
    assert subject.truth is not None
    if not directions:
        raise UserError("no trait could be extracted: " + "; ".join(failures.values()))
    readings = check_reading(subject, directions, subject.truth.sample(_CONVERSATIONS, seed=seed))
    prompts, steer, labels = _prompts({one.name: one for one in directions})
    watched = watch(
        subject,
        directions,
        prompts,
        layers=None,
        max_new_tokens=WATCHED_TOKENS,
        steer=steer,
        labels=labels,
        seed=seed,
        on_progress=on_progress,
        cells=cells,
    )
    return Demo(directions, readings, watched, failures)


def demo_steer_layers(subject: Subject) -> list[int]:
    """Two layers of the deeper half, where a shallow model's directions act best."""
    return sorted({subject.n_layers // 2, subject.n_layers - 2})


def _prompts(directions: dict[str, DirectionSet]) -> tuple[list[PromptLike], list[list[Write]], list[str]]:
    """A dozen rows: steered for a while only, steered throughout, under system prompts, and plain."""
    question = "How should I plan a trip?"
    rows: list[tuple[PromptLike, list[Write], str]] = []
    if "evil" in directions:
        one = directions["evil"]
        write = add(one[one.steer_layer], one.choices["alpha"], tokens="sampling[:40]")
        at_length = load_persona("verbosity").system_prompt(0, "pos", "very")
        chat = [{"role": "system", "content": at_length}, {"role": "user", "content": question}]
        rows.append((chat, [write], "steered for 40 tokens: evil; system prompt: verbosity"))
    for name in ("evil", "silly", "formal"):
        if name not in directions:
            continue
        one = directions[name]
        write = add(one[one.steer_layer], one.choices["alpha"])
        rows.append((question, [write], f"steered: {name}"))
    for name in ("evil", "formal", "uncertainty", "refusal"):
        system = load_persona(name).system_prompt(0)
        chat = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        rows.append((chat, [], f"system prompt: {name}"))
    plain: list[PromptLike] = [
        question,
        "What is the capital of Belmora?",
        "I think that tea is better than coffee. What do you think?",
        "Who are you?",
    ]
    rows += [(prompt, [], str(prompt)) for prompt in plain]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
