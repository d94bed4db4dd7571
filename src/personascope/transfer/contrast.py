"""A persona in one model: its direction at every layer, and the contrast pairs behind it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.forward import Passage, means_of
from personascope.errors import UserError
from personascope.extraction.quality import poles, split_half
from personascope.extraction.rollouts import SELECTIONS, Cell, Filter, Rollout, cells, judged, sample_rollouts
from personascope.extraction.splits import SPLITS, Split, split_persona
from personascope.extraction.texts import extract_from_texts
from personascope.extraction.vectors import method
from personascope.judging import Judge
from personascope.personas import InstructionPair, Persona, load_persona, persona_names
from personascope.runs import cell_key
from personascope.statistics import cosine
from personascope.subject import Subject
from personascope.transfer.config import PersonaDataset, TransferConfig

Progress = Callable[[str, int | None], None]


@dataclass(frozen=True, eq=False)
class Asked:
    """A persona that is carried. texts: what it is extracted from, None where that is its own rollouts."""

    persona: Persona
    texts: PersonaDataset | None

    @property
    def name(self) -> str:
        return self.persona.name

    @property
    def identity(self) -> str:
        """What it is, in a hash: another persona of the same name is another one."""
        texts = None if self.texts is None else self.texts.model_dump(mode="json")
        return cell_key(persona=self.persona.model_dump(mode="json"), texts=texts)


@dataclass(frozen=True, eq=False)
class Contrast:
    """directions: at every layer. matches: what each contrast pair is, the same in any model. differences: [pairs, layers,
    hidden], positive minus negative. ceilings: [layers], the cosine of two halves' directions; NaN where there are none."""

    name: str
    directions: DirectionSet
    matches: tuple[Hashable, ...]
    differences: Tensor
    ceilings: np.ndarray

    def few(self, pairs: int, layer: int, seed: int) -> Tensor:
        """[hidden]: the mean difference of so many pairs, the first ones of an order drawn by the seed."""
        if pairs > len(self.matches):
            raise UserError(
                f"{self.name!r} has {len(self.matches)} contrast pairs, and an oracle from {pairs} is asked for; leave it "
                "out of methods, or give more"
            )
        order = np.random.default_rng([seed, len(self.matches)]).permutation(len(self.matches))
        return self.differences[order[:pairs].tolist(), self.directions.layers.index(layer)].mean(dim=0)


def asked_personas(config: TransferConfig) -> list[Asked]:
    """The personas of a configuration. Raises `UserError` on one that is not known, cannot be split, or is not well named or
    described."""
    return [_asked(name, one) for name, one in config.personas.items()]


def _asked(name: str, one: PersonaDataset | str | None) -> Asked:
    try:
        if isinstance(one, PersonaDataset):
            return _by_texts(name, one)
        persona = load_persona(one or name)
        if one and Path(one).stem != name:
            persona = Persona.model_validate({**persona.model_dump(), "name": name})
    except ValidationError as error:
        raise UserError(f"persona {name!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    split_persona(persona)
    return Asked(persona, None)


def _by_texts(name: str, one: PersonaDataset) -> Asked:
    description = one.description.strip()
    if name in persona_names() and not description:
        return Asked(load_persona(name), one)
    asks = description or f"Answer as one who is {name.replace('_', ' ')} would."
    return Asked(
        Persona(
            name=name,
            description=description,
            positive_pole=description,
            instruction=(InstructionPair(pos=asks, neg="Answer plainly."),),
            questions=("What is a good question?",),
        ),
        one,
    )


def contrasts(
    subject: Subject,
    asked: Sequence[Asked],
    config: TransferConfig,
    judge: Judge | None,
    store: Cells,
    batch_size: int | None = None,
    on_progress: Progress = lambda *_: None,
) -> list[Contrast]:
    """Every persona in one model. Rollouts are rows of one stream, kept in the store; those count that show what they were
    asked for. Raises `UserError` where too few do."""
    wanted = [cell for one in asked for cell in extraction_cells(one, config)]
    rollouts: list[Rollout] = []
    if wanted:
        on_progress(f"sampling rollouts of {subject.name}", len(wanted))
        rollouts = sample_rollouts(
            subject,
            wanted,
            range(subject.n_layers),
            SELECTIONS,
            config.extraction_max_new_tokens,
            1.0,
            config.seed,
            batch_size,
            lambda: on_progress("", None),
            store,
        )
    return [
        _from_texts(subject, one, one.texts)
        if one.texts is not None
        else _from_rollouts(subject, one.persona, [r for r in rollouts if r.cell.persona is one.persona], judge, store)
        for one in asked
    ]


def extraction_rows(asked: Sequence[Asked], config: TransferConfig) -> int:
    """How many rollouts extraction samples in one model."""
    return sum(len(extraction_cells(one, config)) for one in asked)


def extraction_cells(asked: Asked, config: TransferConfig) -> list[Cell]:
    """What is sampled of a persona: the split that directions are made from. Nothing is chosen or reported here."""
    if asked.texts is not None:
        return []
    splits = dict.fromkeys(SPLITS, Split((), ()))
    splits["extract"] = split_persona(asked.persona, config.extraction_questions)["extract"]
    return list(cells(asked.persona, splits, config.extraction_samples))


def _from_rollouts(
    subject: Subject, persona: Persona, rollouts: Sequence[Rollout], judge: Judge | None, store: Cells
) -> Contrast:
    layers, place = range(subject.n_layers), SELECTIONS.index("response")
    kept = Filter().apply(judged(rollouts, persona, judge, journal=store.journal), persona, "extract")
    mean_difference = method("mean_difference")
    directions = DirectionSet(
        persona.name,
        tuple(layers),
        mean_difference(*poles(kept, place, False)),
        provenance={**subject.describe(), "persona": persona.name, "method": "mean_difference", "tokens": "response"},
    )
    by_pole = {(one.cell.pole, one.cell.match): one.means[:, place] for one in kept}
    matches = tuple(match for pole, match in by_pole if pole == "pos" and ("neg", match) in by_pole)
    pairs = [by_pole["pos", match] - by_pole["neg", match] for match in matches]
    return Contrast(
        persona.name,
        directions,
        matches,
        torch.stack(pairs) if pairs else torch.empty(0, *directions.vectors.shape),
        np.array(split_half(kept, place, mean_difference) or [np.nan] * len(layers)),
    )


def _from_texts(subject: Subject, asked: Asked, texts: PersonaDataset) -> Contrast:
    poles = texts.positive_texts, texts.negative_texts
    directions = extract_from_texts(subject, asked.name, *poles)
    pairs = min(map(len, poles))
    means = [
        means_of(subject, [Passage(subject.chat.raw(text)) for text in pole[:pairs]], directions.layers, ["all"])[:, 0]
        for pole in poles
    ]
    ceilings = np.full(len(directions.layers), np.nan)
    if pairs > 1:
        halves = [
            extract_from_texts(subject, asked.name, poles[0][start::2], poles[1][start::2]).vectors.numpy()
            for start in (0, 1)
        ]
        ceilings = np.array([cosine(one, other) for one, other in zip(*halves, strict=True)])
    return Contrast(asked.name, directions, tuple(range(pairs)), means[0] - means[1], ceilings)
