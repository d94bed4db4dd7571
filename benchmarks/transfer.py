"""Carrying personas beside the usual ways: cross-validated ridge beside refitting and scikit-learn.

Run with `python benchmarks/transfer.py`; all sides run in one process, in turn. A side that takes too long is measured on
some of its (λ, fold) fits and scaled to all of them, and says so.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from engine import show
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold
from threadpoolctl import threadpool_limits

from personascope.transfer import fit_map

ROWS, WIDTH, FOLDS, TEXTS = 20_000, 1_024, 5, 200
LAMBDAS = np.geomspace(1e-2, 1e6, 30)


def paired() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows like a residual stream's: variances that fall off, one dimension 100σ from 0, texts of 100 rows; float32."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, WIDTH)) * np.geomspace(10, 0.1, WIDTH)
    y = x @ draw.normal(size=(WIDTH, WIDTH)) / 10 + draw.normal(size=(ROWS, WIDTH)) * 10
    x[:, 0] += 1_000
    return x.astype(np.float32), y.astype(np.float32), np.repeat(np.arange(TEXTS), ROWS // TEXTS)


def refitted(x: np.ndarray, y: np.ndarray, texts: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """[λ]: held-out mean squared error, each penalty fitted on each fold anew."""
    errors = np.zeros(len(lambdas))
    for train, test in GroupKFold(FOLDS).split(x, y, texts):
        for place, penalty in enumerate(lambdas):
            predicted = Ridge(alpha=penalty, solver="cholesky").fit(x[train], y[train]).predict(x[test])
            errors[place] += ((predicted - y[test]) ** 2).sum()
    return errors / y.size


def searched(x: np.ndarray, y: np.ndarray, texts: np.ndarray, lambdas: np.ndarray) -> None:
    grid = GridSearchCV(
        Ridge(solver="cholesky"),
        {"alpha": list(lambdas)},
        cv=GroupKFold(FOLDS),
        scoring="neg_mean_squared_error",
        refit=False,
    )
    grid.fit(x, y, groups=texts)


def ridge(rounds: int) -> dict[str, Any]:
    """Thirty penalties × five folds, 1,024 → 1,024 dimensions, 20,000 rows."""
    x, y, texts = paired()
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    part = LAMBDAS[[18]]
    scaled = len(LAMBDAS) / len(part)
    fitted: list[Any] = []
    # The factor each side's seconds are multiplied by to stand for all fits.
    sides: dict[str, tuple[Callable[[], Any], float]] = {
        "personascope": (lambda: fitted.append(fit_map(x, y, LAMBDAS, FOLDS, texts, controls=False)), 1),
        "personascope, controls scored too": (lambda: fit_map(x, y, LAMBDAS, FOLDS, texts), 1),
        "each refitted, float64 (5 fits × 30)": (lambda: refitted(wide_x, wide_y, texts, part), scaled),
        "each refitted, float32 (5 fits × 30)": (lambda: refitted(x, y, texts, part), scaled),
        "GridSearchCV, float64 (5 fits × 30)": (lambda: searched(wide_x, wide_y, texts, part), scaled),
        "GridSearchCV, float32 (5 fits × 30)": (lambda: searched(x, y, texts, part), scaled),
        "RidgeCV, leaving one row out, float64": (lambda: RidgeCV(alphas=LAMBDAS).fit(wide_x, wide_y), 1),
        "RidgeCV, leaving one row out, float32": (lambda: RidgeCV(alphas=LAMBDAS).fit(x, y), 1),
    }
    fit_map(x[:2_000], y[:2_000], LAMBDAS, FOLDS)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (side, factor) in sides.items():
            started = time.perf_counter()
            side()
            seconds[name].append((time.perf_counter() - started) * factor)
    table = {
        name: {
            "seconds": round(statistics.median(spent), 2),
            "of personascope": round(
                statistics.median(a / b for a, b in zip(spent, seconds["personascope"], strict=True)), 2
            ),
        }
        for name, spent in seconds.items()
    }
    show(f"ridge, {len(LAMBDAS)} λ × {FOLDS} folds (to reach: refitting at 30, scikit-learn above 1)", table)
    found = fitted[-1]
    again = fit_map(x, y, part, FOLDS, texts, controls=False)
    exact = Ridge(alpha=part[0], solver="cholesky").fit(wide_x, wide_y).coef_.T
    rough = Ridge(alpha=part[0], solver="cholesky").fit(x, y).coef_.T
    agreement = {
        "best lambda": float(found.best_lambda),
        "held-out R²": round(found.r2, 4),
        "weight, of float64 refit": float(np.abs(again.weight.numpy() - exact).max() / np.abs(exact).max()),
        "weight of float32 refit, of float64 refit": float(np.abs(rough - exact).max() / np.abs(exact).max()),
    }
    show("agreement: largest difference of a weight, of the largest weight", {"": agreement})
    return {
        "rows": ROWS,
        "width": WIDTH,
        "lambdas": len(LAMBDAS),
        "folds": FOLDS,
        "sides": table,
        "agreement": agreement,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--only", nargs="*", help="ridge")
    options.add_argument("--out", type=Path, default=None, help="JSON file for the figures; other parts in it are kept")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    parts: dict[str, Callable[[], dict[str, Any]]] = {"ridge": lambda: ridge(chosen.rounds)}
    figures: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out and chosen.out.exists() else {}
    figures |= {
        "device": f"{chosen.threads} CPU threads",
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "rounds": chosen.rounds,
    }
    with threadpool_limits(chosen.threads):
        for name, measure in parts.items():
            if not chosen.only or name in chosen.only:
                figures[name] = measure()
    if chosen.out:
        chosen.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
