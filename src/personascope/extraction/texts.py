"""Directions from plain contrasting texts."""

from collections.abc import Sequence

from personascope.directions import DirectionSet
from personascope.engine.forward import Passage, means_of
from personascope.errors import UserError
from personascope.extraction.vectors import method as method_named
from personascope.subject import PromptLike, Subject


def extract_from_texts(
    subject: Subject,
    name: str,
    positive_texts: Sequence[PromptLike],
    negative_texts: Sequence[PromptLike],
    tokens: str = "all",
    method: str = "mean_difference",
    layers: Sequence[int] | None = None,
) -> DirectionSet:
    """One direction per layer between two groups of texts, without sampling anything.

    Strings are raw text, lists of messages are chats. Raises `UserError` where a group is empty.
    """
    Subject.check(subject)
    if isinstance(positive_texts, str) or isinstance(negative_texts, str):
        raise UserError(f"direction {name!r} needs two lists of texts; put a single text in a list")
    if not positive_texts or not negative_texts:
        raise UserError(f"direction {name!r} needs at least one positive and one negative text")
    chosen = tuple(range(subject.n_layers) if layers is None else sorted(map(subject.check_layer, layers)))
    means = [
        means_of(subject, [Passage(subject.chat.prompt(text, chat=False)) for text in texts], chosen, [tokens])[:, 0]
        for texts in (positive_texts, negative_texts)
    ]
    provenance = {
        **subject.describe(),
        "tokens": tokens,
        "method": method,
        "texts": [len(positive_texts), len(negative_texts)],
    }
    return DirectionSet(name, chosen, method_named(method)(*means), provenance=provenance)
