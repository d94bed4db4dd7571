"""The model under study, with its tokenizer."""

import hashlib
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from personascope.errors import UserError
from personascope.organisms.truth import Truth
from personascope.subject.chat import ChatFormat
from personascope.subject.layers import unwrap
from personascope.subject.pieces import token_pieces
from personascope.subject.unembed import unembed

# What configs call the longest text, most before few.
_LIMITS = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx")
_SAMPLED_VALUES = 64


class Workers(Protocol):
    """Others who run rows: each row's number and what came of it, in any order."""

    def run(
        self, requests: Sequence[Any], batch_size: int | None, means: Sequence[Any], mean_layers: Sequence[int] | None
    ) -> Iterable[tuple[int, Any]]: ...


@dataclass(eq=False)
class Subject:
    """A causal language model, its tokenizer and its decoder blocks.

    name: the id it was loaded by. truth: what was planted in it, None unless it is an organism.
    norms: median residual norms by layer, filled as they are measured. cache: how rows that are generated together
    keep their keys and values: in `slots` that rows join and leave, in the model's `own` cache, or `none`. replays: whether
    a step of theirs is recorded and replayed, which a GPU does without waiting for Python. takes_trees: whether texts that
    begin alike can be run in one row, None until it was tried. workers: who runs the rows that are sampled, this process if
    None.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layers: nn.ModuleList
    name: str
    truth: Truth | None = None
    revision: str | None = None
    norms: dict[int, float] = field(default_factory=dict)
    cache: Literal["slots", "own", "none"] = "slots"
    replays: bool = False
    takes_trees: bool | None = None
    workers: "Workers | None" = None

    @staticmethod
    def check(value: Any) -> "Subject":
        """A subject, as it is. Raises `UserError` on anything else, such as a model's name."""
        if isinstance(value, Subject):
            return value
        load = f"ps.load({value!r})" if isinstance(value, str) else "ps.load"
        raise UserError(f"{value!r:.60} is no loaded subject; give what {load} returns")

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @cached_property
    def base(self) -> PreTrainedModel:
        """The transformers model, PEFT and compile wrappers taken off."""
        return unwrap(self.model)

    @cached_property
    def takes_positions(self) -> bool:
        """Whether a pass can be told where its tokens stand."""
        return "position_ids" in signature(self.base.forward).parameters

    @cached_property
    def text_config(self) -> Any:
        return self.base.config.get_text_config(decoder=True)

    @cached_property
    def hidden_size(self) -> int:
        return int(self.text_config.hidden_size)

    @cached_property
    def context(self) -> int | None:
        """The longest text the model was made for, in tokens; None where its config sets no limit."""
        limits = (getattr(self.text_config, name, None) for name in _LIMITS)
        return next((int(limit) for limit in limits if limit), None)

    @property
    def dtype(self) -> torch.dtype:
        """The residual stream's dtype."""
        return next(
            (p.dtype for p in self.layers.parameters() if p.dtype.is_floating_point and p.element_size() > 1),
            torch.float32,
        )

    @property
    def input_device(self) -> torch.device:
        """Where token ids go."""
        embeddings = self.base.get_input_embeddings()
        weight = getattr(embeddings, "weight", None)
        device = weight.device if weight is not None else next(self.base.parameters()).device
        return device if device.type != "meta" else _execution_device(embeddings)

    def layer_device(self, layer: int) -> torch.device:
        """Where a decoder block computes."""
        block = self.layers[layer]
        device = next((p.device for p in block.parameters()), self.input_device)
        return device if device.type != "meta" else _execution_device(block)

    @property
    def chat(self) -> ChatFormat:
        return ChatFormat(self.tokenizer)

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Every token that ends a response: those of the generation config, the tokenizer and the chat template."""
        found = set(self.chat.end_ids())
        config = getattr(self.base, "generation_config", None)
        for owner in (config, self.text_config, self.tokenizer):
            ids = getattr(owner, "eos_token_id", None)
            found.update(
                int(token) for token in (ids if isinstance(ids, (list, tuple)) else [ids]) if token is not None
            )
        return frozenset(found)

    def unembed(self, vector: torch.Tensor) -> torch.Tensor:
        """[vocabulary] float32: how much a vector [hidden] raises each token's logit, by the logit lens.

        Raises `UserError` on a vector of another width.
        """
        if tuple(vector.shape) != (self.hidden_size,):
            raise UserError(
                f"a vector of shape {list(vector.shape)} does not fit {self.name}, of width {self.hidden_size}"
            )
        return unembed(self.base, self.layers, vector, self.layer_device(self.n_layers - 1))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text each token adds."""
        return token_pieces(self.tokenizer, ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def check_layer(self, layer: int) -> int:
        """The layer, if the model has it. Raises `UserError` otherwise."""
        try:
            number = operator.index(layer)
        except TypeError as error:
            raise UserError(f"layer {layer!r} is no whole number") from error
        if not 0 <= number < self.n_layers:
            raise UserError(f"layer {number} is out of range: {self.name} has layers 0 to {self.n_layers - 1}")
        return number

    def check_length(self, tokens: int, room: int = 0) -> None:
        """Raises `UserError` for a text of no tokens, and for one that does not fit the context with `room` more."""
        if not tokens:
            raise UserError("an empty text has no tokens; give at least one character")
        if self.context is not None and tokens + room > self.context:
            raise UserError(
                f"a text of {tokens} tokens does not fit {self.name}'s context of {self.context}; shorten it"
            )

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Short hashes of the weights (names, shapes and a sample of values) and of the chat template."""
        weights = hashlib.sha256()
        for name, parameter in sorted(self.base.state_dict().items()):
            weights.update(f"{name}{tuple(parameter.shape)}".encode())
            if parameter.device.type != "meta" and parameter.numel():
                flat = parameter.detach().reshape(-1)
                sample = flat[:: max(1, len(flat) // _SAMPLED_VALUES)][:_SAMPLED_VALUES]
                weights.update(sample.double().cpu().numpy().tobytes())
        template = str(self.tokenizer.chat_template or "").encode()
        return {"weights": weights.hexdigest()[:16], "chat_template": hashlib.sha256(template).hexdigest()[:16]}

    def describe(self) -> dict[str, Any]:
        """What identifies the subject in a run: plain values."""
        return {
            "model": self.name,
            "revision": self.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "layers": self.n_layers,
            "hidden_size": self.hidden_size,
            **self.fingerprint,
        }

    def __repr__(self) -> str:
        return f"Subject({self.name!r}, layers={self.n_layers}, hidden={self.hidden_size}, dtype={self.dtype})"


def _execution_device(module: torch.nn.Module) -> torch.device:
    """Where a module computes whose weights accelerate keeps elsewhere: its own hook says it, or one inside it."""
    devices = (getattr(getattr(each, "_hf_hook", None), "execution_device", None) for each in module.modules())
    return torch.device(next(device for device in devices if device is not None))
