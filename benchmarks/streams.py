"""Many rows in one stream: of many conditions, and of many lengths."""

import statistics
import time
from typing import Any

import torch
from measuring import ratios, show, timed
from models import random_ids, raw_hooks, requests, sampled

import personascope as ps
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.rows import Request
from personascope.subject import Prompt, Subject


def conditions(device: str, rounds: int, new: int) -> dict[str, Any]:
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
        Request(prompt, seed, new, Sampling(1.0), writes=(write,), suppress_eos=True)
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
                    **sampled(new),
                    disable_compile=True,
                )

    sides = {
        "one condition at a time, hooks and generate": one_at_a_time,
        "ours, one stream": lambda: run_requests(subject, rows),
    }
    table = ratios(timed(sides, max(1, rounds // 2)), "ours, one stream")
    show("450 rows of 90 conditions, 64 tokens each, on organism:llama", table)
    return table


def coming_and_going(subject: Subject, rounds: int, places: int, prompt: int) -> dict[str, Any]:
    """Tokens a second of rows of 20 to 400 tokens that come and go, against a batch that is always full."""
    draw = torch.Generator().manual_seed(2)
    lengths = torch.randint(20, 401, (96,), generator=draw).tolist()
    ids = random_ids(subject, len(lengths), prompt)
    mixed = [
        Request(Prompt(row, (), ""), n, length, suppress_eos=True)
        for n, (row, length) in enumerate(zip(ids, lengths, strict=True))
    ]
    even = requests(ids[:places], 300)

    def throughput(rows: list[Request]) -> float:
        """Tokens a second until nobody waits any more: what comes after is an emptying batch on either side."""
        stream = ps.engine.RowStream(subject, max_rows=places)
        for request in rows:
            stream.submit(request)
        started, tokens, steps = time.perf_counter(), 0, 0
        while len(stream) and (stream.waiting or steps == 0 or len(rows) == places):
            tokens += sum(event.token is not None for event in stream.step())
            steps += 1
        return tokens / (time.perf_counter() - started)

    throughput(even)
    rates = [(throughput(even), throughput(mixed)) for _ in range(rounds)]
    table = {
        "always full": {"tokens a second": round(statistics.median(full for full, _ in rates))},
        "coming and going": {
            "tokens a second": round(statistics.median(going for _, going in rates)),
            "of always full": round(statistics.median(going / full for full, going in rates), 3),
        },
    }
    show(f"96 rows of 20 to 400 tokens, {places} at a time", table)
    return table
