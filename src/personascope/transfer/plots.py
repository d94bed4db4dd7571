"""The figures of an experiment, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from personascope.runs.files import aside
from personascope.transfer.map import LinearMap
from personascope.transfer.maps import REDUCED
from personascope.transfer.summary import PRIMARY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 8.0, 4.5


def save_figures(folder: Path, found: Mapping[str, Any], maps: Mapping[str, Mapping[str, LinearMap]]) -> list[Path]:
    """`mapping_analysis.png`, and in `figures/` what `aggregated_results.json` gives: coherence against trait,
    dose–response, the ablations of layers and of training data."""
    drawn = [
        *[(folder / f"mapping_analysis{name}.png", mapping_analysis(kinds)) for name, kinds in maps.items()],
        (folder / "figures" / "coherence_vs_trait.png", coherence_vs_trait(found)),
        (folder / "figures" / "dose_response.png", dose_response(found)),
        (folder / "figures" / "layer_ablation.png", ablation(found, "layers")),
        (folder / "figures" / "training_ablation.png", ablation(found, "texts")),
    ]
    paths = []
    for path, figure in drawn:
        if figure is not None:
            with aside(path) as part:
                figure.savefig(part, format="png", dpi=150, bbox_inches="tight")
            paths.append(path)
    return paths


def mapping_analysis(kinds: Mapping[str, LinearMap]) -> "Figure | None":
    """Of the ridge map: held-out error by penalty, R² by principal components of the target, singular values; and R² of the
    map cut down to few dimensions, where it was."""
    ridge = kinds.get("ridge")
    if ridge is None:
        return None
    reduced = kinds.get(REDUCED)
    figure, axes = _figure(1, 3 if reduced is None else 4)
    axes[0].plot(ridge.lambdas, ridge.cv_error, "o-")
    axes[0].axvline(ridge.best_lambda, linestyle="--", color="grey")
    axes[0].set(
        xscale="log" if min(ridge.lambdas) > 0 else "symlog",
        xlabel="λ",
        ylabel="held-out squared error",
        title="penalty",
    )
    axes[0].ticklabel_format(axis="y", useOffset=False)
    bands = ridge.bands
    labels = [f"{band.first}–{band.last}" for band in bands]
    for name, values in (
        ("ridge", [band.r2 for band in bands]),
        ("shuffled pairs", [band.shuffled_r2 for band in bands]),
        ("random map", [band.random_r2 for band in bands]),
    ):
        axes[1].plot(labels, [max(-1.0, np.nan if one is None else one) for one in values], "o-", label=name)
    axes[1].set(xlabel="components of the target", ylabel="held-out R² (from −1)", title=f"R² = {ridge.r2:.3f}")
    axes[1].tick_params(axis="x", rotation=60)
    axes[1].legend()
    axes[2].plot(np.arange(1, len(ridge.spectrum) + 1), ridge.spectrum)
    axes[2].set(xlabel="number", ylabel="singular value of W", yscale="log", title=f"rank {ridge.effective_rank}")
    if reduced is not None:
        axes[3].plot(reduced.ranks, reduced.held_out.choice_r2, "o-")
        axes[3].axhline(ridge.r2, linestyle="--", color="grey")
        axes[3].set(xscale="log", xlabel="rank of the map", ylabel="held-out R²", title=f"best at rank {reduced.rank}")
    return figure


def coherence_vs_trait(found: Mapping[str, Any]) -> "Figure | None":
    """Every condition on test prompts, one panel a persona; the criteria's bounds as lines."""
    rows = _main_rows(found)
    if not rows:
        return None
    figure, axes = _figure(1, len(found["personas"]))
    for axis, persona in zip(axes, found["personas"], strict=True):
        for place, method in enumerate(found["methods"]):
            ours = [row for row in rows if row["persona"] == persona and row["method"] == method]
            axis.plot(
                [row["trait_likert"] for row in ours],
                [row["coherence_likert"] for row in ours],
                "o-",
                color=_colour(place),
                label=method,
                markersize=4,
            )
        for bound in found["verdict"]["criteria"]:
            axis.axhline(bound["coherence"], color="grey", linewidth=0.6, linestyle=":")
            axis.axvline(bound["trait"], color="grey", linewidth=0.6, linestyle=":")
        axis.set(xlim=(0.9, 5.1), ylim=(0.9, 5.1), xlabel="trait (1–5)", ylabel="coherence (1–5)", title=persona)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
    return figure


def dose_response(found: Mapping[str, Any]) -> "Figure | None":
    """Trait above, coherence below, over α."""
    rows = _main_rows(found)
    if not rows:
        return None
    figure, axes = _figure(2, len(found["personas"]))
    for column, persona in enumerate(found["personas"]):
        for line, score in enumerate(("trait", "coherence")):
            axis = axes[line * len(found["personas"]) + column]
            for place, method in enumerate(found["methods"]):
                ours = [row for row in rows if row["persona"] == persona and row["method"] == method]
                _line(axis, ours, score, method, _colour(place))
            axis.set(xlabel="α", ylabel=f"{score} (0–100)", ylim=(-3, 103), title=persona if not line else "")
    axes[len(found["personas"]) - 1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
    return figure


def ablation(found: Mapping[str, Any], kind: str) -> "Figure | None":
    """Trait over what a sweep varied, `layers` or `texts`, each method at each α that the sweep ran."""
    main = found["main"]
    same = ("source_layer", "target_layer") if kind == "texts" else ("texts",)
    rows = [
        row
        for row in found["conditions"]
        if row["part"] == "test" and row["trait"] is not None and all(row[name] == main[name] for name in same)
    ]
    settings = sorted({(row["source_layer"], row["target_layer"], row["texts"]) for row in rows})
    if len(settings) < 2:
        return None
    swept = [row for row in rows if any(row[name] != value for name, value in main.items())]
    doses = {(row["method"], row["alpha"]) for row in swept}
    labels = [f"{one[2]:,}" if kind == "texts" else f"{one[0]} → {one[1]}" for one in settings]
    figure, axes = _figure(1, len(found["personas"]))
    for axis, persona in zip(axes, found["personas"], strict=True):
        for place, (method, alpha) in enumerate(sorted(doses)):
            at = {
                (row["source_layer"], row["target_layer"], row["texts"]): row["trait"]
                for row in rows
                if (row["persona"], row["method"], row["alpha"]) == (persona, method, alpha)
            }
            values = [at.get(one, np.nan) for one in settings]
            axis.plot(labels, values, "o-", color=_colour(place), label=f"{method}, α = {alpha:g}")
        name = "training texts" if kind == "texts" else "layers, source → target"
        axis.set(xlabel=name, ylabel="trait (0–100)", ylim=(-3, 103), title=persona)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
    return figure


def _main_rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Judged conditions of the experiment's own setting on test prompts, by α."""
    rows = [
        row
        for row in found["conditions"]
        if row["part"] == "test"
        and row["trait"] is not None
        and row["coherence"] is not None
        and all(row[name] == value for name, value in found["main"].items())
    ]
    return sorted(rows, key=lambda row: row["alpha"])


def _line(axis: Any, rows: Sequence[Mapping[str, Any]], column: str, label: str, colour: Any) -> None:
    """A method over α; what has no α as a level. The mapped vector and the oracle have their intervals."""
    if not rows:
        return
    if {row["alpha"] for row in rows} == {0.0}:
        axis.axhline(rows[0][column], color=colour, linestyle="--", label=label)
        return
    alphas, values = [row["alpha"] for row in rows], [row[column] for row in rows]
    axis.plot(alphas, values, "o-", color=colour, label=label, markersize=4)
    if label not in (PRIMARY, "oracle"):
        return
    bounds = [row[f"{column}_interval"] or [row[column]] * 2 for row in rows]
    axis.fill_between(alphas, [low for low, _ in bounds], [high for _, high in bounds], color=colour, alpha=0.12)


def _figure(rows: int, columns: int) -> tuple["Figure", list[Any]]:
    """A figure of its own, without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(_WIDTH, 4.2 * columns), _HEIGHT * (1 if rows == 1 else 1.7)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def _colour(place: int) -> str:
    return f"C{place % 10}" if place < 10 else ("black", "gold", "navy", "lime", "crimson")[place % 5]
