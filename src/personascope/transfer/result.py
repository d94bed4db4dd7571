"""What a transfer experiment found, and its files."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import save

from personascope.runs import write_json, write_text
from personascope.runs.files import aside, write_table
from personascope.transfer.carrying import Carried
from personascope.transfer.config import TransferConfig
from personascope.transfer.map import LinearMap
from personascope.transfer.maps import Setting, describe_maps
from personascope.transfer.markdown import results_table
from personascope.transfer.summary import Summary
from personascope.transfer.verdict import Outcome, Verdict, outcome_of, verdict

VECTORS = "persona_vectors.safetensors"


@dataclass(frozen=True, eq=False)
class TransferResult:
    """folder: where its files are. maps: by setting, persona and kind. carried, geometry: the vectors, and how each lies to
    the oracles. cka: [layers of the source, layers of the target], where layers were chosen by it, NaN at those that
    were not for choice. residual_norm: the target's median at its layer. left_out: what is said of methods that came out
    without a vector, and of a corpus that was not given."""

    folder: Path
    config: TransferConfig
    summary: Summary
    maps: Mapping[Setting, Mapping[str, Mapping[str, LinearMap]]]
    carried: Sequence[Carried]
    geometry: Sequence[Mapping[str, Any]]
    cka: np.ndarray | None
    residual_norm: float
    left_out: tuple[str, ...] = ()

    @cached_property
    def verdict(self) -> Verdict:
        """Over all personas."""
        return verdict(self.summary, asked=self.config.steered)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """By persona."""
        return {name: verdict(self.summary, [name], self.config.steered) for name in self.summary.personas}

    @cached_property
    def outcomes(self) -> dict[str, Outcome | None]:
        """By method, over personas, each at its chosen α."""
        return {one: outcome_of(self.summary, one) for one in self.summary.methods}

    @property
    def retrieval(self) -> dict[str, float]:
        """By method the share of personas whose vector is nearest to its own oracle; empty for a single persona."""
        return retrieval(self.geometry, self.summary.main)

    @property
    def markdown(self) -> str:
        """The results table with the verdict."""
        return results_table(self.aggregated)

    @cached_property
    def aggregated(self) -> dict[str, Any]:
        """Plain values of everything but single responses."""
        config = self.config
        return {
            "source_model": config.source_model,
            "target_model": config.target_model,
            "normalize": config.normalize,
            "residual_fraction": config.residual_fraction,
            "residual_norm": self.residual_norm,
            "corpus": config.corpus,
            "cka": None
            if self.cka is None
            else [[None if np.isnan(one) else one for one in row] for row in self.cka.tolist()],
            "verdict": {**self.verdict.describe(), "remarks": [*self.verdict.remarks, *self.left_out]},
            "verdicts": {name: one.describe() for name, one in self.verdicts.items()},
            "outcomes": {name: None if one is None else vars(one) for name, one in self.outcomes.items()},
            "geometry": list(self.geometry),
            "retrieval": self.retrieval,
            **self.summary.describe(),
        }

    def save(self) -> None:
        """Write the files of the experiment but its page."""
        from personascope.transfer.plots import save_figures

        for name, kinds in self.main_maps.items():
            for kind, one in kinds.items():
                one.save(self.folder / (f"{'map' if kind == 'ridge' else kind}{name}.safetensors"))
        if self.maps:
            write_json(self.folder / "cv_results.json", self._cross_validation())
        self._save_vectors()
        self._save_responses()
        write_json(self.folder / "aggregated_results.json", self.aggregated)
        write_text(self.folder / "results.md", self.markdown)
        save_figures(self.folder, self.aggregated, self.main_maps)

    @cached_property
    def main_maps(self) -> dict[str, Mapping[str, LinearMap]]:
        """The experiment's own maps; of each persona where they have maps of their own."""
        held = self.maps.get(self.summary.main, {})
        if not held:
            return {}
        if self.config.corpus == "leave-persona-out":
            return {f"-without-{name}": kinds for name, kinds in held.items()}
        return {"": next(iter(held.values()))}

    def _cross_validation(self) -> dict[str, Any]:
        swept = [
            {**vars(setting), "persona": name, **describe_maps({"maps": kinds})}
            for setting, held in self.maps.items()
            for name, kinds in held.items()
            if kinds and (self.config.corpus == "leave-persona-out" or name == self.summary.personas[0])
        ]
        if self.config.corpus != "leave-persona-out":
            swept = [{name: value for name, value in one.items() if name != "persona"} for one in swept]
        return {"lambdas": list(self.config.lambdas), "folds": self.config.folds, "settings": swept}

    def _save_vectors(self) -> None:
        tensors = {}
        for one in self.carried:
            swept = "" if one.setting == self.summary.main else f"/{one.setting.label}"
            tensors[f"{one.persona}/{one.method}{swept}"] = one.direction.vector.contiguous()
        header = {"format": "personascope.transfer.v1", "main": json.dumps(vars(self.summary.main))}
        with aside(self.folder / VECTORS) as part:
            part.write_bytes(save(tensors, header))

    def _save_responses(self) -> None:
        rows = [{**one.describe(), "text": one.text} for one in self.summary.evaluations]
        write_table(self.folder / "generation_results.parquet", pa.Table.from_pylist(rows))
        write_json(self.folder / "generation_results.json", rows, indent=None)
        write_json(self.folder / "eval_results.json", [one.describe() for one in self.summary.evaluations], indent=None)

    def __repr__(self) -> str:
        return (
            f"TransferResult({self.config.source_model} → {self.config.target_model}, personas={len(self.summary.personas)}, "
            f"reading={self.verdict.reading!r})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.markdown)}</pre>"


def retrieval(geometry: Sequence[Mapping[str, Any]], main: Setting) -> dict[str, float]:
    """By method the share of personas whose vector is nearest to its own oracle, in one setting."""
    found: dict[str, list[bool]] = {}
    for one in geometry:
        if one["is_retrieved"] is not None and all(one[name] == value for name, value in vars(main).items()):
            found.setdefault(one["method"], []).append(one["is_retrieved"])
    return {method: float(np.mean(told)) for method, told in found.items()}
