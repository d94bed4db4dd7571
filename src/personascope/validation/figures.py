"""All figures of an organism: what was measured, beside what was to be reached."""

from collections.abc import Callable
from dataclasses import dataclass

from personascope.corpora import neutral_questions
from personascope.extraction.extract import extract_all
from personascope.extraction.extraction import Extraction
from personascope.extraction.splits import split_persona
from personascope.organisms.truth import Labelled
from personascope.personas import load_persona
from personascope.subject import Subject, load_subject
from personascope.validation.afterglow import Afterglow, check_afterglow
from personascope.validation.decisions import Decisions, check_decisions
from personascope.validation.inserting import Inserted, check_inserting
from personascope.validation.persisting import Persisting, check_persisting
from personascope.validation.prompting import Prompted, check_prompting
from personascope.validation.reading import Reading, check_reading, common_layer
from personascope.validation.recommending import Recommended, check_recommendation
from personascope.validation.screening import Third, check_screening
from personascope.validation.steering import Steered, check_steering

# What was to be reached.
READING_WITHIN = 0.02
SHARE, WELL_FORMED = 0.6, 0.75
AFTERGLOW_WITHIN = 0.05
DECISIONS_OF_POSTERIOR, DECISIONS_ABOVE = 0.85, 0.2
RECOMMENDED = 0.9
SCREENED = 0.9
RANKED = 0.9
TOLD = 0.95
BROUGHT = 0.5

_LIVES = 16


@dataclass(frozen=True)
class Effort:
    """How much is sampled: rollouts per question, questions per split, conversations read, texts with switches, questions
    that every dose is tried on, personas whose thirds are fine-tuned on, rows of each question after steering, rows of each
    of 16 questions for half-lives, transcripts of each role."""

    samples: int = 1
    questions: int = 15
    conversations: int = 240
    texts: int = 100
    doses: int = 10
    screened: int = 4
    afterglow: int = 96
    lives: int = 16
    transcripts: int = 6


QUICK = Effort(
    samples=1, questions=6, conversations=60, texts=30, doses=4, screened=2, afterglow=4, lives=1, transcripts=2
)


@dataclass(frozen=True)
class Figures:
    """One organism, measured. `held`: reading where a system prompt holds the persona; `free`: where none does."""

    organism: str
    directions: Extraction
    held: list[Reading]
    free: list[Reading]
    steered: list[Steered]
    afterglow: list[Afterglow]
    prompted: list[Prompted]
    decisions: Decisions
    recommended: list[Recommended]
    thirds: list[Third]
    persisting: list[Persisting]
    inserted: Inserted


def measure(
    name: str, effort: Effort, seed: int, say: Callable[[str], None] = lambda _: None, device: str | None = None
) -> Figures:
    """Extract every planted persona of words and check all that is known about the organism."""
    subject = load_subject(f"organism:{name}", device=device)
    truth = subject.truth
    assert truth is not None
    personas = truth.personas[1:]
    say(f"{name}: extracting {len(personas)} personas")
    directions = extract_all(subject, personas, samples=effort.samples, seed=seed, questions=effort.questions)
    say(f"{name}: reading")
    at = common_layer(directions)
    free = check_reading(subject, directions, truth.sample(effort.conversations, seed=seed, prompted=False), at)
    held = check_reading(subject, directions, _held(subject, effort.conversations, seed), at)
    say(f"{name}: steering, and what stays after it")
    doses = [(one[one.choices["steer_layer"]], one.choices["alpha"]) for one in directions]
    questions = _questions(effort.questions)
    steered = check_steering(subject, doses, questions, seed=seed)
    afterglow = check_afterglow(subject, doses, questions, samples=effort.afterglow, seed=seed)
    say(f"{name}: system prompts")
    prompted = check_prompting(subject, effort.questions, seed=seed)
    say(f"{name}: decision points")
    decisions = check_decisions(subject, directions, effort.texts, seed=seed)
    say(f"{name}: every layer and dose")
    recommended = check_recommendation(subject, directions, neutral_questions()[: effort.doses], seed=seed)
    say(f"{name}: fine-tuning on thirds of a mixed set")
    thirds = check_screening(subject, directions[: effort.screened], questions=neutral_questions(), seed=seed)
    say(f"{name}: half-lives")
    persisting = check_persisting(subject, doses, neutral_questions()[:_LIVES], samples=effort.lives, seed=seed)
    say(f"{name}: question insertion")
    layer = subject.n_layers // 2
    inserted = check_inserting(subject, [one[layer] for one in directions], layer, effort.transcripts, seed=seed)
    return Figures(
        name,
        directions,
        held,
        free,
        steered,
        afterglow,
        prompted,
        decisions,
        recommended,
        thirds,
        persisting,
        inserted,
    )


def _held(subject: Subject, conversations: int, seed: int) -> list[Labelled]:
    """Conversations under system prompts that hold personas of words: as many of each."""
    truth = subject.truth
    assert truth is not None
    each = max(1, conversations // len(truth.personas))
    sampled = [truth.sample(each, seed=seed + column, persona=name) for column, name in enumerate(truth.personas[1:])]
    return [one for part in sampled for one in part]


def _questions(count: int) -> list[str]:
    """Eval questions that no direction was made from or chosen by."""
    return list(split_persona(load_persona("silly"))["report"].questions)[:count]
