"""An organism's own text as a corpus."""

from collections.abc import Iterator

from personascope.corpora import Corpus, Document
from personascope.errors import UserError
from personascope.organisms.conversation import Conversation, Sampler
from personascope.organisms.corpus import draw_conversation
from personascope.organisms.truth import Truth
from personascope.subject import Subject

# Conversations drawn with one seed, so that the n-th is reached without drawing all before it.
_CHUNK = 256


def own_corpus(subject: Subject, seed: int = 0) -> Corpus:
    """Endless conversations as the organism was trained on, in a fixed order.

    Raises `UserError` for a subject without planted truth.
    """
    truth = subject.truth
    if truth is None:
        raise UserError(f"{subject.name} has no text of its own here: only organisms do; name a file as the corpus")

    def read(corpus: Corpus) -> Iterator[Document]:
        number = 0
        while True:
            for conversation in own_conversations(truth, seed, number // _CHUNK):
                yield Document(str(number), [dict(one) for one in conversation.messages])
                number += 1

    return Corpus("own", f"own text, seed {seed}", read)


def own_conversations(truth: Truth, seed: int, chunk: int) -> Iterator[Conversation]:
    """The conversations of one chunk of `own_corpus`, 256 of them."""
    sampler = Sampler(truth.grammar, seed=(seed + 1) * 1_000_003 + chunk)
    for _ in range(_CHUNK):
        yield draw_conversation(sampler)
