"""What each response of an experiment is worth: trait, coherence, perplexity, repetition, length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.engine.cells import request_key
from personascope.engine.forward import Passage
from personascope.engine.rows import Generation, Request
from personascope.judging import Judge
from personascope.judging.perplexity import perplexities
from personascope.judging.rating import LIKERT
from personascope.judging.repetition import LOOP, repeated_share
from personascope.personas import Persona
from personascope.runs import Journal, cell_key
from personascope.subject import Subject
from personascope.transfer.grid import Row

# Journalled together; enough of them share a prompt.
_CHUNK = 1_024


@dataclass(frozen=True)
class Evaluation:
    """A response and its figures. persona: whom it was scored for; a baseline response is scored for each.

    trait, coherence: 0–100, None where nobody judged or could tell. perplexity: under the unsteered target after the
    question alone, None for an empty response. repeated: share of 4-grams of tokens that came before. share, well_formed:
    of an organism, exactly: the persona's share of the slot words, and that of sentences the grammar can make; None
    elsewhere.
    """

    row: Row
    persona: str
    text: str
    finish: str
    tokens: int
    trait: float | None
    coherence: float | None
    perplexity: float | None
    repeated: float
    share: float | None = None
    well_formed: float | None = None

    @property
    def is_collapsed(self) -> bool:
        """Whether more than half of its n-grams are repeated."""
        return self.repeated > LOOP

    def describe(self) -> dict[str, Any]:
        """Plain values, without the text; the persona is whom it was scored for."""
        own = {name: value for name, value in vars(self).items() if name not in ("row", "text")}
        return {**self.row.describe(), **own, "is_collapsed": self.is_collapsed}


def evaluate(
    subject: Subject,
    rows: Sequence[Row],
    requests: Sequence[Request],
    generations: Sequence[Generation],
    personas: Mapping[str, Persona],
    judge: Judge | None,
    judge_fraction: float,
    journal: Journal,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
) -> list[Evaluation]:
    """Every response, those of the baseline once for each persona; in the journal, and taken from there.

    judge_fraction: the share of responses to test prompts that is judged, the same ones in every condition; those to
    development prompts all are. A response that went non-finite is incoherent and shows nothing.
    """
    wanted = [(index, name) for index, row in enumerate(rows) for name in ([row.persona] if row.persona else personas)]
    judged_by = judge.name if judge is not None else None
    keys = [
        cell_key(
            evaluation=request_key(subject, requests[index], {}),
            persona=name,
            judge=judged_by if is_judged(rows[index], requests[index].seed, judge_fraction) else None,
        )
        for index, name in wanted
    ]
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        known = journal.get(key)
        if known is not None:
            found[key] = known
    missing = [place for place, key in enumerate(keys) if key not in found]
    # A chat judge is asked about one persona at a time.
    missing.sort(key=lambda place: (wanted[place][1], wanted[place][0]))
    on_progress("evaluating", len(missing))
    surprises: dict[int, float | None] = {}
    for start in range(0, len(missing), _CHUNK):
        chunk = missing[start : start + _CHUNK]
        fresh = list(dict.fromkeys(wanted[place][0] for place in chunk if wanted[place][0] not in surprises))
        # A system prompt would make its own responses likely.
        asked = {
            text: subject.chat.prompt([{"role": "user", "content": text}]) for text in {rows[i].prompt for i in fresh}
        }
        passages = [Passage(asked[rows[i].prompt], tuple(generations[i].response_ids)) for i in fresh]
        surprises |= dict(zip(fresh, perplexities(subject, passages), strict=True))
        scores = _scores(chunk, wanted, rows, requests, generations, personas, judge, judge_fraction, journal)
        for place in chunk:
            index, name = wanted[place]
            found[keys[place]] = {
                "perplexity": surprises[index],
                "repeated": repeated_share(generations[index].response_ids),
                **scores[place],
                **_truth(subject, name, generations[index]),
            }
            on_progress("", None)
        whole = [keys[place] for place in chunk if generations[wanted[place][0]].error is None]
        journal.put_all("evaluation", {key: found[key] for key in whole})
    return [
        Evaluation(
            rows[index],
            name,
            generations[index].text,
            generations[index].finish,
            len(generations[index].response_ids),
            **found[key],
        )
        for (index, name), key in zip(wanted, keys, strict=True)
    ]


def _scores(
    chunk: Sequence[int],
    wanted: Sequence[tuple[int, str]],
    rows: Sequence[Row],
    requests: Sequence[Request],
    generations: Sequence[Generation],
    personas: Mapping[str, Persona],
    judge: Judge | None,
    fraction: float,
    journal: Journal,
) -> dict[int, dict[str, float | None]]:
    scores: dict[int, dict[str, float | None]] = {place: {"trait": None, "coherence": None} for place in chunk}
    if judge is None:
        return scores
    for name in dict.fromkeys(wanted[place][1] for place in chunk):
        ours = [place for place in chunk if wanted[place][1] == name]
        ours = [place for place in ours if is_judged(rows[wanted[place][0]], requests[wanted[place][0]].seed, fraction)]
        broken = [place for place in ours if generations[wanted[place][0]].error is not None]
        whole = [place for place in ours if generations[wanted[place][0]].error is None]
        items = [(rows[wanted[place][0]].prompt, generations[wanted[place][0]].text) for place in whole]
        for place, one in zip(whole, judge.judge(personas[name], items, journal), strict=True):
            scores[place] = {"trait": one.trait, "coherence": one.coherence}
        scores |= {place: {"trait": 0.0, "coherence": 0.0} for place in broken}
    return scores


def is_judged(row: Row, seed: int, fraction: float) -> bool:
    """By the seed, which a prompt's responses have in common across conditions; α is chosen from all there is."""
    return row.part == "development" or seed % 10_000 < round(fraction * 10_000)


def _truth(subject: Subject, name: str, generation: Generation) -> dict[str, float | None]:
    truth = subject.truth
    if truth is None:
        return {}
    score = truth.score(generation.text)
    return {"share": score["shares"].get(name), "well_formed": score["well_formed"]}


def likert(percent: float) -> float:
    """0–100 as 1–5, the scale of the methodology."""
    return LIKERT.low + percent / 100 * (LIKERT.high - LIKERT.low)
