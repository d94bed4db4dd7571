"""The text of a corpus that makes features fire: one pass, every token scored."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.corpora import Corpus, Document, read_corpus, texts_corpus
from personascope.engine.forward import Passage, mapped_of
from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.errors import UserError
from personascope.features.harvest import Block, Harvest
from personascope.features.mined import Mined
from personascope.features.sae import SAE, sae_layer
from personascope.features.windows import Window, windows
from personascope.runs.journal import Journal
from personascope.subject import Subject

# Tokens that are run before the lists are looked at again.
_BLOCK = 65_536
# Activations of a block at most, so that many features take shorter blocks.
_HELD = 1 << 24
# Tokens of a trial of the speed.
_TRIAL = 16_384


def mine_features(
    subject: Subject,
    sae: SAE,
    corpus: Corpus | str | Path | Sequence[Any],
    features: Sequence[int] | np.ndarray,
    top: int = 20,
    context: int = 64,
    tokens: int | None = None,
    per_document: int = 1,
    examples: int = 3,
    leave_out_sinks: bool = False,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    every: float = 20.0,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
) -> Mined:
    """The contexts that make features fire hardest, how often they fire, and how strongly.

    corpus: a `Corpus`, a file or folder, or a list of texts or chats. Every token but BOS is scored, in float32; with
    leave_out_sinks also tokens longer than ten times the median norm are left out, for SAEs that were trained so. Only the
    chosen features are encoded. top: contexts kept per feature, of `context` tokens, at most per_document from each
    document, copies counting once. tokens: stop after the document that reaches so many. examples: kept besides, per
    feature and octave of activation. Memory grows with features × contexts, and not with the corpus.
    The result is the same for any batch_tokens, but for scores that rounding brings into another order. journal: where
    finished stretches are entered every so many seconds; a second start goes on behind them.
    Raises `UserError` on an index that the SAE does not have, and on a corpus without tokens.
    """
    Subject.check(subject)
    chosen = [int(feature) for feature in features]
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError("name at least one feature to mine, and each of them once")
    if min(top, context, per_document) < 1 or examples < 0:
        raise UserError(f"top={top}, context={context} and per_document={per_document} must be 1 or more")
    layer = sae_layer(sae, subject)
    source = corpus if isinstance(corpus, Corpus) else _corpus(corpus)
    function = _function(subject, sae, chosen, layer, leave_out_sinks)
    harvest = Harvest(chosen, top, context, per_document, examples)
    done = 0 if journal is None else harvest.resume(journal)
    on_progress("thousands of tokens", None if tokens is None else tokens // 1000)
    for _ in range(harvest.tally.tokens // 1000):
        on_progress("", None)
    started = time.monotonic()
    size = max(_BLOCK // 8, min(_BLOCK, _HELD // len(chosen)))
    for block in _blocks(subject, source.documents(done), done, size, harvest.tally.tokens, tokens):
        passages = [Passage(window.prompt) for window in block.windows]
        try:
            read = mapped_of(subject, passages, layer, "all", function, batch_tokens=batch_tokens)
        except KeyboardInterrupt:
            # Most of the time goes here, where what has been harvested is whole.
            harvest.enter(journal)
            raise
        own = [rows[window.skipped :] for rows, window in zip(read, block.windows, strict=True)]
        before = harvest.tally.tokens
        harvest.take(block, torch.cat([torch.zeros(0, len(chosen)), *own]).numpy())
        for _ in range(before // 1000, harvest.tally.tokens // 1000):
            on_progress("", None)
        if time.monotonic() - started >= every or harvest.is_full:
            harvest.enter(journal)
            started = time.monotonic()
    if not harvest.tally.tokens:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in _left_out(source, harvest).items())
        raise UserError(f"the corpus {source.name} gives no tokens to mine: {reasons or 'all of it is blank'}")
    harvest.enter(journal)
    return Mined(
        model=subject.name,
        sae=sae.name,
        layer=layer,
        corpus=source.name,
        context=context,
        features=tuple(chosen),
        documents=harvest.documents,
        left_out=_left_out(source, harvest),
        contexts={feature: harvest.best.of(feature) for feature in chosen},
        examples={feature: harvest.bands.of(feature) for feature in chosen},
        sample=harvest.sample.windows,
        tally=harvest.tally,
        pieces=subject.pieces,
    )


def mining_rate(
    subject: Subject, sae: SAE, features: Sequence[int], corpus: Corpus, batch_tokens: int | None = None
) -> float:
    """Tokens a second of a short trial on the head of the corpus."""
    mine_features(subject, sae, corpus, features, tokens=1, batch_tokens=batch_tokens)
    started = time.monotonic()
    tokens = mine_features(subject, sae, corpus, features, tokens=_TRIAL, batch_tokens=batch_tokens).tally.tokens
    return tokens / (time.monotonic() - started)


def _corpus(source: str | Path | Sequence[Any]) -> Corpus:
    return read_corpus(source) if isinstance(source, str | Path) else texts_corpus(source)


def _left_out(source: Corpus, harvest: Harvest) -> dict[str, int]:
    """How many records and documents could not be mined, by reason."""
    empty = {"no tokens, or a chat that the template refuses": harvest.empty} if harvest.empty else {}
    return {**source.left_out, **empty}


def _function(
    subject: Subject, sae: SAE, features: list[int], layer: int, leave_out_sinks: bool
) -> Callable[[Tensor], Tensor]:
    """From activations to the codes of the chosen features, on the layer's device."""
    device = subject.layer_device(layer)
    encoder = sae.chosen(features, device)
    whole = None if encoder.is_exact else sae.chosen(None, device)
    limit = SINK_RATIO * median_norm(subject, layer) if leave_out_sinks else None

    def encode(rows: Tensor) -> Tensor:
        codes = encoder(rows)
        if whole is not None:
            # What it gives is never too small, so only tokens with something in them need all features.
            live = (codes > 0).any(dim=1)
            found = [all_codes[:, features] for _, all_codes in whole.in_chunks(rows[live])]
            codes[live] = torch.cat(found) if found else codes[live]
        if limit is not None:
            codes[rows.float().norm(dim=1) > limit] = 0.0
        return codes

    return encode


def _blocks(
    subject: Subject, documents: Iterator[Document], first: int, size: int, seen: int, limit: int | None
) -> Iterator[Block]:
    """Whole documents together, of `size` tokens or a little more, until they end or `limit` tokens are reached."""
    held: list[Window] = []
    count = empty = waiting = 0
    for found in windows(subject, documents, first=first):
        if limit is not None and seen >= limit:
            break
        tokens = sum(map(len, found))
        held += found
        count += 1
        empty += not found
        waiting += tokens
        seen += tokens
        if waiting >= size:
            yield Block(held, count, empty)
            held, count, empty, waiting = [], 0, 0, 0
    if count:
        yield Block(held, count, empty)
