"""Which judge a name stands for."""

from collections.abc import Sequence
from pathlib import Path

from personascope.errors import UserError
from personascope.judging.chat import ChatJudge
from personascope.judging.judge import Judge
from personascope.judging.lexicon import LexiconJudge
from personascope.judging.rating import PERCENT, Scale
from personascope.organisms.truth import Truth
from personascope.personas import Persona, load_persona
from personascope.subject import Subject


def judge_for(
    subject: Subject,
    judge: str | Judge | None,
    scale: Scale = PERCENT,
    personas: Sequence[str | Path | Persona] = (),
) -> Judge | None:
    """The judge that `judge` stands for: `auto`, `lexicon`, `chat`, `chat:MODEL`, `none`, or a judge itself.

    `auto` is the lexicon judge on an organism and none elsewhere, nor where none of the personas is planted; `chat` asks the
    model that `PERSONASCOPE_JUDGE_MODEL` or the name itself says, on `scale`. Raises `UserError` on another name, where the
    lexicon judge is asked for a model whose personas are not planted, and where the environment says too little for a chat
    judge.
    """
    if judge is None or judge == "none":
        return None
    if not isinstance(judge, str):
        if not callable(getattr(judge, "judge", None)):
            raise UserError(
                f"judge={judge!r} is no judge; give 'auto', 'lexicon', 'chat', 'chat:MODEL', 'none' or a judge"
            )
        return judge
    if judge == "auto" and (subject.truth is None or _knows_none(subject.truth, personas)):
        return None
    if judge in ("auto", "lexicon"):
        if subject.truth is None:
            raise UserError(
                f"the lexicon judge knows only organisms; for {subject.name} use the judge 'chat' or 'none'"
            )
        return LexiconJudge(subject.truth)
    kind, _, model = judge.partition(":")
    if kind == "chat":
        # Imported here: the client of the judge's server takes a second to load, and most runs need none.
        from personascope.judging.endpoint import Endpoint

        return ChatJudge(Endpoint.from_environment(model or None), scale)
    raise UserError(f"judge {judge!r} is not known; use 'auto', 'lexicon', 'chat', 'chat:MODEL' or 'none'")


def _knows_none(truth: Truth, personas: Sequence[str | Path | Persona]) -> bool:
    """Whether there are personas and the organism has none of them."""
    names = {load_persona(one).name for one in personas}
    return bool(names) and not names & {*truth.personas, *truth.behaviours}
