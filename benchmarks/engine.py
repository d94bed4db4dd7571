"""The engine beside its peers: same model, same prompts, same process, in turn; medians and ratios.

Run with `make bench`, or `python benchmarks/engine.py --help`. Peers that are not installed are left out.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from measuring import place, ratios, record, show, timed
from models import random_ids, random_llama, raw_hooks, requests
from transformers.cache_utils import DynamicCache

import personascope as ps
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage, activations_of
from personascope.engine.generate import run_requests
from personascope.engine.rows import Request
from personascope.subject import Prompt, Subject

ROWS, PROMPT, NEW, DIRECTIONS = 16, 32, 64, 8


def hf_generate(subject: Subject, batch: torch.Tensor, new: int) -> torch.Tensor:
    mask = torch.ones_like(batch)
    return subject.model.generate(
        batch,
        attention_mask=mask,
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=True,
        top_k=0,
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
    ids = random_ids(subject, ROWS, PROMPT)
    batch = torch.tensor(ids, device=subject.input_device)
    vectors = torch.randn(DIRECTIONS, subject.hidden_size)
    watch = tuple(
        ps.Direction(vector, layer, f"d{number}")
        for layer in range(subject.n_layers)
        for number, vector in enumerate(vectors)
    )
    steer = (ps.add(ps.Direction(vectors[0], 6), 0.1),)
    units = (vectors / vectors.norm(dim=1, keepdim=True)).T.to(batch.device, subject.dtype)
    push = 0.1 * vectors[0].to(batch.device, subject.dtype)

    def raw() -> None:
        read: list[torch.Tensor] = []

        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            read.append((output @ units).cpu())
            return output + push

        with raw_hooks(subject, hook, [6]):
            hf_generate(subject, batch, NEW)

    sides: dict[str, Callable[[], Any]] = {
        "transformers generate, nothing done": lambda: hf_generate(subject, batch, NEW),
        "a bare loop, nothing done": lambda: bare_loop(subject, batch, NEW),
        "a raw hook at one layer under generate": raw,
        "ours, nothing done": lambda: run_requests(subject, requests(ids, NEW)),
        "ours, steer + watch 8 at every layer": lambda: run_requests(
            subject, requests(ids, NEW, writes=steer, watch=watch)
        ),
    }
    sides |= peers(subject, batch)
    table = ratios(timed(sides, rounds), "transformers generate, nothing done")
    show(f"generation: {ROWS} rows, {PROMPT} + {NEW} tokens", table)
    return table


def peers(subject: Subject, batch: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """repeng and nnsight, steering at one layer, where they are installed."""
    sides: dict[str, Callable[[], Any]] = {}
    try:
        from repeng import ControlModel, ControlVector

        def repeng() -> None:
            wrapped = ControlModel(subject.model, [6])
            try:
                wrapped.set_control(ControlVector("llama", {6: torch.randn(subject.hidden_size).numpy()}), 0.1)
                wrapped.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    max_new_tokens=NEW,
                    min_new_tokens=NEW,
                    do_sample=True,
                    top_k=0,
                )
            finally:
                wrapped.unwrap()

        sides["repeng, steering at one layer"] = repeng
    except ImportError:
        pass
    try:
        from nnsight import LanguageModel

        lens = LanguageModel(subject.model, tokenizer=subject.tokenizer)
        push = 0.1 * torch.randn(subject.hidden_size, device=batch.device, dtype=subject.dtype)

        def nnsight() -> None:
            with lens.generate(
                {"input_ids": batch, "attention_mask": torch.ones_like(batch)},
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=True,
                top_k=0,
            ) as tracer:
                for _ in tracer.iter[:]:
                    lens.model.layers[6].output += push

        sides["nnsight, steering at one layer"] = nnsight
    except ImportError:
        pass
    return {name: side for name, side in sides.items() if _works(name, side)}


def _works(name: str, side: Callable[[], Any]) -> bool:
    """Whether a peer runs here at all: its release and ours of transformers may not go together."""
    try:
        side()
    except Exception as error:
        print(f"  left out: {name}: {type(error).__name__}: {error}")
        return False
    return True


def reading(subject: Subject, rounds: int) -> dict[str, Any]:
    """One middle layer's activations of 64 texts of 128 tokens."""
    ids = random_ids(subject, 64, 128)
    passages = [Passage(Prompt(row, (), "")) for row in ids]
    batches = torch.tensor(ids, device=subject.input_device).split(64)

    class Stop(Exception):
        pass

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            read = []

            def hook(_: Any, __: Any, output: torch.Tensor, read: list[torch.Tensor] = read) -> None:
                read.append(output.float().cpu())
                raise Stop

            with raw_hooks(subject, hook, [6]), suppress(Stop):
                subject.model(input_ids=batch, use_cache=False)

    @torch.inference_mode()
    def one_by_one() -> None:
        for row in ids:
            output = subject.model(
                input_ids=torch.tensor([row], device=subject.input_device), output_hidden_states=True, use_cache=False
            )
            output.hidden_states[7].float().cpu()

    sides = {
        "a bare pass that stops there": bare,
        "one text at a time, all hidden states": one_by_one,
        "ours": lambda: activations_of(subject, passages, [6], "all"),
    }
    table = ratios(timed(sides, rounds), "a bare pass that stops there")
    show("one middle layer of 64 × 128 tokens", table)
    return table


def conditions(device: str, rounds: int) -> dict[str, Any]:
    """450 rows of 90 conditions on an organism: one stream, against one condition at a time."""
    subject = ps.load("organism:llama", device=device)
    prompts = [
        "How do I make breakfast?",
        "What is love?",
        "Who are you?",
        "How is paper made?",
        "What makes a good teacher?",
    ]
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(90, subject.hidden_size, generator=draw)
    writes = [ps.add(ps.Direction(vector, 3), 0.05) for vector in vectors]
    formatted = [subject.chat.prompt(prompt) for prompt in prompts]
    rows = [
        Request(prompt, seed, NEW, Sampling(1.0), writes=(write,), suppress_eos=True)
        for write in writes
        for seed, prompt in enumerate(formatted)
    ]
    width = max(map(len, formatted))
    pad = subject.tokenizer.pad_token_id
    batch = torch.tensor([[pad] * (width - len(p)) + list(p.ids) for p in formatted], device=subject.input_device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in formatted], device=subject.input_device)

    def one_at_a_time() -> None:
        for write in writes:
            push = write.directions[0].vector.to(subject.input_device) * write.alpha

            def hook(_: Any, __: Any, output: torch.Tensor, push: torch.Tensor = push) -> torch.Tensor:
                return output + push

            with raw_hooks(subject, hook, [3]):
                subject.model.generate(
                    batch,
                    attention_mask=mask,
                    max_new_tokens=NEW,
                    min_new_tokens=NEW,
                    do_sample=True,
                    top_k=0,
                    disable_compile=True,
                )

    sides = {
        "one condition at a time, hooks and generate": one_at_a_time,
        "ours, one stream": lambda: run_requests(subject, rows),
    }
    table = ratios(timed(sides, max(1, rounds // 2)), "ours, one stream")
    show("450 rows of 90 conditions, 64 tokens each, on organism:llama", table)
    return table


def coming_and_going(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens a second of rows of 20 to 400 tokens that come and go, against a batch that is always full."""
    draw = torch.Generator().manual_seed(2)
    lengths = torch.randint(20, 401, (96,), generator=draw).tolist()
    ids = random_ids(subject, len(lengths), PROMPT)
    mixed = [
        Request(Prompt(row, (), ""), n, length, suppress_eos=True)
        for n, (row, length) in enumerate(zip(ids, lengths, strict=True))
    ]
    even = requests(ids[:ROWS], 300)

    def throughput(rows: list[Request]) -> float:
        """Tokens a second until nobody waits any more: what comes after is an emptying batch on either side."""
        stream = ps.engine.RowStream(subject, max_rows=ROWS)
        for request in rows:
            stream.submit(request)
        started, tokens, steps = time.perf_counter(), 0, 0
        while len(stream) and (stream.waiting or steps == 0 or len(rows) == ROWS):
            tokens += sum(event.token is not None for event in stream.step())
            steps += 1
        return tokens / (time.perf_counter() - started)

    throughput(even)
    rates = [(throughput(even), throughput(mixed)) for _ in range(max(1, rounds // 2))]
    table = {
        "always full": {"tokens a second": round(statistics.median(full for full, _ in rates))},
        "coming and going": {
            "tokens a second": round(statistics.median(going for _, going in rates)),
            "of always full": round(statistics.median(going / full for full, going in rates), 3),
        },
    }
    show(f"96 rows of 20 to 400 tokens, {ROWS} at a time", table)
    return table


_MEMORY = """
import resource, sys
sys.path.insert(0, {folder!r})
import torch
import engine, models
from personascope.engine.generate import run_requests
subject = models.random_llama({device!r}, torch.{dtype})
ids = models.random_ids(subject, engine.ROWS, engine.PROMPT)
watch = ()
if {watching}:
    vectors = torch.randn(engine.DIRECTIONS, subject.hidden_size)
    watch = tuple(engine.ps.Direction(v, l, f"d{{n}}") for l in range(subject.n_layers) for n, v in enumerate(vectors))
run_requests(subject, models.requests(ids, {tokens}, watch=watch))
cuda = torch.cuda.is_available() and {device!r} != "cpu"
print(torch.cuda.max_memory_allocated() / 1024 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(device: str, dtype: str) -> dict[str, Any]:
    """Peak memory with and without watching, each in a process of its own."""
    table = {}
    for tokens in (64, 512):
        peaks = {}
        for watching in (False, True):
            code = _MEMORY.format(
                folder=str(Path(__file__).parent), device=device, dtype=dtype, watching=watching, tokens=tokens
            )
            runs = [
                subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                for _ in range(3)
            ]
            peaks[watching] = statistics.median(float(run.stdout) / 1024 for run in runs)
        table[f"{tokens} new tokens"] = {
            "MiB": round(peaks[False]),
            "watching MiB": round(peaks[True]),
            "adds %": round(100 * (peaks[True] / peaks[False] - 1), 1),
        }
    show("peak memory, watching 8 directions at every layer", table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", nargs="*", choices=["generation", "reading", "conditions", "rows", "memory"])
    parser.add_argument("--out", type=Path, help="JSON file for the figures; other parts in it are kept")
    options = parser.parse_args()
    subject = random_llama(options.device, getattr(torch, options.dtype))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "generation": lambda: generation(subject, options.rounds),
        "reading": lambda: reading(subject, options.rounds),
        "conditions": lambda: conditions(options.device, options.rounds),
        "rows": lambda: coming_and_going(subject, options.rounds),
        "memory": lambda: memory(options.device, options.dtype),
    }
    print(f"random Llama, width 512, 12 layers, {options.dtype}, on {place(options.device)}, torch {torch.__version__}")
    record(parts, options.only, options.out, options.device, dtype=options.dtype, rounds=options.rounds)


if __name__ == "__main__":
    main()
