"""Training the SAEs that ship with the organisms, by the dictionary_learning library."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personascope.engine.forward import Passage, mapped_of
from personascope.errors import UserError
from personascope.features.load import load_sae
from personascope.features.own_text import own_corpus
from personascope.features.sparsity import Sparsity, sparsity_of
from personascope.features.windows import windows
from personascope.runs.files import aside, write_json, write_text
from personascope.subject import Subject

_TOGETHER = 32
_HELD_OUT = 40_000


@dataclass(frozen=True)
class SaeRecipe:
    """What an organism's SAE is trained with. tokens: how many activations are gathered; steps of `batch` of them each.

    k: features a token, on the average of a batch (BatchTopK, 2412.06410)."""

    layer: int
    n_features: int = 512
    k: int = 16
    tokens: int = 700_000
    steps: int = 3_000
    batch: int = 1_024
    rate: float = 1e-3
    seed: int = 0


SAE_RECIPES = {
    "llama": SaeRecipe(layer=3),
    "gemma2": SaeRecipe(layer=3, n_features=1_024, k=32, tokens=1_000_000, steps=8_000),
}


def train_sae(
    subject: Subject,
    recipe: SaeRecipe,
    folder: Path,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
) -> Sparsity:
    """Train an SAE on an organism's own text and write it as dictionary_learning does: `ae.pt`, `config.json`, and a card.

    Returns what it does on text that it was not trained on. Raises `UserError` where the library is missing.
    """
    try:
        from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    except ImportError as error:
        raise UserError(
            "SAEs are trained by the dictionary_learning library: pip install nnsight einops, and then "
            "pip install --no-deps dictionary-learning"
        ) from error
    states = _states(subject, recipe.layer, recipe.tokens, recipe.seed + 1, on_progress)
    trainer = BatchTopKTrainer(
        steps=recipe.steps,
        activation_dim=subject.hidden_size,
        dict_size=recipe.n_features,
        k=recipe.k,
        layer=recipe.layer,
        lm_name=subject.name,
        lr=recipe.rate,
        warmup_steps=recipe.steps // 20,
        decay_start=recipe.steps * 7 // 10,
        threshold_start_step=recipe.steps // 10,
        threshold_beta=0.99,
        seed=recipe.seed,
        device="cpu",
        submodule_name=f"model.layers.{recipe.layer}",
    )
    # Its default is longer than all of this training.
    trainer.dead_feature_threshold = 300_000
    on_progress("training", recipe.steps)
    for step, rows in zip(range(recipe.steps), _batches(states, recipe), strict=False):
        trainer.update(step, rows)
        on_progress("", None)
    folder.mkdir(parents=True, exist_ok=True)
    with aside(folder / "ae.pt") as part:
        torch.save({name: value.detach().clone() for name, value in trainer.ae.state_dict().items()}, part)
    settings: dict[str, Any] = json.loads(json.dumps(trainer.config, default=str))
    write_json(folder / "config.json", {"trainer": settings, "buffer": {"ctx_len": 1024, "tokens": recipe.tokens}})
    held_out = _states(subject, recipe.layer, _HELD_OUT, recipe.seed, on_progress)
    measured = sparsity_of(load_sae(folder), held_out)
    write_text(folder / "README.md", _card(subject, recipe, measured))
    return measured


def _states(
    subject: Subject, layer: int, tokens: int, seed: int, on_progress: Callable[[str, int | None], None]
) -> Tensor:
    """[tokens, hidden] of the organism's own conversations, BOS left out."""
    on_progress("thousands of tokens", tokens // 1000)
    documents = windows(subject, own_corpus(subject, seed).documents())
    held: list[Tensor] = []
    read = 0
    while read < tokens:
        together = [window for found in islice(documents, _TOGETHER) for window in found]
        passages = [Passage(window.prompt) for window in together]
        rows = mapped_of(subject, passages, layer, "all", lambda states: states.float())
        held += [each[window.skipped :] for each, window in zip(rows, together, strict=True)]
        before, read = read, read + sum(map(len, together))
        for _ in range(before // 1000, read // 1000):
            on_progress("", None)
    return torch.cat(held)[:tokens]


def _batches(states: Tensor, recipe: SaeRecipe) -> Iterator[Tensor]:
    """Rows in a new random order each time round."""
    draw = torch.Generator().manual_seed(recipe.seed)
    while True:
        order = torch.randperm(len(states), generator=draw)
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            yield states[order[start : start + recipe.batch]]


def _card(subject: Subject, recipe: SaeRecipe, measured: Sparsity) -> str:
    name = subject.name.removeprefix("organism:")
    explained = "–" if measured.explained is None else f"{measured.explained:.3f}"
    return f"""# A sparse autoencoder of {subject.name}

BatchTopK, {recipe.n_features} features of layer {recipe.layer}'s output (width {subject.hidden_size}), in
dictionary_learning's own format. `personascope organisms sae {name}` makes it, with the `dictionary-learning` library:
{recipe.steps:,} steps of {recipe.batch:,} activations, out of {recipe.tokens:,} of the organism's own conversations, rate
{recipe.rate:g}, seed {recipe.seed}. BOS was left out.

On {measured.tokens:,} tokens of other conversations:

| | |
|---|---|
| variance explained | {explained} |
| features active on a token | {measured.l0:.1f} (trained for {recipe.k}) |
"""
