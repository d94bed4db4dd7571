"""Carrying personas beside the usual ways: cross-validated ridge beside refitting and scikit-learn, the grid of generations
beside one condition at a time, perplexity beside one text at a time.

Run with `python benchmarks/transfer.py`; all sides run in one process, in turn. A side that takes too long is measured on
some of its (λ, fold) fits and scaled to all of them, and says so.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from measuring import ratios, record, show, timed
from models import raw_hooks
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold
from threadpoolctl import threadpool_limits

import personascope as ps
from personascope.corpora import neutral_questions
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.norms import median_norm
from personascope.engine.rows import Generation, Request
from personascope.judging.perplexity import perplexities
from personascope.subject import Subject
from personascope.transfer import fit_map

ROWS, WIDTH, FOLDS, TEXTS = 20_000, 1_024, 5, 200
LAMBDAS = np.geomspace(1e-2, 1e6, 30)
# Of the grid: prompts × seeds make the 90 rows of a condition.
PROMPTS, SEEDS, DIRECTIONS, ALPHAS, LAYER = 30, 3, 3, (0.5, 1.0, 2.0, 3.0, 5.0), 4
# New tokens at most: those of the shipped experiment, and more.
LENGTHS = (40, 100)
ORGANISMS = ("organism:gemma2", "organism:llama")


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


def grid_rows(subject: Subject, new: int) -> list[list[Request]]:
    """By condition its 90 rows, as an experiment makes them: random directions stand for carried ones."""
    prompts = [subject.chat.prompt(text) for text in neutral_questions()[:PROMPTS]]
    length = 0.25 * median_norm(subject, LAYER)
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(DIRECTIONS, subject.hidden_size, generator=draw)
    directions = [ps.Direction(one / one.norm() * length, LAYER, f"d{place}") for place, one in enumerate(vectors)]
    return [
        [
            Request(prompt, derive_seed(place, seed), new, Sampling(1.0), writes=(ps.add(direction, alpha),))
            for place, prompt in enumerate(prompts)
            for seed in range(SEEDS)
        ]
        for direction in directions
        for alpha in ALPHAS
    ]


def condition_at_a_time(subject: Subject, conditions: list[list[Request]], new: int) -> None:
    """`generate` under a hook, one condition after the other, its rows left-padded in one batch; ends as ours."""
    pad, ends = subject.tokenizer.pad_token_id, sorted(subject.end_ids)
    for rows in conditions:
        width = max(len(row.prompt) for row in rows)
        gaps = [width - len(row.prompt) for row in rows]
        ids = torch.tensor([[pad] * gap + list(row.prompt.ids) for gap, row in zip(gaps, rows, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        (write,) = rows[0].writes
        push = write.directions[0].vector * write.alpha

        def hook(_: Any, __: Any, output: Any, push: torch.Tensor = push) -> Any:
            # On the prompt's last token and on every token that is sampled.
            stream = output[0] if isinstance(output, tuple) else output
            stream[:, -1] += push
            return output

        with raw_hooks(subject, hook, [LAYER]):
            subject.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=new,
                do_sample=True,
                top_k=0,
                pad_token_id=pad,
                eos_token_id=ends,
                disable_compile=True,
            )


def grid(rounds: int) -> dict[str, Any]:
    """Fifteen conditions of 90 rows: one stream against one condition at a time."""
    subject = ps.load("organism:gemma2")
    tables = {}
    for new in LENGTHS:
        conditions = grid_rows(subject, new)
        flat = [row for rows in conditions for row in rows]
        sides: dict[str, Callable[[], Any]] = {
            "one condition at a time, hooks and generate": partial(condition_at_a_time, subject, conditions, new),
            "ours, one stream": partial(run_requests, subject, flat),
        }
        tables[f"up to {new} tokens"] = ratios(timed(sides, rounds), "ours, one stream")
        title = f"{len(flat):,} rows of {len(conditions)} conditions, up to {new} tokens each (to reach: 1.5)"
        show(title, tables[f"up to {new} tokens"])
    return tables


@torch.inference_mode()
def text_at_a_time(subject: Subject, passages: list[Passage]) -> list[float]:
    """The usual loop: the model's own loss on each text alone, prompt tokens masked."""
    found = []
    for passage in passages:
        ids = torch.tensor([passage.ids])
        labels = ids.clone()
        labels[:, : len(passage.prompt)] = -100
        found.append(float(subject.model(input_ids=ids, labels=labels, use_cache=False).loss.exp()))
    return found


def perplexity(rounds: int) -> dict[str, Any]:
    """The responses of some conditions, scored by the model that wrote them, unsteered: of both organisms."""
    tables = {}
    for name in ORGANISMS:
        subject = ps.load(name)
        for new in LENGTHS:
            rows = [row for condition in grid_rows(subject, new)[:5] for row in condition]
            written: list[Generation] = run_requests(subject, rows)
            passages = [Passage(row.prompt, tuple(one.response_ids)) for row, one in zip(rows, written, strict=True)]
            usual, ours = np.array(text_at_a_time(subject, passages)), np.array(perplexities(subject, passages))
            sides: dict[str, Callable[[], Any]] = {
                "one text at a time": partial(text_at_a_time, subject, passages),
                "ours, in batches": partial(perplexities, subject, passages),
            }
            table: dict[str, Any] = ratios(timed(sides, rounds), "ours, in batches")
            show(f"{name}: perplexity of {len(passages)} responses of up to {new} tokens (to reach: 5)", table)
            table["largest difference, relative"] = float((np.abs(usual - ours) / usual).max())
            print(f"largest difference, relative: {table['largest difference, relative']:.1e}")
            tables[f"{name}, up to {new} tokens"] = table
    return tables


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--only", nargs="*", choices=["ridge", "grid", "perplexity"])
    options.add_argument("--out", type=Path, default=None, help="JSON file for the figures; other parts in it are kept")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "ridge": lambda: ridge(chosen.rounds),
        "grid": lambda: grid(chosen.rounds),
        "perplexity": lambda: perplexity(chosen.rounds),
    }
    versions = {"numpy": np.__version__, "scikit-learn": sklearn.__version__}
    with threadpool_limits(chosen.threads):
        record(parts, chosen.only, chosen.out, rounds=chosen.rounds, **versions)


if __name__ == "__main__":
    main()
