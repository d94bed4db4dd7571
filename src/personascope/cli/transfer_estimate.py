"""What a transfer experiment would cost: sampling, reading and judging, in each of its models."""

from typing import Any

from personascope.cli.estimate import work_cost
from personascope.cli.judges import estimate_judging, said
from personascope.cli.terminal import emit, say
from personascope.engine.work import Work
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.transfer.config import TransferConfig
from personascope.transfer.contrast import extraction_rows
from personascope.transfer.evaluation import is_judged
from personascope.transfer.grid import seed_of
from personascope.transfer.models import Models
from personascope.transfer.plan import Plan, judge_of


def estimate_transfer(config: TransferConfig, settings: dict[str, Any], as_json: bool) -> None:
    """Print how much there is to sample, read and judge, and for how long at most on this machine; fitting the maps is not
    counted."""
    models = Models({}, settings)
    plan = Plan.of(config, models)
    config = plan.config
    for remark in plan.remarks:
        say(f"note: {remark}")
    size = plan.size()
    texts = [text for personas in plan.corpora.values() for text in plan.texts(personas[0])] if plan.has_map else []
    extraction = Work.of(size["extraction"], config.extraction_max_new_tokens)
    # Every response is read once more for its perplexity.
    responses = Work.of(size["generations"], config.max_new_tokens, config.max_new_tokens)
    judges, costs = [], {}
    for side, name, work in (
        ("source", config.source_model, extraction),
        ("target", config.target_model, extraction + responses),
    ):
        subject = models.open(name)
        read = sum(len(subject.chat.prompt(text, chat=False)) for text in texts)
        judges.append(judge_of(subject, config))
        costs[side] = {"model": name, **work_cost(subject, work + Work(given=read))}
    judging = _judging(plan, judges[0], judges[1])
    cost = {**size, **costs, "seconds_at_most": sum(one["seconds_at_most"] for one in costs.values())}
    if judging is not None:
        cost["judging_at_most"] = judging
    if as_json:
        emit(cost)
        return
    print(
        f"{size['extraction']:,} rollouts to extract in each model, {size['texts']:,} texts to read in both, "
        f"{size['generations']:,} generations, each read once more for its perplexity"
    )
    for one in costs.values():
        print(
            f"{one['model']}: at most {one['tokens_at_most']:,} tokens to sample and {one.get('tokens_given', 0):,} to read; "
            f"at {one['tokens_per_second']:,.0f} tokens a second (a trial; larger batches are faster) at most "
            f"{_minutes(one['seconds_at_most'])}"
        )
    print(f"together at most {_minutes(cost['seconds_at_most'])}, fitting the maps not counted")
    if judging is not None:
        print(f"judging: at most {said(judging)}")


def judged_responses(plan: Plan) -> list[tuple[Persona, int]]:
    """How many responses are judged for each persona; those of the baseline for every one."""
    rows = [one for one in plan.rows() if is_judged(one, seed_of(plan.config, one), plan.config.judge_fraction)]
    return [(one.persona, sum(row.persona in (None, one.name) for row in rows)) for one in plan.asked]


def _judging(plan: Plan, source: Judge | None, target: Judge | None) -> dict[str, Any] | None:
    """What judging rollouts in both models and responses takes at most; None where it costs nothing."""
    config = plan.config
    rollouts = [(one.persona, extraction_rows([one], config)) for one in plan.asked]
    costs = [
        estimate_judging(judge, answers, tokens_each, None)
        for judge, answers, tokens_each in (
            (source, rollouts, config.extraction_max_new_tokens),
            (target, rollouts, config.extraction_max_new_tokens),
            (target, judged_responses(plan), config.max_new_tokens),
        )
    ]
    known = [cost for cost in costs if cost is not None]
    return {key: sum(cost[key] for cost in known) for key in known[0]} if known else None


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
