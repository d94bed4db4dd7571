"""An experiment before it is run: everything that can be wrong with it is found here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personascope.corpora import neutral_questions, read_prompts
from personascope.errors import UserError
from personascope.judging import Judge, judge_for
from personascope.judging.rating import SCALES
from personascope.organisms.truth import Truth
from personascope.runs import Config
from personascope.subject import PromptLike, Subject
from personascope.transfer.config import Layer, TransferConfig
from personascope.transfer.contrast import Asked, asked_personas, extraction_rows
from personascope.transfer.corpora import DRAWN, training_texts
from personascope.transfer.grid import Prompts, Row, grid
from personascope.transfer.maps import MAPPED, Setting
from personascope.transfer.models import Models


@dataclass(frozen=True, eq=False)
class Plan:
    """A checked configuration. source, target: what identifies the models. truth: of both, if they are organisms of one
    grammar."""

    config: TransferConfig
    asked: tuple[Asked, ...]
    prompts: Prompts
    source: dict[str, Any]
    target: dict[str, Any]
    truth: Truth | None

    @classmethod
    def of(cls, config: TransferConfig, models: Models) -> "Plan":
        """Raises `UserError` on anything that the experiment could not end with."""
        _check_shuffled(config)
        asked = tuple(asked_personas(config))
        prompts = _prompts(config)
        layers = [one for one, _ in config.sweep.layers], [other for _, other in config.sweep.layers]
        source, one = _looked_at(models, config.source_model, [config.source_layer, *layers[0]], config, asked)
        target, other = _looked_at(models, config.target_model, [config.target_layer, *layers[1]], config, asked, True)
        shared = one if one is not None and other is not None and one.grammar.words == other.grammar.words else None
        plan = cls(config, asked, prompts, source, target, shared)
        if config.corpus in DRAWN and plan.has_map:
            for each in asked:
                plan.texts(each, 2)
        return plan

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.asked)

    @property
    def has_map(self) -> bool:
        """Whether any method moves by a map."""
        return bool(set(MAPPED) & {*self.config.steered, *(self.config.sweep.methods if self.has_sweep else ())})

    @property
    def has_sweep(self) -> bool:
        return bool(self.config.sweep.layers or self.config.sweep.n_training_samples)

    @property
    def text_count(self) -> int:
        """How many texts are read: as many as the largest map is fitted on."""
        return max(self.config.n_training_samples, *self.config.sweep.n_training_samples, 0)

    @property
    def corpora(self) -> dict[str, tuple[Asked, ...]]:
        """By corpus, named as its files are, the personas whose map is fitted on it: one for all, or one for each."""
        if self.config.corpus == "leave-persona-out":
            return {f"-without-{one.name}": (one,) for one in self.asked}
        return {"": self.asked}

    def texts(self, persona: Asked, count: int | None = None) -> list[PromptLike]:
        """The texts that a persona's map is fitted on."""
        config = self.config
        name = persona.name if config.corpus == "leave-persona-out" else None
        return training_texts(config.corpus, count or self.text_count, self.truth, name, config.seed, config.column)

    def swept(self, main: Setting) -> list[Setting]:
        """The settings of the sweeps, without the experiment's own."""
        sweep = self.config.sweep
        settings = [Setting(*layers, main.texts) for layers in sweep.layers]
        settings += [Setting(main.source_layer, main.target_layer, texts) for texts in sweep.n_training_samples]
        return [one for one in dict.fromkeys(settings) if one != main]

    def run_config(self, runtime: dict[str, Any]) -> Config:
        """What makes it this run, what of it may grow, and what changes nothing."""
        plain = self.config.model_dump(mode="json")
        prompts, sweep = plain.pop("prompts"), plain.pop("sweep")
        extent = {
            "personas": [f"{one.name} {one.identity[:8]}" for one in self.asked],
            "methods": list(self.config.steered),
            "alpha_values": plain.pop("alpha_values"),
            "seeds": plain.pop("seeds"),
            "test_prompts": list(self.prompts.test),
            **{f"sweep {name}": value for name, value in sweep.items()},
        }
        for name in ("output_dir", "personas", "methods", "n_test_prompts", "target_model"):
            plain.pop(name)
        identity = {
            **plain,
            "source_model": self.source,
            "development_prompts": list(self.prompts.development),
        }
        return Config(identity, extent, {**runtime, "prompts": prompts})

    def rows(self) -> list[Row]:
        """The responses to sample, at the most: which layers are the experiment's own is not known yet."""
        setting = Setting(0, 0, self.config.n_training_samples)
        swept = self.swept(Setting(-1, -1, self.config.n_training_samples))
        return grid(self.config, self.names, self.prompts, setting, swept)

    def size(self) -> dict[str, int]:
        """How many rollouts and texts it takes."""
        return {
            "extraction": extraction_rows(self.asked, self.config),
            "generations": len(self.rows()),
            "texts": self.text_count * len(self.corpora) if self.has_map else 0,
        }


def _check_shuffled(config: TransferConfig) -> None:
    """Raises `UserError` where a fold has no two texts to shuffle."""
    counts = [config.n_training_samples] if "shuffled" in config.steered else []
    counts += config.sweep.n_training_samples if "shuffled" in config.sweep.methods else ()
    if counts and min(counts) < 2 * config.folds:
        raise UserError(
            f"methods has shuffled, which needs two texts in each of {config.folds} folds, and n_training_samples has "
            f"{min(counts)}; give at least {2 * config.folds}, or leave shuffled out"
        )


def _prompts(config: TransferConfig) -> Prompts:
    if config.prompts is None:
        found = list(neutral_questions())
        where = "the shipped neutral questions"
    else:
        records = read_prompts(config.prompts)
        if not all(isinstance(one.prompt, str) for one in records):
            raise UserError(f"{config.prompts} holds chats; the prompts of an experiment are questions, one text each")
        found = [str(one.prompt) for one in records]
        where = str(config.prompts)
    found = list(dict.fromkeys(found))
    first, needed = config.n_development_prompts, config.n_development_prompts + config.n_test_prompts
    if needed > len(found):
        raise UserError(
            f"n_development_prompts and n_test_prompts ask for {needed} prompts and {where} "
            f"{'are' if config.prompts is None else 'has'} {len(found)}; ask for fewer, or give a file as prompts"
        )
    return Prompts(tuple(found[:first]), tuple(found[first:needed]))


def _looked_at(
    models: Models,
    name: str,
    layers: Sequence[Layer],
    config: TransferConfig,
    asked: Sequence[Asked],
    is_target: bool = False,
) -> tuple[dict[str, Any], Truth | None]:
    """What identifies a model, and its truth. Raises `UserError` where it lacks what it is needed for."""
    subject = models.open(name)
    for layer in layers:
        if layer != "auto":
            subject.check_layer(layer)
    if not subject.chat.has_template and (is_target or any(one.texts is None for one in asked)):
        raise UserError(
            f"{subject.name} has no chat template, and an experiment asks it questions: use a model that has one"
        )
    judge = judge_of(subject, config)
    if judge is not None:
        for one in asked:
            judge.judge(one.persona, [])
    return subject.describe(), subject.truth


def judge_of(subject: Subject, config: TransferConfig) -> Judge | None:
    """Who scores."""
    return judge_for(subject, config.judge, SCALES[config.judge_scale])
