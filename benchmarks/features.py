"""Mining SAE features: against the bare pass it rides on, and against encoding all features. Prints ratios.

Run with `python benchmarks/features.py`; `--only speed memory` picks parts. Both sides run in turn in one process; memory is
measured in processes of their own.
"""

import argparse
import statistics
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from measuring import record, timed
from models import random_model

import personascope as ps
from personascope.engine.forward import Passage, mapped_of
from personascope.features.activation import Threshold
from personascope.features.own_text import own_corpus
from personascope.features.sae import SAE
from personascope.features.windows import windows

FEATURES, CHOSEN, TOKENS = 131_072, 20, 12_000
MEMORY_TOKENS = (100_000, 1_000_000, 10_000_000)

_MEMORY = """
import resource, sys
sys.path.insert(0, {folder!r})
from features import memory_of
print(memory_of({tokens}), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def random_sae(width: int, features: int, layer: int) -> SAE:
    """A BatchTopK-like SAE of random features, of which about one in a thousand is active on a token."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(features, width, generator=draw) / width**0.5
    return SAE(
        weights,
        torch.zeros(features),
        weights,
        torch.zeros(width),
        Threshold(torch.tensor(3.0)),
        layer=layer,
        name="random",
    )


def speed(device: str, dtype: str, rounds: int) -> dict[str, Any]:
    """The whole mining pass, tokenizing and all, beside a bare pass to the same layer and one that encodes everything."""
    subject = random_model("llama-512", device, getattr(torch, dtype))
    layer = subject.n_layers // 2
    sae = random_sae(subject.hidden_size, FEATURES, layer)
    chosen = list(range(0, FEATURES, FEATURES // CHOSEN))[:CHOSEN]
    documents, held, count = [], [], 0
    for one in own_corpus(ps.load("organism:llama")).documents():
        (found,) = windows(subject, iter([one]))
        documents.append(one.content)
        held += found
        count += sum(map(len, found))
        if count >= TOKENS:
            break
    passages = [Passage(one.prompt) for one in held]
    whole = sae.chosen(None, device)

    def bare() -> None:
        mapped_of(subject, passages, layer, "all", lambda rows: rows[:, :1].float())

    def mining() -> None:
        ps.mine_features(subject, sae, documents, chosen)

    def dense() -> None:
        mapped_of(
            subject,
            passages,
            layer,
            "all",
            lambda rows: torch.cat([codes[:, chosen] for _, codes in whole.in_chunks(rows)]),
        )

    seconds = timed({"bare pass to the layer": bare, "mining": mining, "encoding all features": dense}, rounds)
    rate = {name: count / statistics.median(each) for name, each in seconds.items()}
    return {
        "tokens": count,
        "tokens a second": {name: round(each) for name, each in rate.items()},
        "mining of bare": round(
            statistics.median(b / m for b, m in zip(seconds["bare pass to the layer"], seconds["mining"], strict=True)),
            3,
        ),
        "mining of encoding all": round(
            statistics.median(d / m for d, m in zip(seconds["encoding all features"], seconds["mining"], strict=True)),
            2,
        ),
        "to reach": "0.9 of bare, 3 of encoding all",
    }


def memory_of(tokens: int) -> int:
    """Mine so many tokens with a very small model; returns how many there were."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    organism = ps.load("organism:llama")
    config = LlamaConfig(
        vocab_size=len(organism.tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=2048,
        initializer_range=0.3,
    )
    subject = ps.load(LlamaForCausalLM(config).eval(), tokenizer=organism.tokenizer)
    documents = [one.content for one in islice(own_corpus(organism).documents(), 400)]
    texts = [str(organism.tokenizer.apply_chat_template(one, tokenize=False)) for one in documents]

    def repeated(corpus: ps.Corpus) -> Any:
        from personascope.corpora import Document

        number = 0
        while True:
            for text in texts:
                # Each time round the text is another one, so that nothing is a copy.
                yield Document(str(number), f"{number} {text}")
                number += 1

    corpus = ps.Corpus("repeated", "repeated", repeated)
    return ps.mine_features(subject, random_sae(32, 4_096, 0), corpus, list(range(20)), tokens=tokens).tally.tokens


def memory(figure: Path) -> dict[str, Any]:
    """Peak memory of a process that mines so many tokens."""
    peaks = {}
    for tokens in MEMORY_TOKENS:
        code = _MEMORY.format(folder=str(Path(__file__).parent), tokens=tokens)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen, peak = map(int, run.stdout.split())
        peaks[seen] = peak / 1024
        print(f"{seen:>12,} tokens  {peak / 1024:7.0f} MiB", flush=True)
    _draw(peaks, figure)
    first, *_, last = peaks.values()
    return {
        "MiB": {f"{tokens:,}": round(peak) for tokens, peak in peaks.items()},
        "last of first": round(last / first, 3),
    }


def _draw(peaks: dict[int, float], figure: Path) -> None:
    chart, axes = plt.subplots(figsize=(6, 3.2))
    axes.plot(list(peaks), list(peaks.values()), marker="o")
    axes.set(xlabel="tokens mined", ylabel="peak memory, MiB", xscale="log", title="20 features mined")
    axes.set_ylim(0, 1.15 * max(peaks.values()))
    chart.tight_layout()
    chart.savefig(figure, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=["speed", "memory"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    name = "gpu" if arguments.device.startswith("cuda") else "cpu"
    parts = {
        "speed": lambda: speed(arguments.device, arguments.dtype, arguments.rounds),
        "memory": lambda: memory(arguments.out / "features-memory.png"),
    }
    path = arguments.out / f"features-{name}.json"
    record(parts, arguments.only, path, arguments.device, dtype=arguments.dtype, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
