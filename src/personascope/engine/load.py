"""Loading a subject and making sure that its layers can be read."""

from typing import Any

import torch

from personascope.engine.hooks import run
from personascope.errors import NonFinite, UserError
from personascope.subject import Subject, load_subject
from personascope.subject.layers import module_tree


def load(source: Any, **settings: Any) -> Subject:
    """A model to study: `organism:llama`, `organism:gemma2`, a Hugging Face id, a local folder, or a loaded model.

    Settings: tokenizer (needed with a loaded model), dtype ("auto"), device, device_map, revision, trust_remote_code.
    A pass over three tokens makes sure that every layer is found, shaped [tokens, hidden] and finite.
    Raises `UserError` that says what to change, `NonFinite` naming the first layer with NaN or infinity.
    """
    subject = load_subject(source, **settings)
    probe(subject)
    return subject


def probe(subject: Subject) -> None:
    """Run three tokens and look at every layer."""
    shapes: dict[int, torch.Size] = {}
    broken: list[int] = []

    def look(layer: int, stream: Any) -> None:
        if not isinstance(stream, torch.Tensor):
            raise UserError(f"layer {layer} of {subject.name} returns no tensor; its modules are:\n{module_tree(subject.base)}")
        shapes[layer] = stream.shape
        if not torch.isfinite(stream).all():
            broken.append(layer)

    ids = [token for token in range(64) if token not in subject.end_ids][:3]
    inputs = {"input_ids": torch.tensor([ids], device=subject.input_device), "use_cache": False}
    visitors = {layer: lambda stream, layer=layer: look(layer, stream) for layer in range(subject.n_layers)}
    output = run(subject, inputs, visitors)
    if broken:
        raise NonFinite(f"the weights of {subject.name} give NaN or infinity from layer {min(broken)} on; get them again")
    if not torch.isfinite(output.logits).any():
        raise NonFinite(f"the logits of {subject.name} are not finite, though its layers are; get its weights again")
    expected = torch.Size([1, 3, subject.hidden_size])
    wrong = {layer: shape for layer, shape in shapes.items() if shape != expected}
    if wrong:
        layer, shape = next(iter(wrong.items()))
        raise UserError(
            f"layer {layer} of {subject.name} returns {list(shape)} for 3 tokens, not {list(expected)}: "
            f"its residual stream cannot be read. Its modules are:\n{module_tree(subject.base)}"
        )
