"""Continuous sampling and question insertion beside re-running the text: same model, same process, in turn.

Random Llama of width 512 and 12 layers. Run with `python benchmarks/persistence.py`; both sides run in one process.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from measuring import place, ratios, record, show, timed
from models import random_ids, random_model, raw_hooks

import personascope as ps
from personascope.engine.choose import Sampling
from personascope.engine.forks import last_states
from personascope.engine.forward import Passage, activations_of
from personascope.engine.generate import run_requests
from personascope.engine.rows import Request
from personascope.engine.stream import RowStream
from personascope.persistence import persistence
from personascope.subject import Prompt, Subject

STEER, SAMPLE, LAYER = 200, 500, 3
# Of the passes over a whole text one in so many is timed.
EACH = 10
LONG = 2_100
QUESTIONS, POINTS, TRANSCRIPT = 40, 20, 4_000


@torch.inference_mode()
def rerun(subject: Subject, text: tuple[int, ...], prompt: int, vector: torch.Tensor, kept: int) -> list[float]:
    """What one token in `EACH` costs, a steered one and an unsteered one alike: the whole text so far once more.

    kept: 1 for the last token's logits alone, 0 for those of every token, as a model gives them that is merely called.
    """
    ids, projections = torch.tensor([text], device=subject.input_device), []
    draw = torch.Generator(subject.input_device).manual_seed(0)
    unit = vector / vector.norm()

    def steer(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        return (hidden + vector, *output[1:]) if isinstance(output, tuple) else hidden + vector

    def read(module: Any, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        projections.append(float(hidden[0, -1] @ unit))

    for step in range(EACH // 2, STEER + SAMPLE, EACH):
        with raw_hooks(subject, steer if step < STEER else read, [LAYER]):
            logits = subject.model(input_ids=ids[:, : prompt + step], use_cache=False, logits_to_keep=kept).logits[
                :, -1
            ]
        torch.multinomial(logits.float().softmax(-1), 1, generator=draw)
    return projections


def continuing(subject: Subject, rounds: int) -> dict[str, Any]:
    """One row: 200 tokens steered, 500 without, one direction read at each. Of the re-run texts one in ten is timed.

    Beside it the experiment that row belongs to, with the unsteered and the randomly steered row that are paired with it:
    re-run, each of the three costs what one does.
    """
    prompt = "What is a good question?"
    direction = ps.Direction(torch.randn(subject.hidden_size), LAYER, "x")
    vector = direction.vector.to(subject.input_device, subject.dtype)
    start = subject.chat.prompt(prompt)

    def experiment() -> None:
        persistence(subject, [direction], prompt, 1.0, STEER, SAMPLE, controls=("random",))

    def alone() -> tuple[int, ...]:
        steer = (ps.add(direction, 1.0, tokens=f"sampling[:{STEER}]"),)
        (first,) = run_requests(subject, [Request(start, 0, STEER, Sampling(1.0), writes=steer, suppress_eos=True)])
        said = tuple(first.response_ids)
        rest = Request(start, 0, SAMPLE, Sampling(1.0), watch=(direction,), forced=said, suppress_eos=True)
        (second,) = run_requests(subject, [rest])
        return tuple(second.token_ids)

    text = alone()
    last, every = "the whole text for each token, the last one's logits", "the whole text for each token, all logits"
    seconds = timed(
        {
            "personascope": alone,
            "personascope, three rows of an experiment": experiment,
            last: lambda: rerun(subject, text, len(start), vector, 1),
            every: lambda: rerun(subject, text, len(start), vector, 0),
        },
        rounds,
    )
    for name in (last, every):
        seconds[name] = [each * EACH for each in seconds[name]]
    three = seconds.pop("personascope, three rows of an experiment")
    table: dict[str, Any] = ratios(seconds, "personascope")
    show(f"{STEER} + {SAMPLE} tokens of one row (to reach: at least 15 times); one re-run in {EACH} was timed", table)
    whole = {"personascope": three, **{name: [3 * each for each in seconds[name]] for name in (last, every)}}
    table["three rows of an experiment"] = ratios(whole, "personascope")
    show(
        "the same with the unsteered and the randomly steered row paired with it", table["three rows of an experiment"]
    )
    return table


def growing(subject: Subject, figure: Path) -> dict[str, Any]:
    """Seconds of every token of one long row, read at one layer."""
    ids = random_ids(subject, 1, 32)[0]
    direction = ps.Direction(torch.randn(subject.hidden_size), LAYER, "x")
    seconds = []
    for _ in range(3):
        stream = RowStream(subject)
        request = Request(Prompt(ids, (), ""), 0, LONG, Sampling(1.0), watch=(direction,), suppress_eos=True)
        stream.submit(request)
        each = []
        while len(stream) or stream.waiting:
            started = time.perf_counter()
            stream.step()
            each.append(time.perf_counter() - started)
        seconds.append(each[:LONG])
    cost = np.median(np.array(seconds), axis=0) * 1e3
    early, late = (float(np.median(cost[middle - 50 : middle + 50])) for middle in (200, 2_000))
    smooth = np.array([np.median(cost[max(0, place - 25) : place + 25]) for place in range(len(cost))])
    chart, axes = plt.subplots(figsize=(7, 3.5))
    axes.plot(smooth, label="median of 50 tokens")
    axes.set(xlabel="token", ylabel="ms a token", ylim=(0, None), title="One row, one direction read")
    axes.legend()
    chart.tight_layout()
    chart.savefig(figure, dpi=110, metadata={"Software": None})
    table = {
        "at token 200": {"ms": round(early, 3)},
        "at token 2,000": {"ms": round(late, 3), "of token 200": round(late / early, 3)},
    }
    show("cost of a token (to reach: at 2,000 at most 2 times that at 200)", table)
    return table


def asking(subject: Subject, rounds: int) -> dict[str, Any]:
    """40 questions of 8 to 24 tokens at 20 points of a transcript of 4,000; of whole runs one in twenty is timed."""
    trunk = random_ids(subject, 1, TRANSCRIPT)[0]
    lengths = np.random.default_rng(0).integers(8, 25, size=QUESTIONS)
    questions = [one[:length] for one, length in zip(random_ids(subject, QUESTIONS, 24), lengths, strict=True)]
    # The transcript once, up to the last point, and each question at each point.
    least = TRANSCRIPT + POINTS * sum(map(len, questions))
    cuts = [TRANSCRIPT * (point + 1) // POINTS for point in range(POINTS)]
    prompts = [Prompt((*trunk[:cut], *question), (), "") for cut in cuts for question in questions]
    some = [Prompt((*trunk[:cut], *question), (), "") for cut in cuts for question in questions[:2]]
    layer = subject.n_layers - 1
    forked = last_states(subject, prompts, [layer])
    sides = {
        "forks, all questions": lambda: last_states(subject, prompts, [layer]),
        "each text whole, one in twenty": lambda: activations_of(
            subject, [Passage(one, is_open=True) for one in some], [layer], "prompt[-1]"
        ),
    }
    seconds = timed(sides, rounds)
    whole = [each * len(prompts) / len(some) for each in seconds["each text whole, one in twenty"]]
    table = {
        "tokens": {"ran": forked.ran, "least": least, "ran of least": round(forked.ran / least, 4)},
        "forks": {"seconds": round(statistics.median(seconds["forks, all questions"]), 3)},
        "each text whole": {
            "seconds (20 × what was timed)": round(statistics.median(whole), 3),
            "of forks": round(
                statistics.median(a / b for a, b in zip(whole, seconds["forks, all questions"], strict=True)), 2
            ),
        },
    }
    show(f"{QUESTIONS} questions × {POINTS} points (to reach: 1.05 of least, at least 10 times)", table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=["continuing", "growing", "asking"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    dtype = arguments.dtype or ("float32" if arguments.device == "cpu" else "bfloat16")
    subject = random_model("llama-512", arguments.device, getattr(torch, dtype))
    name = "cpu" if arguments.device == "cpu" else place(arguments.device).lower().replace(" ", "-")
    arguments.out.mkdir(exist_ok=True)
    parts = {
        "continuing": lambda: continuing(subject, arguments.rounds),
        "growing": lambda: growing(subject, arguments.out / f"persistence-{name}.png"),
        "asking": lambda: asking(subject, arguments.rounds),
    }
    path = arguments.out / f"persistence-{name}.json"
    record(parts, arguments.only, path, arguments.device, dtype=dtype, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
