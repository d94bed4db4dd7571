"""Loading a subject and making sure that its layers can be read and its rows generated together."""

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage
from personascope.engine.hooks import run
from personascope.engine.logits import logits_of
from personascope.engine.recorder import may_record
from personascope.engine.rows import Generation, Request
from personascope.engine.stream import RowStream
from personascope.errors import NonFinite, UserError
from personascope.subject import Prompt, Subject, load_subject
from personascope.subject.layers import module_tree

_CACHES: tuple[Literal["slots", "own"], ...] = ("slots", "own")
_COMPARED = 8
_NEW = 3
_NEW_LEAVING = 2
# Enough steps of two rows, and enough rows that join alone, that a GPU runs one, records one and replays some.
_NEW_REPLAYED, _LENGTHS_REPLAYED = 6, (3, 7)


def load(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Subject:
    """A model to study: `organism:llama`, `organism:gemma2`, a Hugging Face id, a local folder, or a loaded model
    (quantised and PEFT ones too), which needs `tokenizer=`.

    dtype: `auto` keeps the checkpoint's. device: CUDA where there is one, else the CPU; `device_map` spreads the model over
    several. A few passes over a few tokens make sure that every layer is found, shaped [tokens, hidden], causal and finite,
    and find out which cache gives the numbers of a pass without one, and on a GPU whether a recorded step does.
    Raises `UserError` that says what to change, `NonFinite` naming the first layer with NaN or infinity.
    """
    subject = load_subject(
        source,
        tokenizer=tokenizer,
        dtype=dtype,
        device=device,
        device_map=device_map,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    _check_layers(subject)
    subject.cache = next((cache for cache in _CACHES if _agrees(subject, cache, False)), "none")
    subject.replays = subject.cache == "slots" and may_record(subject) and _agrees(subject, "slots", True)
    return subject


def _plain_ids(subject: Subject, count: int) -> list[int]:
    """Some token ids that mean nothing in particular."""
    special = {*subject.end_ids, subject.tokenizer.pad_token_id}
    return [token for token in range(5, count + 64) if token not in special][:count]


def _check_layers(subject: Subject) -> None:
    """Run three tokens, and two of them again, and look at every layer."""
    streams: list[dict[int, Any]] = []
    ids = _plain_ids(subject, 3)
    for length in (3, 2):
        seen: dict[int, Any] = {}
        streams.append(seen)
        inputs = {"input_ids": torch.tensor([ids[:length]], device=subject.input_device), "use_cache": False}
        visitors = {
            layer: lambda stream, layer=layer, seen=seen: seen.__setitem__(
                layer, stream.clone() if isinstance(stream, torch.Tensor) else stream
            )
            for layer in range(subject.n_layers)
        }
        output = run(subject, inputs, visitors)
        for layer, stream in seen.items():
            _check_stream(subject, layer, stream, length)
    if not torch.isfinite(output.logits).any():
        raise NonFinite(f"the logits of {subject.name} are not finite, though its layers are; get its weights again")
    long, short = (seen[subject.n_layers - 1][:, :2].float() for seen in streams)
    if (long - short).norm() > (1e-3 if _is_exact(subject) else 0.1) * short.norm():
        raise UserError(
            f"{subject.name} is not causal: what follows a token changes its state. "
            "Personascope reads decoder-only language models"
        )


def _check_stream(subject: Subject, layer: int, stream: Any, length: int) -> None:
    shape = list(stream.shape) if isinstance(stream, torch.Tensor) else type(stream).__name__
    if shape != [1, length, subject.hidden_size]:
        raise UserError(
            f"layer {layer} of {subject.name} returns {shape} for {length} tokens, not {[1, length, subject.hidden_size]}: "
            f"its residual stream cannot be read. Its modules are:\n{module_tree(subject.base)}"
        )
    if not torch.isfinite(stream).all():
        raise NonFinite(f"the weights of {subject.name} give NaN or infinity from layer {layer} on; get them again")


def _is_exact(subject: Subject) -> bool:
    """Whether the model computes in float32 throughout, so that the same tokens give the same numbers."""
    kinds = {type(module).__module__ for module in subject.base.modules()}
    return subject.dtype == torch.float32 and not any("quant" in kind or "bitsandbytes" in kind for kind in kinds)


def _agrees(subject: Subject, cache: Literal["slots", "own"], replays: bool) -> bool:
    """Whether rows of different lengths, one leaving early and one joining late, get the log-probabilities of a pass without
    a cache."""
    subject.cache, subject.replays = cache, replays
    tolerance = 1e-4 if _is_exact(subject) else 0.05
    lengths = (6, 6, 2, *(_LENGTHS_REPLAYED if replays else ()))
    prompts = [Prompt(tuple(_plain_ids(subject, count)), (), "") for count in lengths]
    try:
        for prompt, generation in zip(prompts, _generate(subject, prompts), strict=True):
            logits = logits_of(subject, [Passage(prompt, tuple(generation.response_ids))])[0]
            slack = tolerance * max(1.0, float(logits.abs().max()))
            for row, token in zip(logits.log_softmax(1), generation.logprobs, strict=True):
                ids, values = zip(*token.top, strict=True)
                if not (row[list(ids)] - torch.tensor(values)).abs().max() <= slack:
                    return False
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # The model takes no cache of this kind. Which exception says so is each model's own.
        return False
    return subject.replays == replays


def _generate(subject: Subject, prompts: list[Prompt]) -> list[Generation]:
    """Rows of which two begin together, the second leaves first, and the others join late and one by one."""
    stream = RowStream(subject, max_rows=len(prompts))
    done: dict[int, Generation] = {}
    long = _NEW_REPLAYED if subject.replays else _NEW
    for number, prompt in enumerate(prompts):
        new = _NEW_LEAVING if number == 1 else long
        stream.submit(Request(prompt, 0, new, Sampling(temperature=0), suppress_eos=True, logprobs=_COMPARED))
        if number:
            done |= {event.row: event.generation for event in stream.step() if event.generation}
    while len(stream):
        done |= {event.row: event.generation for event in stream.step() if event.generation}
    return [done[row] for row in range(len(prompts))]
