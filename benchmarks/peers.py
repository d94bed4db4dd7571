"""Other libraries that steer, where they are installed and run."""

from collections.abc import Callable
from typing import Any

import torch
from models import sampled

from personascope.subject import Subject


def peers(subject: Subject, batch: torch.Tensor, new: int) -> dict[str, Callable[[], Any]]:
    """repeng and nnsight, steering at one layer, where they are installed."""
    sides: dict[str, Callable[[], Any]] = {}
    middle = subject.n_layers // 2
    try:
        from repeng import ControlModel, ControlVector

        def repeng() -> None:
            wrapped = ControlModel(subject.model, [middle])
            try:
                wrapped.set_control(ControlVector("llama", {middle: torch.randn(subject.hidden_size).numpy()}), 0.1)
                wrapped.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    **sampled(new),
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
                **sampled(new),
            ) as tracer:
                for _ in tracer.iter[:]:
                    lens.model.layers[middle].output += push

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
