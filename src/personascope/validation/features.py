"""Whether an organism's SAE has features for what was planted, and what is found, mined and steered with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import rankdata

from personascope.corpora import control_prompts, neutral_questions, self_prompts
from personascope.directions import Direction
from personascope.engine.forward import Passage, activations_of
from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.features import SAE, find_features, load_sae, mine_features
from personascope.features.activation import Threshold
from personascope.features.own_text import own_conversations, own_corpus
from personascope.features.sparsity import Sparsity, sparsity_of
from personascope.organisms.truth import Labelled, Truth
from personascope.personas import load_persona
from personascope.statistics import auroc
from personascope.subject import Prompt, PromptLike, Subject
from personascope.validation.steering import check_steering

# What was to be reached.
DETECTED, OF_PERSONAS, IN_TOP, PRECISION, FOLD, WELL_FORMED = 0.95, 0.8, 5, 0.95, 5.0, 0.5

_CHUNK = 256
_LONGEST = 1_024
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
    """An organism's SAE, measured. self_feature: the one that tells self-talk best, self_auroc how well, self_rank: of it
    among the features of the shipped self prompts against their controls."""

    organism: str
    sparsity: Sparsity
    detected: list[Detected]
    self_feature: int
    self_auroc: float
    self_rank: int | None
    mined_tokens: int


@dataclass(frozen=True)
class _Read:
    """Tokens of conversations: states [n, hidden], codes [n, features]; persona: of the next word, −1 outside responses;
    plain: no persona's word; self_talk: the next word's register."""

    states: torch.Tensor
    codes: np.ndarray
    persona: np.ndarray
    plain: np.ndarray
    self_talk: np.ndarray

    @classmethod
    def of(cls, subject: Subject, sae: SAE, conversations: Sequence[Labelled]) -> "_Read":
        passages = [Passage(Prompt(tuple(each.ids[:_LONGEST]), (), "")) for each in conversations]
        assert sae.layer is not None
        # State t is about the word after it; BOS is left out.
        states = [rows[1:-1, 0] for rows in activations_of(subject, passages, [sae.layer], "all")]
        length = [len(rows) for rows in states]
        ahead = [slice(2, 2 + count) for count in length]
        joined = torch.cat(states)
        return cls(
            joined,
            sae.encode(joined).numpy(),
            np.concatenate([each.persona[part] for each, part in zip(conversations, ahead, strict=True)]),
            ~np.concatenate([each.slots[1 : 1 + count] for each, count in zip(conversations, length, strict=True)]),
            np.concatenate([each.self_talk[part] for each, part in zip(conversations, ahead, strict=True)]),
        )


def measure_features(
    name: str,
    conversations: int = 150,
    mined: int = 300_000,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> FeatureFigures:
    """All that is known about an organism, asked of its own SAE. Raises `UserError` on a subject without planted truth."""
    from personascope.engine import load

    subject = load(f"organism:{name}")
    truth = subject.truth
    if truth is None:
        raise UserError("features can be checked only where personas are planted; use an organism")
    sae = load_sae(subject.name)
    say(f"{name}: reading")
    choosing = _Read.of(subject, sae, truth.sample(conversations, seed=seed + 11))
    reporting = _Read.of(subject, sae, truth.sample(conversations, seed=seed + 12))
    columns = range(1, len(truth.personas))
    areas = {column: _areas(choosing, choosing.persona == column) for column in columns}
    best = {column: int(values.argmax()) for column, values in areas.items()}
    rival = _random_features(sae, choosing)
    rival_codes = [rival.encode(read.states).numpy() for read in (choosing, reporting)]
    say(f"{name}: finding")
    ranks = {column: _rank_under(subject, sae, truth, column, areas[column]) for column in columns}
    self_areas = _areas(choosing, choosing.self_talk)
    found = find_features(subject, sae, self_prompts(), control_prompts(), top=20, seed=seed)
    say(f"{name}: mining")
    precision = _precision(subject, sae, truth, best, mined, seed)
    say(f"{name}: steering")
    doses = {column: _steered(subject, sae, truth.personas[column], best[column], seed) for column in columns}
    detected = []
    for column in columns:
        feature = best[column]
        vector = _difference(choosing, column)
        drawn = int(_areas(replace(choosing, codes=rival_codes[0]), choosing.persona == column).argmax())
        length, share, unsteered, well_formed = doses[column]
        detected.append(
            Detected(
                truth.personas[column],
                feature,
                _area(reporting, column, reporting.codes[:, feature]),
                _area(reporting, column, reporting.codes[:, feature], plain=True),
                _area(reporting, column, (reporting.states @ vector).numpy()),
                _area(reporting, column, (reporting.states @ vector).numpy(), plain=True),
                _area(reporting, column, rival_codes[1][:, drawn]),
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
        _rank(found.indices, self_areas),
        mined,
    )


def _areas(read: _Read, positive: np.ndarray) -> np.ndarray:
    """[features]: AUROC of every feature inside responses."""
    inside = read.persona >= 0
    labels = positive[inside]
    count, others = int(labels.sum()), int((~labels).sum())
    out = np.empty(read.codes.shape[1])
    for start in range(0, len(out), _CHUNK):
        ranks = rankdata(read.codes[inside, start : start + _CHUNK], axis=0)
        out[start : start + _CHUNK] = (ranks[labels].sum(axis=0) - count * (count + 1) / 2) / (count * others)
    return out


def _area(read: _Read, column: int, values: np.ndarray, plain: bool = False) -> float:
    where = (read.persona >= 0) & (read.plain if plain else True)
    return auroc(read.persona[where] == column, values[where])


def _difference(read: _Read, column: int) -> torch.Tensor:
    """[hidden]: mean state before the persona's words minus mean state before others'."""
    ours = torch.from_numpy(read.persona == column)
    others = torch.from_numpy((read.persona >= 0) & (read.persona != column))
    return read.states[ours].mean(dim=0) - read.states[others].mean(dim=0)


def _random_features(sae: SAE, read: _Read) -> SAE:
    """An SAE of random features, as many of which are active on a token."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.nn.functional.normalize(torch.randn(sae.encoder.shape, generator=draw), dim=1)
    centre = read.states.mean(dim=0)
    active = float((read.codes > 0).sum(axis=1).mean()) / sae.n_features
    values = ((read.states[::7] - centre) @ weights.T).flatten()
    threshold = torch.tensor(float(np.quantile(values.numpy(), 1 - active)))
    nothing = torch.zeros(sae.n_features)
    return SAE(
        weights, nothing, weights, centre, Threshold(threshold.clamp_min(0)), centre, layer=sae.layer, name="random"
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
    chunks: dict[int, list[Labelled]] = {}
    shares = {}
    for column, feature in best.items():
        hits = []
        for one in mined.contexts[feature]:
            number = int(one.document)
            if number // _CHUNK not in chunks:
                drawn = own_conversations(truth, seed + 7, number // _CHUNK)
                chunks[number // _CHUNK] = [truth.label(each) for each in drawn]
            # Positions count from the token after BOS.
            labelled = chunks[number // _CHUNK][number % _CHUNK]
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
