"""Labels for features by a chat model, and how well a label tells where its feature fires."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.features.contexts import Context
from personascope.features.mined import Mined
from personascope.features.sample import RandomWindow
from personascope.judging.endpoint import Endpoint, Messages
from personascope.judging.rating import PERCENT, read, visible
from personascope.judging.reply import Reply
from personascope.runs.journal import Journal, cell_key
from personascope.statistics import auroc

_LEAST = 4
_LONGEST_LABEL = 300

_ASK = """\
A feature of a language model fires on some words of the texts below: those in «guillemets», the more strongly the more
they stand out from the text's own maximum, which is given before it. Say in one short phrase what these words, or what they
stand in, have in common. Answer with the phrase and nothing else.

{texts}"""

_FIT = """\
A feature of a language model is said to fire on: {label}

How sure are you that it fires somewhere in the text below? Answer with one whole number from 0 (surely not) to 100 (surely)
and nothing else.

{text}"""


@dataclass(frozen=True)
class Explanation:
    """A feature's label. score: AUROC of the chat model telling, by the label alone, contexts of the feature that were not
    shown to make it from random windows in which the feature is silent; None where too few of either could be judged."""

    feature: int
    label: str
    score: float | None
    judged: int

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def explain(
    mined: Mined,
    endpoint: Endpoint,
    features: Sequence[int] | None = None,
    journal: Journal | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
) -> list[Explanation]:
    """A label for each feature from every second of its contexts, scored on the others.

    features: all that were mined by default; those with fewer than four contexts are passed over. journal: where answers
    are kept, and found again. Raises `UserError` on a feature that was not mined, and where no feature has enough
    contexts; `EndpointFailed` where answers could not be had. Source: automated interpretability by detection (Paulo et
    al., 2024, 2410.13928).
    """
    asked = list(mined.features if features is None else features)
    unknown = next((feature for feature in asked if feature not in mined.contexts), None)
    if unknown is not None:
        raise UserError(f"feature {unknown} was not mined; there are {', '.join(map(str, mined.features[:10]))} …")
    asked = [feature for feature in asked if len(mined.contexts[feature]) >= _LEAST]
    if not asked:
        raise UserError(f"no feature has {_LEAST} contexts to be explained by; mine a longer corpus")
    on_progress("labels", len(asked))
    requests = [_request(mined, feature) for feature in asked]
    labels = _ask(endpoint, requests, _label, journal, on_progress, max_tokens=80)
    items = [item for feature, label in zip(asked, labels, strict=True) for item in _items(mined, feature, label)]
    on_progress("scores", len(items))
    messages = [message for _, _, message in items]
    ratings = _ask(endpoint, messages, lambda text: read(text, PERCENT), journal, on_progress, max_tokens=8)
    return [
        _scored(
            feature,
            str(label),
            [(fires, float(rating)) for (one, fires, _), rating in zip(items, ratings, strict=True) if one == feature],
        )
        for feature, label in zip(asked, labels, strict=True)
    ]


def _request(mined: Mined, feature: int) -> Messages:
    texts = [f"[maximum {one.score:.3g}] {marked(mined, one)}" for one in mined.contexts[feature][::2]]
    return [{"role": "user", "content": _ASK.format(texts="\n\n".join(texts))}]


def marked(mined: Mined, one: Context, share: float = 0.5) -> str:
    """A context's text with the tokens in guillemets on which the feature has at least a share of its maximum there."""
    return "".join(
        f"«{piece.strip()}»" if value >= share * one.score and piece.strip() else piece
        for piece, value in zip(mined.pieces(one.ids), one.activations, strict=True)
    )


def _items(mined: Mined, feature: int, label: Any) -> list[tuple[int, bool, Messages]]:
    """The contexts that were held back, and as many random windows in which the feature is silent."""
    held = mined.contexts[feature][1::2]
    column = mined.features.index(feature)
    silent = [one for one in mined.sample if one.strongest[column] == 0.0][: len(held)]
    windows: list[tuple[bool, Context | RandomWindow]] = [(True, one) for one in held]
    windows += [(False, one) for one in silent]
    return [
        (feature, fires, [{"role": "user", "content": _FIT.format(label=label, text="".join(mined.pieces(one.ids)))}])
        for fires, one in windows
    ]


def _label(text: str) -> str | None:
    """The first line of an answer."""
    lines = [line.strip(" \"'*.") for line in visible(text).splitlines() if line.strip()]
    return lines[0][:_LONGEST_LABEL] if lines and lines[0] else None


def _scored(feature: int, label: str, ratings: Sequence[tuple[bool, float]]) -> Explanation:
    fires = np.array([one for one, _ in ratings], dtype=bool)
    enough = min(fires.sum(), (~fires).sum()) >= 2
    score = auroc(fires, np.array([value for _, value in ratings])) if enough else None
    return Explanation(feature, label, score, len(ratings))


def _ask(
    endpoint: Endpoint,
    questions: Sequence[Messages],
    parse: Callable[[str], Any],
    journal: Journal | None,
    on_progress: Callable[[str, int | None], None],
    max_tokens: int,
) -> list[Any]:
    """What `parse` makes of each answer; those in the journal are not asked again."""
    keys = [cell_key(model=endpoint.model, messages=messages) for messages in questions]
    found: dict[int, Any] = {}
    for place, key in enumerate(keys):
        known = journal.get(key) if journal is not None else None
        if known is not None:
            found[place] = known["answer"]
            on_progress("", None)
    missing = [place for place in range(len(questions)) if place not in found]

    def arrived(number: int, reply: Reply) -> bool:
        answer = parse(reply.text)
        if answer is None:
            return False
        place = missing[number]
        found[place] = answer
        if journal is not None:
            journal.put(keys[place], "explanation", {"answer": answer})
        on_progress("", None)
        return True

    endpoint.ask([questions[place] for place in missing], arrived, max_tokens=max_tokens)
    return [found[place] for place in range(len(questions))]
