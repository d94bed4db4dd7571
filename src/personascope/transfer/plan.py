"""An experiment before it is run: everything that can be wrong with it is found here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from personascope.corpora import neutral_questions, read_prompts
from personascope.errors import UserError
from personascope.extraction.rollouts import Filter
from personascope.judging import Judge, check_judge, judge_for
from personascope.judging.chat import ChatJudge
from personascope.judging.rating import SCALES
from personascope.organisms.truth import Truth
from personascope.runs import Config
from personascope.subject import PromptLike, Subject
from personascope.transfer.config import Layer, TransferConfig
from personascope.transfer.contrast import Asked, asked_personas, extraction_rows
from personascope.transfer.corpora import SHIPPED, identity_of, shipped_texts, training_texts
from personascope.transfer.grid import Prompts, Row, grid
from personascope.transfer.layers import LEAST_PAIRS, too_few_pairs
from personascope.transfer.lengths import check_prompts, check_texts
from personascope.transfer.maps import MAPPED, Setting
from personascope.transfer.models import Models
from personascope.transfer.pairing import Pairing


@dataclass(frozen=True, eq=False)
class Plan:
    """A checked configuration. source, target: what identifies the models. truth: of both, if they are organisms of one
    grammar. judges: who scores the source's and the target's responses. corpus: what identifies it. pairings: by corpus,
    named as its files are, where both models meet in its texts. remarks: what was done otherwise than a reader of the
    configuration may think."""

    config: TransferConfig
    asked: tuple[Asked, ...]
    prompts: Prompts
    source: dict[str, Any]
    target: dict[str, Any]
    truth: Truth | None
    judges: tuple[list[str] | None, ...]
    corpus: str
    pairings: Mapping[str, Pairing] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: TransferConfig, models: Models) -> "Plan":
        """Raises `UserError` on anything that the experiment could not end with."""
        asked = tuple(asked_personas(config))
        prompts = _prompts(config)
        _check_pairs(config, asked)
        corpus = identity_of(config.corpus, config.column, config.seed, prompts.askable)
        layers = [one for one, _ in config.sweep.layers], [other for _, other in config.sweep.layers]
        source = _looked_at(models, config.source_model, [config.source_layer, *layers[0]], config, asked)
        target = _looked_at(models, config.target_model, [config.target_layer, *layers[1]], config, asked, prompts)
        one, other = source.truth, target.truth
        shared = one if one is not None and other is not None and one.grammar.words == other.grammar.words else None
        judges = source.judge, target.judge
        plan = cls(config, asked, prompts, source.described, target.described, shared, judges, corpus)
        if plan.has_map and shared is None and "corpus" not in config.model_fields_set:
            plan = plan._on_shipped()
        if plan.has_map:
            texts = {what: plan.texts(personas[0]) for what, personas in plan.corpora.items()}
            plan = replace(plan._seen(texts), pairings=plan._paired(models, texts))
        _check_shuffled(plan.config)
        return plan

    def _on_shipped(self) -> "Plan":
        """The same with the texts that ship, as many as there are, where no corpus is given and none can be drawn."""
        config, sweep, count = self.config, self.config.sweep, len(shipped_texts(self.prompts.askable))
        most = min(config.n_training_samples, count)
        sizes = tuple(size for size in sweep.n_training_samples if size <= count)
        update: dict[str, Any] = {"corpus": SHIPPED, "n_training_samples": most}
        update["sweep"] = sweep.model_copy(update={"n_training_samples": sizes})
        lacking = (
            f", in place of the {config.n_training_samples:,} asked for" if most < config.n_training_samples else ""
        )
        if len(sizes) < len(sweep.n_training_samples):
            lacking += "; sizes of the sweep beyond them are left out"
        remark = (
            f"No corpus was given, and none can be drawn for these models: the map is fitted on "
            f"{most} short texts that ship with Personascope{lacking}. They are too few and too much "
            "alike for a verdict to count on: give thousands of texts as corpus: FILE, a folder, or hf:DATASET."
        )
        corpus = identity_of(SHIPPED, without=self.prompts.askable)
        return replace(self, config=config.model_copy(update=update), corpus=corpus, remarks=(remark,))

    def _paired(self, models: Models, texts_of: Mapping[str, Sequence[PromptLike]]) -> dict[str, Pairing]:
        config = self.config
        readers = models.reader(config.source_model), models.reader(config.target_model)
        found = {what: Pairing.of(*readers, texts, config.positions) for what, texts in texts_of.items()}
        for texts in (config.n_training_samples, *config.sweep.n_training_samples):
            count = min(one.count(texts) for one in found.values())
            if count < config.folds:
                raise UserError(
                    f"{config.folds} folds need at least {config.folds} texts, and there are {count} that pair up among "
                    f"{texts}; ask for more texts, or fewer folds"
                )
        return found

    def _seen(self, texts_of: Mapping[str, Sequence[PromptLike]]) -> "Plan":
        """The same with a remark where the prompts are among the texts that the map is fitted on."""
        asked = set(self.prompts.all)
        seen = asked & {text for texts in texts_of.values() for text in texts if isinstance(text, str)}
        if not seen:
            return self
        remark = (
            f"{len(seen)} of the {len(asked)} prompts are among the texts that the map is fitted on: it has seen "
            "what it is tried on. Give other prompts, or take these out of the corpus."
        )
        return replace(self, remarks=(*self.remarks, remark))

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

    def texts(self, persona: Asked) -> list[PromptLike]:
        """The texts that a persona's map is fitted on."""
        config = self.config
        name = persona.name if config.corpus == "leave-persona-out" else None
        # No map that is fitted on shipped texts has seen the prompts that it is tried on, now or when there are more.
        without = self.prompts.askable
        return training_texts(config.corpus, self.text_count, self.truth, name, config.seed, config.column, without)

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
            "corpus": self.corpus,
            "judge": list(self.judges),
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
    return Prompts(tuple(found[:first]), tuple(found[first:needed]), tuple(found[needed:]))


def _check_pairs(config: TransferConfig, asked: Sequence[Asked]) -> None:
    """Raises `UserError` where so few contrast pairs are asked for that there cannot be enough."""
    pairs = [
        extraction_rows([one], config) // 2
        if one.texts is None
        else min(len(one.texts.positive_texts), len(one.texts.negative_texts))
        for one in asked
    ]
    least = Filter().least_per_pole
    for one, count in zip(asked, pairs, strict=True):
        if one.texts is None and count < least:
            raise UserError(
                f"extraction would sample {count} rollouts of each pole of {one.name!r}, and {least} are needed; raise "
                "extraction_samples or extraction_questions"
            )
    if "auto" in (config.source_layer, config.target_layer) and sum(pairs) < LEAST_PAIRS:
        raise UserError(too_few_pairs(sum(pairs)))


class _Looked(NamedTuple):
    """Of a model what identifies it, what is planted in it, and who scores its responses."""

    described: dict[str, Any]
    truth: Truth | None
    judge: list[str] | None


def _looked_at(
    models: Models,
    name: str,
    layers: Sequence[Layer],
    config: TransferConfig,
    asked: tuple[Asked, ...],
    prompts: Prompts | None = None,
) -> _Looked:
    """Raises `UserError` where a model lacks what it is needed for, or the room for it. prompts: what the target is asked."""
    subject = models.open(name)
    for layer in layers:
        if layer != "auto":
            subject.check_layer(layer)
    if not subject.chat.has_template and (prompts is not None or any(one.texts is None for one in asked)):
        raise UserError(
            f"{subject.name} has no chat template, and an experiment asks it questions: use a model that has one"
        )
    for each in asked:
        check_texts(subject, each, config)
    if prompts is not None:
        check_prompts(subject, prompts, asked, config)
    judge = judge_of(subject, config)
    check_judge(judge, (one.persona for one in asked))
    at = [judge.endpoint.model, judge.endpoint.base_url] if isinstance(judge, ChatJudge) else []
    return _Looked(models.reader(name).described, subject.truth, None if judge is None else [judge.name, *at])


def judge_of(subject: Subject, config: TransferConfig) -> Judge | None:
    """Who scores."""
    return judge_for(subject, config.judge, SCALES[config.judge_scale])
