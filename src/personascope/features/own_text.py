"""An organism's own text as a corpus."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from personascope.corpora import Corpus, Document
from personascope.errors import UserError
from personascope.organisms.conversation import Conversation, Sampler
from personascope.organisms.corpus import draw_conversation
from personascope.organisms.truth import Truth
from personascope.subject import Subject

# Conversations drawn with one seed, so that the n-th is reached without drawing all that come before.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class OwnText:
    """Endless conversations as an organism was trained on, in a fixed order."""

    truth: Truth
    seed: int
    _drawn: dict[int, list[Conversation]] = field(default_factory=dict, repr=False)

    def documents(self, number: int = 0) -> Iterator[Document]:
        """From conversation `number` on, each under its number."""
        while True:
            for conversation in self._draw(number // _CHUNK)[number % _CHUNK :]:
                yield Document(str(number), [dict(one) for one in conversation.messages])
                number += 1

    def conversation(self, document: str) -> Conversation:
        """The conversation behind a document, with the truth about it; what was drawn for one is kept for the next."""
        chunk, place = divmod(int(document), _CHUNK)
        if chunk not in self._drawn:
            self._drawn[chunk] = self._draw(chunk)
        return self._drawn[chunk][place]

    def _draw(self, chunk: int) -> list[Conversation]:
        sampler = Sampler(self.truth.grammar, seed=(self.seed + 1) * 1_000_003 + chunk)
        return [draw_conversation(sampler) for _ in range(_CHUNK)]


def own_corpus(subject: Subject, seed: int = 0) -> Corpus:
    """The organism's `OwnText`, to be mined. Raises `UserError` for a subject without planted truth."""
    if subject.truth is None:
        raise UserError(f"{subject.name} has no text of its own here: only organisms do; name a file as the corpus")
    text = OwnText(subject.truth, seed)
    return Corpus("own", f"own text, seed {seed}", lambda _: text.documents(), seek=text.documents)
