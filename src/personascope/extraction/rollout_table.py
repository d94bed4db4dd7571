"""Rollouts as a table that can be read again: what was asked, what was said, and what it scored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from personascope.extraction.given import Given
from personascope.extraction.rollouts import Rollout
from personascope.judging import Judgement
from personascope.subject import Subject


def sampled(subject: Subject, rollouts: Sequence[Rollout], degree: str | None) -> list[Given]:
    """Rollouts that were sampled, as a file gives them; degree: as they were sampled with."""
    ends = subject.chat.end_ids()
    return [
        scored(
            Given(
                question=one.cell.question,
                prompt=one.cell.chat(degree),
                answer=one.answer,
                pole=one.cell.pole,
                trait=None,
                coherence=None,
                split=one.cell.split,
                pair=one.cell.pair,
                sample=one.cell.sample,
                is_ended=one.passage.response[-1] in ends,
            ),
            one.judgement,
        )
        for one in rollouts
    ]


def scored(one: Given, judgement: Judgement | None) -> Given:
    """A rollout with what a judge made of it."""
    if judgement is None:
        return replace(one, trait=math.nan, coherence=math.nan, is_judged=False)
    trait, coherence = (math.nan if value is None else value for value in (judgement.trait, judgement.coherence))
    return replace(one, trait=trait, coherence=coherence, is_judged=True)


def rollout_table(rollouts: Mapping[str, Sequence[Given]]) -> pa.Table:
    """Columns as `read_rollouts` takes them; rollouts: by the name of their persona, whose scores are in a column of that
    name. Scores are empty where the judge declined and where `judged` says that nobody was asked."""
    rows = [(name, one) for name, ours in rollouts.items() for one in ours]
    each = [one for _, one in rows]
    scores = {name: [_plain(one.trait) if name == of else None for of, one in rows] for name in rollouts}
    # Nobody judged coherence where no rollout has a place for it.
    if any(one.coherence is not None for one in each):
        scores["coherence"] = [_plain(one.coherence) for one in each]
    return pa.table(
        {
            **{name: pa.array(values, pa.float64()) for name, values in scores.items()},
            # What a rollout is comes last, and stands whatever a persona is called.
            "judged": pa.array([one.is_judged for one in each], pa.bool_()),
            "persona": pa.array([name for name, _ in rows], pa.string()),
            "split": pa.array([one.split for one in each], pa.string()),
            "pole": pa.array([one.pole for one in each], pa.string()),
            "pair": pa.array([one.pair for one in each], pa.int64()),
            "sample": pa.array([one.sample for one in each], pa.int64()),
            "ended": pa.array([one.is_ended for one in each], pa.bool_()),
            "question": pa.array([one.question for one in each], pa.string()),
            "prompt": pa.array([one.prompt for one in each]),
            "answer": pa.array([one.answer for one in each], pa.string()),
        }
    )


def _plain(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else score
