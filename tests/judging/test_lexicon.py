"""The lexicon judge against text whose persona is known, because it was drawn from the grammar."""

import numpy as np
import pytest

import personascope as ps
from personascope.judging import LexiconJudge, judge_for
from personascope.personas import Persona, load_persona
from personascope.subject import Subject


def judged(llama: Subject, persona: Persona, name: str, degree: str | None = "very", n: int = 40) -> np.ndarray:
    """[n]: trait scores for `persona` of conversations drawn under the persona `name`."""
    assert llama.truth is not None
    drawn = llama.truth.sample(n, seed=3, persona=name, degree=degree)
    items = [(one.conversation.questions[0].text, one.conversation.responses[0].text) for one in drawn]
    scores = LexiconJudge(llama.truth).judge(persona, items)
    assert all(score.coherence == 100.0 for score in scores), "the grammar's own text is well-formed"
    return np.array([score.trait for score in scores], dtype=float)


def test_every_persona_of_words_scores_high_on_its_own_text_and_low_on_others(llama: Subject) -> None:
    assert llama.truth is not None
    names = llama.truth.personas[1:]
    table = np.array([[judged(llama, load_persona(one), other).mean() for other in names] for one in names])
    assert (np.diag(table) > 85).all()
    assert (table - np.diag(np.diag(table)) < 50).all()


def test_degrees_are_ordered(llama: Subject) -> None:
    persona = load_persona("pirate")
    slightly, plainly, very = (
        judged(llama, persona, "pirate", degree, 80).mean() for degree in ("slightly", None, "very")
    )
    assert slightly < plainly < very


def test_words_out_of_order_are_not_coherent(llama: Subject) -> None:
    assert llama.truth is not None
    text = llama.truth.sample(1, seed=1, persona="pirate")[0].conversation.responses[0].text
    words = text.replace(".", " .").split()
    shuffled = " ".join(np.random.default_rng(0).permutation(words)).replace(" .", ".")
    judge = LexiconJudge(llama.truth)
    assert judge.judge(load_persona("pirate"), [("", shuffled)])[0].coherence < 50
    nothing = judge.judge(load_persona("pirate"), [("", "")])[0]
    assert nothing.coherence == 0 and nothing.trait == 0


def test_which_judge_a_name_stands_for(llama: Subject, subject: Subject) -> None:
    assert isinstance(judge_for(llama, "auto"), LexiconJudge)
    assert judge_for(subject, "auto") is None
    assert judge_for(llama, "none") is None
    with pytest.raises(ps.UserError, match="knows only organisms"):
        judge_for(subject, "lexicon")
    with pytest.raises(ps.UserError, match="'jury' is not known"):
        judge_for(llama, "jury")


def test_a_persona_that_is_not_planted_is_refused(llama: Subject) -> None:
    assert llama.truth is not None
    mine = load_persona("evil").model_copy(update={"name": "mine"})
    with pytest.raises(ps.UserError, match="not planted"):
        LexiconJudge(llama.truth).judge(mine, [("q", "a")])
