"""`personascope features mine`: the text of a corpus that makes features fire."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.saes import (
    FeaturesOption,
    FoundOption,
    LayerOption,
    SaeOption,
    ScaleOption,
    ThresholdOption,
    TrainerOption,
    check_found,
    check_sparsity,
    features_of,
    lenses_of,
    sae_for,
)
from personascope.cli.show import print_contexts
from personascope.cli.terminal import (
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
)
from personascope.corpora import Corpus, read_corpus
from personascope.engine import load
from personascope.errors import UserError
from personascope.features.mine import mine_features, mining_rate
from personascope.features.own_text import own_corpus
from personascope.report.features import save_mined_run
from personascope.runs import Config, RunFolder, cell_key
from personascope.subject import Subject

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kMB]?)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def mine_command(
    model: ModelArgument,
    corpus: Annotated[
        str,
        typer.Option(
            "--corpus",
            help=".txt, .jsonl, .csv, .parquet, a folder of them, hf:DATASET[:SPLIT], or own (an organism's)",
        ),
    ],
    sae: SaeOption = None,
    layer: LayerOption = None,
    trainer: TrainerOption = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = None,
    features: FeaturesOption = None,
    found: FoundOption = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="stop after so many, such as 500k or 10M")] = None,
    top: Annotated[int, typer.Option("--top", help="contexts kept per feature")] = 20,
    context: Annotated[int, typer.Option("--context", help="tokens of a context")] = 64,
    per_document: Annotated[int, typer.Option("--per-document", help="contexts from one document, at most")] = 1,
    examples: Annotated[int, typer.Option("--examples", help="kept besides, per octave of activation")] = 3,
    leave_out_sinks: Annotated[
        bool, typer.Option("--leave-out-sinks", help="leave out tokens of ten times the median norm")
    ] = False,
    column: Annotated[str | None, typer.Option("--column", help="the field of a record that holds the text")] = None,
    batch_tokens: Annotated[int | None, typer.Option("--batch-tokens", help="tokens run together", min=1)] = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Mine a corpus for the contexts that make features fire hardest, and count how often they fire."""
    quiet_libraries()
    listed, held = features_of(features, found)
    limit = parse_count(tokens)
    subject = load(model, device=device, dtype=dtype)
    chosen = sae_for(subject, sae, layer, trainer, threshold, scale)
    check_found(held, chosen)
    check_sparsity(chosen, subject)
    source = _corpus(subject, corpus, column, seed)
    if corpus == "own" and limit is None:
        raise UserError("an organism's own text has no end; say how much of it with --tokens, such as 1M")
    if estimate:
        _estimate(mining_rate(subject, chosen, listed, source, batch_tokens), limit, as_json)
        return
    identity: dict[str, Any] = {
        "sae": chosen.digest,
        "corpus": source.fingerprint,
        "features": listed,
        "top": top,
        "context": context,
        "per_document": per_document,
        "examples": examples,
        "leave_out_sinks": leave_out_sinks,
        "column": column,
    }
    path = out or Path("runs") / f"features-mine-{cell_key(model=model, seed=seed, **identity)[:8]}"
    config = Config(identity, {"tokens": limit}, _runtime(subject, batch_tokens, found))
    folder = RunFolder.open(path, "features mine", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        mined = mine_features(
            subject,
            chosen,
            source,
            listed,
            top,
            context,
            limit,
            per_document,
            examples,
            leave_out_sinks,
            batch_tokens,
            folder.journal,
            on_progress=advance,
        )
        lenses = lenses_of(chosen, subject, listed)
        page = save_mined_run(folder, mined, held, lenses)
    for reason, count in mined.left_out.items():
        say(f"note: {count:,} records left out: {reason}")
    if as_json:
        emit({"run": folder.path, "report": page, **mined.describe()})
        return
    print_contexts(mined, 1)
    print(f"\nreport  {page}")


def parse_count(text: str | None) -> int | None:
    """A number of tokens such as 500k, 10M or 1.5B. Raises `UserError` on anything else."""
    if text is None:
        return None
    match = _COUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    count = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if count < 1:
        raise UserError(f"--tokens {text!r} is no number of tokens; write it as 500k, 10M or 10000000")
    return count


def _runtime(subject: Subject, batch_tokens: int | None, found: Path | None) -> dict[str, Any]:
    return {
        "device": str(subject.input_device),
        "batch_tokens": batch_tokens,
        "found": str(found.resolve()) if found else None,
    }


def _corpus(subject: Subject, source: str, column: str | None, seed: int) -> Corpus:
    if source == "own":
        return own_corpus(subject, seed)
    if source.startswith("hf:"):
        from personascope.corpora.datasets import stream_dataset

        return stream_dataset(source, column, seed)
    return read_corpus(source, column)


def _estimate(rate: float, limit: int | None, as_json: bool) -> None:
    seconds = limit / rate if limit is not None else None
    if as_json:
        emit({"tokens": limit, "tokens_per_second": rate, "seconds": seconds})
        return
    whole = f": about {seconds:,.0f} s for {limit:,}" if seconds is not None else "; say how many with --tokens"
    print(f"{rate:,.0f} tokens a second in a short trial{whole}")
