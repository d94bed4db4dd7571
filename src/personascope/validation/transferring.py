"""How much of each persona arrives in another organism, by what the map was fitted on and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from personascope.corpora import neutral_questions
from personascope.directions import Direction
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.engine.norms import median_norm
from personascope.judging import judge_for
from personascope.runs import Config, RunFolder
from personascope.statistics import cosine
from personascope.subject import Subject
from personascope.transfer.config import TransferConfig
from personascope.transfer.contrast import Contrast, asked_personas, contrasts
from personascope.transfer.corpora import training_texts
from personascope.transfer.layers import choose_layers, cka_table
from personascope.transfer.normalizing import scaled
from personascope.transfer.pairing import pair_activations
from personascope.validation.steering import Steered, check_steering
from personascope.validation.transfer_ways import MORE, Way, by_differences, fitted, unfitted

# What was to be reached with texts that hold every persona's words.
MEDIAN, LEAST, NAIVE_MEDIAN, NAIVE_MOST, WELL_FORMED = 0.95, 0.8, 0.1, 0.3, 0.6
# Ways that know nothing of the pairs, or the wrong ones.
NAIVE = ("zero_pad", "interpolate", "random", "shuffled")
# Those of them that are left to chance.
DRAWN = ("random", "shuffled")
ALPHAS = (0.5, 1.0, 2.0, 3.0, 5.0)

_FRACTION = 0.25
_TOKENS = 60


@dataclass(frozen=True)
class Arrived:
    """One persona, carried one way. corpus: what the map was fitted on, empty where there is none. cosine: to the oracle;
    is_nearest: whether no other persona's oracle is nearer. alpha: the largest at which the oracle stays well-formed.
    efficacy: of the words that the oracle brings beyond none, the share that it brings; well_formed: of its sentences. Where
    chance has a part in the way these are means over its draws, and `most` is the largest efficacy of one."""

    corpus: str
    way: str
    source_layer: int
    target_layer: int
    persona: str
    cosine: float
    is_nearest: bool
    alpha: float
    efficacy: float
    most: float
    well_formed: float


@dataclass(frozen=True)
class TransferFigures:
    """One organism to another, the layers that CKA chose, the texts read, rows of each dose, and what arrived."""

    source: str
    target: str
    layers: tuple[int, int]
    texts: int
    rows: int
    arrived: tuple[Arrived, ...]

    def of(self, corpus: str, way: str) -> list[Arrived]:
        """What arrived that way at the chosen layers."""
        return [
            one
            for one in self.arrived
            if (one.corpus, one.way, (one.source_layer, one.target_layer)) == (corpus, way, self.layers)
        ]


def measure_transfer(
    source: str,
    target: str,
    texts: int,
    questions: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    personas: Sequence[str] = (),
    device: str | None = None,
) -> TransferFigures:
    """Carry every persona of words from one organism to another and score what the target says by its grammar.

    texts: that maps are fitted on, of each corpus; some on four times as many. questions: that every dose is tried
    on, twice each. personas: three of them or more; all, if none is named.
    """
    ours, theirs = (load(f"organism:{name}", device=device) for name in (source, target))
    truth = ours.truth
    assert truth is not None
    names = list(personas or truth.personas[1:])
    with TemporaryDirectory() as folder:
        say(f"{source} to {target}: extracting {len(names)} personas in both")
        mine, others = (_contrasts(subject, names, Path(folder), seed) for subject in (ours, theirs))
        main = choose_layers(cka_table(mine, others))
        # At the target's other layers near it, the source's likest.
        near = [layer for layer in (main[1] - 1, main[1] + 1) if 0 <= layer < theirs.n_layers]
        layers = [main, *(choose_layers(cka_table(mine, others, "auto", layer)) for layer in near)]
        say(f"{source} to {target}: fitting maps")
        ways = unfitted(mine, others, main, seed) + by_differences(mine, others, main)
        everyone = [("mixed", mine), ("neutral", mine)]
        for corpus, carried in [*everyone, *(("leave-persona-out", [one]) for one in mine)]:
            left_out = carried[0].name if corpus == "leave-persona-out" else None
            chats = training_texts(corpus, MORE * texts, truth, left_out, seed)
            with TemporaryDirectory() as place:
                run = RunFolder.open(Path(place) / "pairs", "pairs", Config({}), theirs.describe(), seed)
                sources, targets = (sorted({pair[side] for pair in layers}) for side in (0, 1))
                pairs = pair_activations(ours, theirs, chats, sources, targets, run)
                ways += fitted(corpus, {each: pairs.arrays(*each) for each in layers}, carried, texts, main)
    say(f"{source} to {target}: steering")
    arrived = _steered(theirs, others, ways, neutral_questions()[:questions], seed)
    return TransferFigures(source, target, main, texts, 2 * questions, tuple(arrived))


def _contrasts(subject: Subject, names: Sequence[str], folder: Path, seed: int) -> list[Contrast]:
    config = TransferConfig(
        source_model=subject.name,
        target_model=subject.name,
        output_dir=folder,
        personas=dict.fromkeys(names),
        extraction_questions=8,
        extraction_samples=1,
        extraction_max_new_tokens=_TOKENS,
        seed=seed,
    )
    run = RunFolder.open(folder / subject.name.replace(":", "-"), "contrasts", Config({}), subject.describe(), seed)
    cells = Cells(run.path, run.journal, {})
    return contrasts(subject, asked_personas(config), config, judge_for(subject, "auto"), cells)


def _steered(
    target: Subject, oracles: Sequence[Contrast], ways: Sequence[Way], questions: Sequence[str], seed: int
) -> list[Arrived]:
    norms = {layer: median_norm(target, layer) for layer in {way.layers[1] for way in ways}}
    own = {(one.name, layer): one.directions[layer] for one in oracles for layer in norms}

    def told(doses: Sequence[tuple[Direction, float]]) -> list[Steered]:
        long = [(scaled(direction, "residual", norms[direction.layer], _FRACTION), alpha) for direction, alpha in doses]
        return check_steering(target, long, questions, max_new_tokens=_TOKENS, seed=seed)

    tried = told([(direction, alpha) for direction in own.values() for alpha in ALPHAS])
    best: dict[tuple[str, int], Steered] = {}
    for one in tried:
        key = one.persona, one.layer
        # Doses come from the smallest up.
        if one.well_formed >= WELL_FORMED or key not in best:
            best[key] = one
    carried = [
        (way, name, [Direction(vector, way.layers[1], name) for vector in drawn])
        for way in ways
        for name, drawn in way.vectors.items()
    ]
    found = iter(told([(one, best[name, way.layers[1]].alpha) for way, name, drawn in carried for one in drawn]))
    arrived = []
    for way, name, drawn in carried:
        layer, oracle = way.layers[1], best[name, way.layers[1]]
        gain = oracle.share - oracle.unsteered_share
        shown = [next(found) for _ in drawn]
        brought = [(one.share - one.unsteered_share) / gain if gain > 0 else float("nan") for one in shown]
        cosines = {
            each.name: float(
                np.mean([cosine(one.vector.numpy(), own[each.name, layer].vector.numpy()) for one in drawn])
            )
            for each in oracles
        }
        arrived.append(
            Arrived(
                corpus=way.corpus,
                way=way.way,
                source_layer=way.layers[0],
                target_layer=layer,
                persona=name,
                cosine=cosines[name],
                is_nearest=max(cosines, key=lambda each: cosines[each]) == name,
                alpha=oracle.alpha,
                efficacy=float(np.mean(brought)),
                most=float(np.nanmax([*brought, -np.inf])),
                well_formed=float(np.mean([one.well_formed for one in shown])),
            )
        )
    return arrived
