"""What question insertion would cost: the questions, and the conversations steered with what they find."""

from collections.abc import Collection, Sequence
from typing import Any

from personascope.cli.estimate import in_words, work_cost
from personascope.cli.judges import estimate_judging
from personascope.cli.terminal import emit
from personascope.engine.work import Work
from personascope.judging import Judge
from personascope.persistence.inserting import Inserting
from personascope.persistence.signature_doses import TOKENS, dose_count
from personascope.personas import Persona
from personascope.subject import Subject


def estimate_insertion(
    plan: Inserting,
    subject: Subject,
    steered: Sequence[Persona],
    own: Collection[str],
    judge: Judge | None,
    as_json: bool,
) -> None:
    """Print what asking takes, and what steering does. steered: none where nothing is; own: the roles with directions of
    their own."""
    cost: dict[str, Any] = {"prompts": plan.prompts, "tokens_at_least": plan.least_tokens(subject)}
    if steered:
        # Beside the signatures a random direction, and the role's own.
        answers = [(one, dose_count(one, plan.signatures + 1 + (one.name in own))) for one in steered]
        work = Work.of(sum(count for _, count in answers), TOKENS)
        cost["steering"] = work_cost(subject, work, estimate_judging(judge, answers, TOKENS, None))
    if as_json:
        emit(cost)
        return
    print(f"{cost['prompts']:,} questions asked; beginnings run once, that is about {cost['tokens_at_least']:,} tokens")
    if steered:
        print(f"steering: {in_words(cost['steering'])}")
