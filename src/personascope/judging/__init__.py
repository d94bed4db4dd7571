"""Scoring responses: how much of a persona they show, and how well they hold together."""

from personascope.judging.judge import Judge, Judgement, check_judge
from personascope.judging.lexicon import LexiconJudge
from personascope.judging.named import judge_for

__all__ = ["Judge", "Judgement", "LexiconJudge", "check_judge", "judge_for"]
