"""The engine beside its peers: same model, same prompts, same process, in turn; medians and ratios.

Run with `make bench`, or `python benchmarks/engine.py --help`. Peers that are not installed are left out.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from measuring import bandwidth, place, ratios, record, show, timed
from models import SHAPES, random_ids, random_model, raw_hooks, requests, sampled, watched, weight_bytes
from peak_memory import memory
from peers import peers
from streams import coming_and_going, conditions
from transformers.cache_utils import DynamicCache

import personascope as ps
from personascope.engine.forward import Passage, activations_of
from personascope.engine.generate import run_requests
from personascope.subject import Prompt, Subject

ROWS, PROMPT, NEW, DIRECTIONS = 16, 32, 64, 8
PLAIN, BOUND = "transformers generate, nothing done", "the weights read once a step"


def hf_generate(subject: Subject, batch: torch.Tensor, new: int) -> torch.Tensor:
    mask = torch.ones_like(batch)
    return subject.model.generate(
        batch,
        attention_mask=mask,
        **sampled(new),
        disable_compile=True,
    )


@torch.inference_mode()
def bare_loop(subject: Subject, batch: torch.Tensor, new: int) -> None:
    cache, ids = DynamicCache(), batch
    for _ in range(new):
        output = subject.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        ids = torch.multinomial(output.logits[:, -1].float().softmax(-1), 1)


def generation(subject: Subject, rounds: int) -> dict[str, Any]:
    """Steering and watching against unsteered generation by others."""
    middle = subject.n_layers // 2
    ids = random_ids(subject, ROWS, PROMPT)
    batch = torch.tensor(ids, device=subject.input_device)
    vectors = torch.randn(DIRECTIONS, subject.hidden_size)
    watch = watched(subject, vectors)
    steer = (ps.add(ps.Direction(vectors[0], middle), 0.1),)
    units = (vectors / vectors.norm(dim=1, keepdim=True)).T.to(batch.device, subject.dtype)
    push = 0.1 * vectors[0].to(batch.device, subject.dtype)

    def raw() -> None:
        read: list[torch.Tensor] = []

        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            read.append((output @ units).cpu())
            return output + push

        with raw_hooks(subject, hook, [middle]):
            hf_generate(subject, batch, NEW)

    sides: dict[str, Callable[[], Any]] = {
        PLAIN: lambda: hf_generate(subject, batch, NEW),
        "a bare loop, nothing done": lambda: bare_loop(subject, batch, NEW),
        "a raw hook at one layer under generate": raw,
        "ours, nothing done": lambda: run_requests(subject, requests(ids, NEW)),
        "ours, steer + watch 8 at every layer": lambda: run_requests(
            subject, requests(ids, NEW, writes=steer, watch=watch)
        ),
    }
    sides |= peers(subject, batch, NEW)
    seconds = timed(sides, rounds)
    seconds[BOUND] = [NEW * weight_bytes(subject) / bandwidth(subject.input_device)] * rounds
    table = ratios(seconds, PLAIN)
    for row in table.values():
        row[f"of {BOUND}"] = round(row["seconds"] / table[BOUND]["seconds"], 2)
    show(f"generation: {ROWS} rows, {PROMPT} + {NEW} tokens", table)
    return table


def reading(subject: Subject, rounds: int) -> dict[str, Any]:
    """One middle layer's activations of 64 texts of 128 tokens."""
    middle = subject.n_layers // 2
    ids = random_ids(subject, 64, 128)
    passages = [Passage(Prompt(row, (), "")) for row in ids]
    batch = torch.tensor(ids, device=subject.input_device)

    class Stop(Exception):
        pass

    @torch.inference_mode()
    def bare() -> None:
        read = []

        def hook(_: Any, __: Any, output: torch.Tensor) -> None:
            read.append(output.float().cpu())
            raise Stop

        with raw_hooks(subject, hook, [middle]), suppress(Stop):
            subject.model(input_ids=batch, use_cache=False)

    @torch.inference_mode()
    def one_by_one() -> None:
        for row in batch.split(1):
            output = subject.model(input_ids=row, output_hidden_states=True, use_cache=False)
            output.hidden_states[middle + 1].float().cpu()

    sides = {
        "a bare pass that stops there": bare,
        "one text at a time, all hidden states": one_by_one,
        "ours": lambda: activations_of(subject, passages, [middle], "all"),
    }
    table = ratios(timed(sides, rounds), "a bare pass that stops there")
    show("one middle layer of 64 × 128 tokens", table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", default="llama-512", choices=list(SHAPES))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", nargs="*", choices=["generation", "reading", "conditions", "rows", "memory"])
    parser.add_argument("--out", type=Path, help="JSON file for the figures; other parts in it are kept")
    options = parser.parse_args()
    subject = random_model(options.shape, options.device, getattr(torch, options.dtype))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "generation": lambda: generation(subject, options.rounds),
        "reading": lambda: reading(subject, options.rounds),
        "conditions": lambda: conditions(options.device, options.rounds, NEW),
        "rows": lambda: coming_and_going(subject, max(1, options.rounds // 2), ROWS, PROMPT),
        "memory": lambda: memory(subject, options.shape, options.dtype, ROWS, PROMPT, DIRECTIONS),
    }
    print(f"{options.shape}, random, {options.dtype}, on {place(options.device)}, torch {torch.__version__}")
    record(
        parts,
        options.only,
        options.out,
        options.device,
        shape=options.shape,
        dtype=options.dtype,
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()
