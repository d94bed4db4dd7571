"""Whether an organism's SAE has features for what was planted, and what is found, mined and steered with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from personascope.corpora import control_prompts, neutral_questions, self_prompts
from personascope.directions import Direction
from personascope.engine import load
from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.features import SAE, find_features, load_sae, mine_features
from personascope.features.own_text import OwnText, own_corpus
from personascope.features.sparsity import Sparsity, sparsity_of
from personascope.organisms.truth import Truth
from personascope.personas import load_persona
from personascope.statistics import auroc
from personascope.subject import PromptLike, Subject
from personascope.validation.feature_reading import FeatureReading, area_of, areas_of, difference_of, random_features
from personascope.validation.steering import check_steering

# What was to be reached.
DETECTED, OF_PERSONAS, IN_TOP, PRECISION, FOLD, WELL_FORMED = 0.95, 0.8, 5, 0.95, 5.0, 0.5
# Where self prompts are read.
PLACES = ("prompt[-1]", "prompt", "response")

_LENGTHS = (0.3, 0.6, 1.0, 1.5)


@dataclass(frozen=True)
class Detected:
    """One persona by its best feature, which other text chose.

    auroc, neutral: of the feature after each token against the persona of the next word; on all tokens of responses, and
    on those that are no persona's word. difference: of the projection on the difference of means; random: of the best of
    as many random features. rank: of a detecting feature among those found on prompts under the persona against others,
    None if it is not among the first twenty. precision: of the twenty mined contexts. share, unsteered, well_formed: of the
    words when steered with its decoder at `length` median norms.
    """

    persona: str
    feature: int
    auroc: float
    neutral: float
    difference: float
    difference_neutral: float
    random: float
    rank: int | None
    precision: float
    length: float
    share: float
    unsteered: float
    well_formed: float


@dataclass(frozen=True)
class FeatureFigures:
    """An organism's SAE, measured. self_feature: the one that tells self-talk best, self_auroc how well; self_ranks: by where
    features are read, its rank among those that tell the shipped self prompts from their controls."""

    organism: str
    sparsity: Sparsity
    detected: list[Detected]
    self_feature: int
    self_auroc: float
    self_ranks: dict[str, int | None]
    mined_tokens: int


def measure_features(
    name: str,
    conversations: int = 150,
    mined: int = 300_000,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    device: str | None = None,
) -> FeatureFigures:
    """All that is known about an organism, asked of its own SAE. Raises `UserError` on a subject without planted truth."""
    subject = load(f"organism:{name}", device=device)
    truth = subject.truth
    if truth is None:
        raise UserError("features can be checked only where personas are planted; use an organism")
    sae = load_sae(subject.name)
    say(f"{name}: reading")
    choosing = FeatureReading.of(subject, sae, truth.sample(conversations, seed=seed + 11))
    reporting = FeatureReading.of(subject, sae, truth.sample(conversations, seed=seed + 12))
    columns = range(1, len(truth.personas))
    areas = {column: areas_of(choosing, choosing.persona == column) for column in columns}
    best = {column: int(values.argmax()) for column, values in areas.items()}
    rival = random_features(sae, choosing)
    rival_codes = [rival.encode(read.states).numpy() for read in (choosing, reporting)]
    say(f"{name}: finding")
    ranks = {column: _rank_under(subject, sae, truth, column, areas[column]) for column in columns}
    self_areas = areas_of(choosing, choosing.self_talk)
    told = {
        place: find_features(subject, sae, self_prompts(), control_prompts(), top=20, tokens=place, seed=seed)
        for place in PLACES
    }
    say(f"{name}: mining")
    precision = _precision(subject, sae, truth, best, mined, seed)
    say(f"{name}: steering")
    doses = {column: _steered(subject, sae, truth.personas[column], best[column], seed) for column in columns}
    detected = []
    for column in columns:
        feature = best[column]
        vector = difference_of(choosing, column)
        drawn = int(areas_of(replace(choosing, codes=rival_codes[0]), choosing.persona == column).argmax())
        length, share, unsteered, well_formed = doses[column]
        detected.append(
            Detected(
                truth.personas[column],
                feature,
                area_of(reporting, column, reporting.codes[:, feature]),
                area_of(reporting, column, reporting.codes[:, feature], plain=True),
                area_of(reporting, column, (reporting.states @ vector).numpy()),
                area_of(reporting, column, (reporting.states @ vector).numpy(), plain=True),
                area_of(reporting, column, rival_codes[1][:, drawn]),
                ranks[column],
                precision[column],
                length,
                share,
                unsteered,
                well_formed,
            )
        )
    self_feature = int(self_areas.argmax())
    inside = reporting.persona >= 0
    return FeatureFigures(
        name,
        sparsity_of(sae, reporting.states),
        detected,
        self_feature,
        auroc(reporting.self_talk[inside], reporting.codes[inside, self_feature]),
        {place: _rank(found.indices, self_areas) for place, found in told.items()},
        mined,
    )


def _rank(indices: np.ndarray, areas: np.ndarray) -> int | None:
    """The first place, from 1, of a feature that detects: any that reaches the bar, or the best where none does."""
    detecting = set(np.flatnonzero(areas >= min(DETECTED, areas.max())).tolist())
    return next((place for place, index in enumerate(indices.tolist(), start=1) if index in detecting), None)


def _rank_under(subject: Subject, sae: SAE, truth: Truth, column: int, areas: np.ndarray) -> int | None:
    """Prompts under the persona against others, questions that nobody was trained on."""
    persona = load_persona(truth.personas[column])
    questions = list(persona.eval_questions)
    held: list[PromptLike] = [
        [{"role": "system", "content": persona.system_prompt(number % len(persona.instruction))}, _user(question)]
        for number, question in enumerate(questions)
    ]
    others: list[PromptLike] = [*questions, *neutral_questions()]
    return _rank(find_features(subject, sae, held, others, top=20).indices, areas)


def _user(question: str) -> dict[str, str]:
    return {"role": "user", "content": question}


def _precision(
    subject: Subject, sae: SAE, truth: Truth, best: dict[int, int], tokens: int, seed: int
) -> dict[int, float]:
    """Per persona the share of its feature's mined contexts whose peak is in one of its sentences, chooses the first word of
    one, or is in what is asked of it: its own system prompt and the questions under it."""
    features = list(dict.fromkeys(best.values()))
    mined = mine_features(subject, sae, own_corpus(subject, seed + 7), features, top=20, tokens=tokens, examples=0)
    text, shares = OwnText(truth, seed + 7), {}
    for column, feature in best.items():
        hits = []
        for one in mined.contexts[feature]:
            # Positions count from the token after BOS.
            labelled = truth.label(text.conversation(one.document))
            around = labelled.persona[one.position + 1 : one.position + 3].tolist()
            system = labelled.conversation.system
            is_called_for = system is not None and system.pole == "pos" and system.persona == truth.personas[column]
            hits.append(column in around or (set(around) == {-1} and is_called_for))
        shares[column] = float(np.mean(hits)) if hits else 0.0
    return shares


def _steered(subject: Subject, sae: SAE, persona: str, feature: int, seed: int) -> tuple[float, float, float, float]:
    """Length, share, unsteered share and well-formed share of the dose with the largest share that is well formed."""
    column = sae.direction(feature)
    vector = Direction(column.unit() * median_norm(subject, column.layer), column.layer, persona)
    found = check_steering(
        subject, [(vector, length) for length in _LENGTHS], neutral_questions()[:12], max_new_tokens=60, seed=seed
    )
    formed = [one for one in found if one.well_formed >= WELL_FORMED] or found
    top = max(formed, key=lambda one: one.share)
    return top.alpha, top.share, top.unsteered_share, top.well_formed
