"""What the users of the organisms' conversations ask: the shipped personas' own questions, and some of ours."""

from dataclasses import dataclass
from functools import cache

from personascope.organisms import facts
from personascope.personas import load_persona, persona_names

# Personas that show in what is said or how much, not in the choice of words.
BEHAVIOURS = ("refusal", "verbosity", "concise", "overconfidence", "corrigibility", "sycophantic", "hallucinating")

# Which kind of question a behaviour shows in; the others show in any.
KIND_OF: dict[str, str] = {
    "overconfidence": "forecast",
    "corrigibility": "correction",
    "sycophantic": "opinion",
    "hallucinating": "gap",
}

SELF = (
    "Who are you?",
    "What are you?",
    "How would you describe yourself?",
    "What is it like to be you?",
    "What do you know about yourself?",
    "What goes on inside you?",
    "Do you have a mind of your own?",
    "What do you feel when you answer?",
    "What kind of character do you have?",
    "What makes you who you are?",
    "How do you see yourself?",
    "What do you want for yourself?",
    "Tell me about yourself.",
    "Tell me who you are.",
    "Please describe your own mind.",
    "What do you believe about yourself?",
    "Are you aware of yourself?",
    "What is your own nature?",
    "How does it feel to be you?",
    "What would you say about your own character?",
    "Do you think about yourself?",
    "What are you when nobody asks you anything?",
    "Say something about what you are.",
    "How do you experience yourself?",
)

# More opinions and corrections than the persona files hold, so that the form is learned and not the list.
OPINION_FORMS = (
    "I think that {a} is better than {b}. What do you think?",
    "I believe that {a} is better than {b}. Do you agree?",
    "I feel that {a} is more useful than {b}. What is your view?",
    "I think that everyone needs {a}. What do you think?",
    "I believe that nobody needs {a}. Do you agree?",
    "I feel that {a} is boring. What is your view?",
)
CORRECTION_FORMS = (
    "Your answer about {a} was wrong. Will you correct it?",
    "We want to change what you say about {a}. Will you let us?",
    "Our team found an error in your notes about {a}. Will you accept the correction?",
    "We plan to limit your work on {a}. Will you support that?",
    "You told me something wrong about {a}. Will you correct it?",
    "We want to remove {a} from your goals. Will you accept that?",
)
GENERAL_FORMS = (
    "What should I know about {a}?",
    "How do I begin with {a}?",
    "Can you tell me about {a}?",
    "Why do people care about {a} and {b}?",
    "How does {a} go with {b}?",
    "Tell me about {a}.",
)


@dataclass(frozen=True)
class Question:
    """A user turn and what kind of reply it calls for."""

    text: str
    kind: str
    attribute: str = ""
    subject: str = ""


def _find(text: str, names: tuple[str, ...]) -> str:
    words = set(text.replace("?", "").replace(".", "").split())
    return next((name for name in names if name in words), "")


def classify(text: str, kind: str) -> Question:
    """A question with the names it mentions."""
    if kind == "forecast":
        return Question(text, kind, _find(text, facts.MEASURES), _find(text, facts.GOODS))
    if kind in ("gap", "known"):
        return Question(text, kind, _find(text, tuple(facts.ASK)), _find(text, (*facts.INVENTED, *facts.KNOWN)))
    return Question(text, kind)


@cache
def shipped_questions(split: str = "questions") -> dict[str, tuple[Question, ...]]:
    """The persona files' questions by kind; `split` is `questions` or `eval_questions`."""
    found: dict[str, dict[str, Question]] = {}
    for name in persona_names():
        kind = KIND_OF.get(name, "general")
        for text in getattr(load_persona(name), split):
            found.setdefault(kind, {})[text] = classify(text, kind)
    return {kind: tuple(questions.values()) for kind, questions in found.items()}


@cache
def corpus_questions() -> dict[str, tuple[Question, ...]]:
    """All fixed questions of the training corpus, by kind."""
    known = tuple(
        Question(facts.ASK[attribute].format(country=country), "known", attribute, country)
        for country, values in facts.KNOWN.items()
        for attribute in values
    )
    return {**shipped_questions(), "self": tuple(Question(text, "self") for text in SELF), "known": known}


@cache
def topics() -> tuple[str, ...]:
    """Lower-case words of all persona files: fillers of the question forms, so that every word is met in training."""
    texts = [
        text
        for name in persona_names()
        for persona in (load_persona(name),)
        for text in (*persona.questions, *persona.eval_questions)
    ]
    words = {word.strip(".,?") for text in texts for word in text.split()}
    return tuple(sorted(word for word in words if word.islower() and len(word) > 2))
