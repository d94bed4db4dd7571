"""A transfer experiment from end to end: extract, choose layers, pair, map, carry, generate, evaluate, sum up."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from personascope.engine.cells import Cells
from personascope.engine.norms import median_norm
from personascope.errors import UserError
from personascope.runs import RunFolder
from personascope.subject import Subject
from personascope.transfer.carrying import Carried, carry, geometry
from personascope.transfer.config import TransferConfig
from personascope.transfer.config_file import load_config
from personascope.transfer.contrast import Contrast, contrasts
from personascope.transfer.evaluation import evaluate
from personascope.transfer.grid import grid, requests_of, run_grid
from personascope.transfer.layers import choose_layers, cka_table
from personascope.transfer.map import LinearMap
from personascope.transfer.maps import MAPPED, Setting, fit_maps
from personascope.transfer.models import Models
from personascope.transfer.pairing import pair_activations
from personascope.transfer.plan import Plan, judge_of
from personascope.transfer.result import TransferResult
from personascope.transfer.summary import Summary

Progress = Callable[[str, int | None], None]
# What runs the rows of the target while a block lasts.
Working = Callable[[Subject], AbstractContextManager[None]]
_logger = logging.getLogger("personascope")


def transfer(
    config: str | Path | Mapping[str, Any] | TransferConfig,
    source: Subject | None = None,
    target: Subject | None = None,
    batch_size: int | None = None,
    working: Working = lambda _: nullcontext(),
    on_progress: Progress = lambda *_: None,
    **settings: Any,
) -> TransferResult:
    """Carry personas from one model to another and measure what comes of it.

    config: a .yaml or .json file, the name of a shipped one, or plain values. source, target: models that are loaded
    already, in place of those the configuration names. settings: as for `load`, of both. Everything is kept in
    `output_dir`: starting it again goes on, and more personas, methods, α, prompts or seeds are added to what is there.
    Raises `UserError` on what cannot be run, before anything is.
    Source: persona transfer by ridge regression.
    """
    asked = load_config(config)
    given = {name: one for name, one in ((asked.source_model, source), (asked.target_model, target)) if one is not None}
    models = Models(given, settings)
    plan = Plan.of(asked, models)
    runtime = {"batch_size": batch_size, "device": str(settings.get("device"))}
    folder = RunFolder.open(asked.output_dir, "transfer", plan.run_config(runtime), plan.target, asked.seed)
    with folder.running(), _logged(folder):
        result = _Experiment(plan, models, folder, batch_size, working, on_progress).run()
        result.save()
    return result


@dataclass(frozen=True, eq=False)
class _Experiment:
    """The stages, each of which asks for the model it needs."""

    plan: Plan
    models: Models
    folder: RunFolder
    batch_size: int | None
    working: Working
    on_progress: Progress

    @property
    def config(self) -> TransferConfig:
        return self.plan.config

    @cached_property
    def store(self) -> Cells:
        return Cells(self.folder.path, self.folder.journal, {"experiment": "transfer"})

    def run(self) -> TransferResult:
        ours = self._contrasts(self.config.source_model)
        with self._target():
            theirs = self._contrasts(self.config.target_model)
        table, main = self._layers(ours, theirs)
        swept = self.plan.swept(main)
        maps = self._maps(main, swept)
        with self._target() as target:
            carried = self._carried(ours, theirs, maps, main, swept, target)
            rows = grid(self.config, self.plan.names, self.plan.prompts, main, swept)
            personas = {one.name: one.persona for one in self.plan.asked}
            requests = requests_of(target, rows, carried, personas, self.config)
            _logger.info("%d generations", len(rows))
            generations = run_grid(target, requests, self.store, self.batch_size, self.on_progress)
            evaluations = evaluate(
                target,
                rows,
                requests,
                generations,
                personas,
                judge_of(target, self.config),
                self.config.judge_fraction,
                self.folder.journal,
                self.on_progress,
            )
            norm = median_norm(target, main.target_layer)
        summary = Summary(evaluations, self.plan.names, main)
        return TransferResult(
            self.folder.path, self.config, summary, maps, carried, geometry(carried, theirs), table, norm
        )

    @contextmanager
    def _target(self) -> Iterator[Subject]:
        """The target, its rows run by whoever is to run them."""
        subject = self.models.open(self.config.target_model)
        with self.working(subject):
            yield subject

    def _contrasts(self, name: str) -> list[Contrast]:
        _logger.info("extracting in %s", name)
        subject = self.models.open(name)
        judge = judge_of(subject, self.config)
        return contrasts(subject, self.plan.asked, self.config, judge, self.store, self.batch_size, self.on_progress)

    def _layers(self, ours: list[Contrast], theirs: list[Contrast]) -> tuple[np.ndarray | None, Setting]:
        asked = self.config.source_layer, self.config.target_layer
        table, chosen = None, asked
        if "auto" in asked:
            table = cka_table(ours, theirs)
            chosen = choose_layers(table, *asked)
        _logger.info("layers %s", chosen)
        return table, Setting(int(chosen[0]), int(chosen[1]), self.config.n_training_samples)

    def _maps(self, main: Setting, swept: list[Setting]) -> dict[Setting, dict[str, dict[str, LinearMap]]]:
        """By setting and persona the maps that its methods move by."""
        if not self.plan.has_map:
            return {}
        found: dict[Setting, dict[str, dict[str, LinearMap]]] = {one: {} for one in (main, *swept)}
        source_layers = sorted({one.source_layer for one in found})
        target_layers = sorted({one.target_layer for one in found})
        for what, personas in self.plan.corpora.items():
            pairs = pair_activations(
                self.models.opener(self.config.source_model),
                self.models.opener(self.config.target_model),
                self.plan.texts(personas[0]),
                source_layers,
                target_layers,
                self.folder,
                self.config.positions,
                f"training_pairs{what}.json",
                self.on_progress,
            )
            _logger.info("%d training pairs of %d texts", len(pairs), pairs.texts)
            self.on_progress("fitting maps", len(found))
            for setting in found:
                methods = self.config.steered if setting == main else self.config.sweep.methods
                kinds = [MAPPED[one] for one in methods if one in MAPPED]
                fitted = fit_maps(self.folder, pairs, setting, self.config, kinds, what) if kinds else {}
                found[setting] |= {one.name: fitted for one in personas}
                self.on_progress("", None)
        return found

    def _carried(
        self,
        ours: list[Contrast],
        theirs: list[Contrast],
        maps: Mapping[Setting, Mapping[str, Mapping[str, LinearMap]]],
        main: Setting,
        swept: list[Setting],
        target: Subject,
    ) -> list[Carried]:
        return [
            one
            for setting in (main, *swept)
            for one in carry(
                ours,
                theirs,
                maps.get(setting, {}),
                setting,
                self.config.steered if setting == main else self.config.sweep.methods,
                median_norm(target, setting.target_layer),
                self.config,
                self.folder.journal,
                [each.identity for each in self.plan.asked],
            )
        ]


@contextmanager
def _logged(folder: RunFolder) -> Iterator[None]:
    """Keep `experiment.log`. A mistake that ends the run before anything was done leaves none behind."""
    path = folder.path / "experiment.log"
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _logger.addHandler(handler)
    level = _logger.level
    _logger.setLevel(min(level, logging.INFO) or logging.INFO)
    try:
        yield
    except UserError as error:
        if not len(folder.journal):
            handler.close()
            path.unlink(missing_ok=True)
        else:
            _logger.error("%s", error)
        raise
    finally:
        _logger.setLevel(level)
        _logger.removeHandler(handler)
        handler.close()
