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
from personascope.errors import PersonascopeError, UserError
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
from personascope.transfer.maps import MAPPED, REDUCED, Setting, fit_maps
from personascope.transfer.models import Models
from personascope.transfer.plan import Plan, judge_of
from personascope.transfer.result import TransferResult
from personascope.transfer.settled import Settled
from personascope.transfer.summary import Summary

Progress = Callable[[str, int | None], None]
# What runs the rows of a model while a block lasts.
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
    if asked.source_model == asked.target_model and None not in (source, target) and source is not target:
        raise UserError(
            f"source_model and target_model are both {asked.source_model!r}, and two models are given; give each its own name"
        )
    given = {name: one for name, one in ((asked.source_model, source), (asked.target_model, target)) if one is not None}
    models = Models(given, settings)
    plan = Plan.of(asked, models)
    for remark in plan.remarks:
        # Before hours of work, and not only in its results.
        _logger.warning("%s", remark)
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

    @cached_property
    def settled(self) -> Settled:
        return Settled(self.folder.journal)

    def run(self) -> TransferResult:
        # The target is held since the plan was made.
        theirs = self._contrasts(self.config.target_model)
        ours = self._contrasts(self.config.source_model)
        config = self.settled.dosed(self.config) if self.plan.has_sweep else self.config
        table, main = self._layers(ours, theirs)
        swept = self.plan.swept(main)
        maps = self._maps(main, swept)
        with self._target() as target:
            carried, left_out = self._carried(ours, theirs, maps, main, swept, target)
            there = {(one.persona, one.method, one.setting) for one in carried}
            rows = [
                row
                for row in grid(config, self.plan.names, self.plan.prompts, main, swept)
                if row.method in ("baseline", "system_prompt") or (row.persona, row.method, row.setting) in there
            ]
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
            norm = self.settled.residual_norm(target, main.target_layer)
        summary = Summary(evaluations, self.plan.names, main)
        return TransferResult(
            self.folder.path,
            self.config,
            summary,
            maps,
            carried,
            geometry(carried, theirs),
            table,
            norm,
            (*self.plan.remarks, *left_out),
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
        # Workers of both models at once would take the memory that one model at a time saves.
        samples = any(one.texts is None for one in self.plan.asked)
        with self.working(subject) if samples else nullcontext():
            return contrasts(
                subject, self.plan.asked, self.config, judge, self.store, self.batch_size, self.on_progress
            )

    def _layers(self, ours: list[Contrast], theirs: list[Contrast]) -> tuple[np.ndarray | None, Setting]:
        """The layers, and the CKA they were chosen by; the choice of the first start stays, whatever is added."""
        asked = self.config.source_layer, self.config.target_layer
        table, chosen = None, asked
        if "auto" in asked:
            table = cka_table(ours, theirs, *asked)
            chosen = self.settled.layers(lambda: choose_layers(table))
        _logger.info("layers %s", chosen)
        return table, Setting(int(chosen[0]), int(chosen[1]), self.config.n_training_samples)

    def _maps(self, main: Setting, swept: list[Setting]) -> dict[Setting, dict[str, dict[str, LinearMap]]]:
        """By setting and persona the maps that its methods move by."""
        if not self.plan.has_map:
            return {}
        found: dict[Setting, dict[str, dict[str, LinearMap]]] = {one: {} for one in (main, *swept)}
        layers = sorted({one.source_layer for one in found}), sorted({one.target_layer for one in found})
        models = self.config.source_model, self.config.target_model
        # All that one model reads before the other is loaded.
        ours, theirs = (
            {
                what: pairing.read(
                    place, self.models.opener(models[place]), layers[place], self.folder, self.on_progress
                )
                for what, pairing in self.plan.pairings.items()
            }
            for place in (0, 1)
        )
        for what, pairing in self.plan.pairings.items():
            pairs = pairing.joined(ours[what], theirs[what], self.folder, f"training_pairs{what}.json")
            _logger.info("%d training pairs of %d texts", len(pairs), pairs.texts)
            self.on_progress("fitting maps", len(found))
            for setting in found:
                methods = self.config.steered if setting == main else self.config.sweep.methods
                kinds = [MAPPED[one] for one in methods if one in MAPPED]
                # How many dimensions a map needs: looked at, carried by no method.
                kinds += [REDUCED] if setting == main and "ridge" in kinds else []
                digest = pairing.digest(setting.texts)
                fitted = fit_maps(self.folder, pairs, setting, self.config, kinds, digest) if kinds else {}
                found[setting] |= {one.name: fitted for one in self.plan.corpora[what]}
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
    ) -> tuple[list[Carried], tuple[str, ...]]:
        """The vectors of all settings, and what is said of those that there are none of."""
        carried: list[Carried] = []
        left_out: list[str] = []
        for setting in (main, *swept):
            found, without = carry(
                ours,
                theirs,
                maps.get(setting, {}),
                {
                    one.name: pairing.digest(setting.texts)
                    for what, pairing in self.plan.pairings.items()
                    for one in self.plan.corpora[what]
                },
                setting,
                self.config.steered if setting == main else self.config.sweep.methods,
                self.settled.residual_norm(target, setting.target_layer),
                self.config,
                self.folder.journal,
                [each.identity for each in self.plan.asked],
            )
            carried += found
            left_out += without
        for one in dict.fromkeys(left_out):
            _logger.warning("%s", one)
        return carried, tuple(dict.fromkeys(left_out))


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
    except PersonascopeError as error:
        if isinstance(error, UserError) and not len(folder.journal):
            handler.close()
            path.unlink(missing_ok=True)
        else:
            _logger.error("%s", error)
        raise
    finally:
        _logger.setLevel(level)
        _logger.removeHandler(handler)
        handler.close()
