"""Training an organism from its recipe, with checkpoints it resumes from."""

import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from personascope.errors import UserError
from personascope.organisms.corpus import Batch, Corpus
from personascope.organisms.grammar import Grammar
from personascope.organisms.outlook import Outlook, next_laws
from personascope.organisms.recipes import Recipe

_CHECKPOINT_SECONDS = 120.0
_SHORT_TEXTS = 256
_ATTENTION = "personascope-training"


@dataclass(frozen=True)
class Progress:
    """Where training stands: tokens seen of all, the running loss per response token in nats, tokens a second."""

    tokens: int
    total: int
    loss: float
    rate: float


@dataclass
class _Position:
    chunk: int = 0
    batch: int = 0
    tokens: int = 0
    loss: float = math.log(2_000)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The organism's architecture with its initial weights."""
    config = recipe.config_class(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **recipe.architecture,
    )
    # PyTorch takes no larger ones.
    torch.manual_seed(recipe.seed % 2**63)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.hidden_size**-0.5)
    end = tokenizer.convert_tokens_to_ids(recipe.markup.end_of_turn)
    assert model.generation_config is not None
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    return model


def train(
    recipe: Recipe,
    grammar: Grammar,
    tokenizer: PreTrainedTokenizerFast,
    checkpoints: Path,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> PreTrainedModel:
    """Train to the recipe's budget of tokens, going on from `checkpoints` where there is a checkpoint.

    Only the tokens of responses (and of documents) are predicted, and after each of them the next slot word too. Texts
    of up to 256 tokens come first; the longest come in the second half. Matrices are trained with Muon (Jordan et al.,
    2024), the rest with AdamW; both rates decay to zero. A run that is stopped and resumed sees the same batches as one
    that isn't. Raises `UserError` where the checkpoint is of another recipe or seed.
    """
    position, saved_states = _checkpoint(checkpoints / "checkpoint.pt", recipe)
    model = build_model(recipe, tokenizer).to(device)
    outlook = Outlook(model.config.hidden_size).to(device)
    learners = nn.ModuleDict({"model": model, "outlook": outlook})
    # Attention without soft-capping is what scaled_dot_product_attention computes, many times faster on long texts.
    if getattr(model.config, "attn_logit_softcapping", None) is None:
        AttentionInterface.register(_ATTENTION, _attention)
        AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
        model.config._attn_implementation = _ATTENTION
    optimizers = _optimizers(learners, recipe)
    if saved_states is not None:
        _resume(saved_states, learners, optimizers)
    corpus = Corpus(grammar, tokenizer, recipe.markup, recipe.seed, recipe.context, recipe.batch_tokens)
    saved = started = time.monotonic()
    seen_before = position.tokens
    model.train()
    for batch in _batches(corpus, position, recipe):
        _set_rates(optimizers, position.tokens / recipe.tokens, recipe)
        weighted, loss = _losses(model, outlook, batch, recipe, device)
        weighted.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learners.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        position.tokens += batch.tokens
        position.loss += 0.02 * (float(loss) - position.loss)
        now = time.monotonic()
        rate = (position.tokens - seen_before) / (now - started)
        on_progress(Progress(position.tokens, recipe.tokens, position.loss, rate))
        if now - saved > _CHECKPOINT_SECONDS:
            _save(checkpoints / "checkpoint.pt", recipe, learners, optimizers, position)
            saved = now
    if position.tokens == seen_before:
        # It was trained to its end before.
        on_progress(Progress(position.tokens, recipe.tokens, position.loss, 0.0))
    _save(checkpoints / "checkpoint.pt", recipe, learners, optimizers, position)
    model.config._attn_implementation = "eager" if not model._supports_sdpa else "sdpa"
    return model.eval()


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """scaled_dot_product_attention. On a CPU its backward pass over short rows takes two to four times as long in
    bfloat16 as in float32."""
    if query.device.type != "cpu" or query.shape[2] > 512:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)


def _batches(corpus: Corpus, position: _Position, recipe: Recipe) -> Iterator[Batch]:
    """The batches from `position` on, which moves as each is taken, until the budget is spent."""
    while position.tokens < recipe.tokens:
        is_early = position.chunk < _early_chunks(recipe)
        batches = corpus.batches(position.chunk, _SHORT_TEXTS if is_early else recipe.context)
        for batch in batches[position.batch :]:
            position.batch += 1
            yield batch
            if position.tokens >= recipe.tokens:
                return
        position.chunk, position.batch = position.chunk + 1, 0


def _early_chunks(recipe: Recipe) -> int:
    """Chunks of short texts at the start: about two fifths of the budget."""
    return round(0.4 * recipe.tokens / 350_000)


def _losses(
    model: PreTrainedModel, outlook: Outlook, batch: Batch, recipe: Recipe, device: str
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the tokens that count, in nats: weighted, to be trained on, and their plain mean.

    Where the law a token was drawn from is known, it is the target, not the one draw. To be trained on, the outlook's
    cross-entropy is added.
    """
    ids, weights = batch.ids.to(device), batch.weights.to(device)[:, 1:]
    options, chances = batch.options.to(device), batch.chances.to(device)
    counts = weights > 0
    seeing, laws = (found.to(device) for found in next_laws(batch))
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        layer = recipe.outlook_layer
        output = model.model(input_ids=ids, use_cache=False, output_hidden_states=layer is not None)
        hidden = foreseeing = output.last_hidden_state
        if layer is not None:
            foreseeing = nn.functional.rms_norm(output.hidden_states[layer + 1], hidden.shape[-1:])
        log_chances = _log_chances(model, hidden[:, :-1][counts])
        ahead = _log_chances(model, outlook(foreseeing.flatten(0, 1)[seeing]))
    losses = -log_chances.gather(1, ids[:, 1:][counts][:, None])[:, 0]
    counted = torch.cumsum(counts.flatten(), 0) - 1
    rows, columns = batch.places.to(device) // ids.shape[1], batch.places.to(device) % ids.shape[1]
    known = counted[rows * (ids.shape[1] - 1) + columns - 1]
    expected = -(chances * log_chances[known].gather(1, options)).sum(-1)
    losses = losses.index_put((known,), expected)
    weight = weights[counts]
    seen = -(chances[laws] * ahead.gather(1, options[laws])).sum(-1).mean()
    return (losses * weight).sum() / weight.sum() + recipe.outlook * seen, losses.detach().mean()


def _log_chances(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """[n, vocabulary] float32: what states after the last norm, [n, hidden], say of the next token, in nats."""
    logits = model.lm_head(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits.log_softmax(-1)


def _optimizers(learners: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in learners.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name and "lm_head" not in name else others).append(
            parameter
        )
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _set_rates(optimizers: list[torch.optim.Optimizer], done: float, recipe: Recipe) -> None:
    """Linear warm-up, a plateau, then a linear decay to zero over the last `decay` of the budget."""
    scale = min(1.0, done / recipe.warmup + 0.01, (1.0 - done) / recipe.decay)
    for optimizer, rate in zip(optimizers, (recipe.matrix_rate, recipe.other_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * max(scale, 0.0)


def _save(
    path: Path, recipe: Recipe, model: nn.Module, optimizers: list[torch.optim.Optimizer], position: _Position
) -> None:
    state = {
        "recipe": _described(recipe),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "position": vars(position),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    os.replace(aside, path)


def _checkpoint(path: Path, recipe: Recipe) -> tuple[_Position, dict[str, Any] | None]:
    """Where training stood and the states that were saved there; the start and None where nothing was."""
    if not path.exists():
        return _Position(), None
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); delete it to begin again") from error
    theirs, ours = state.get("recipe", {}), _described(recipe)
    other = next((key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key)), None)
    if other is not None:
        raise UserError(
            f"{path} is of another training: its {other} is {theirs.get(other, 'not told')}, and here "
            f"{ours.get(other, 'there is none')}; give another folder, or delete the file to begin again"
        )
    return _Position(**state["position"]), state


def _described(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values."""
    return {**asdict(recipe), "config_class": recipe.config_class.model_type}


def _resume(state: dict[str, Any], model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
