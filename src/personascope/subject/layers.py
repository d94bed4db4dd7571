"""Finding a model's decoder blocks."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from personascope.errors import UserError

_USUAL_NAMES = ("layers", "h", "blocks", "block", "layer")
_TREE_LINES = 60


def find_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks of a causal language model, in order.

    They are the `ModuleList` inside the decoder whose length is the text config's `num_hidden_layers`; of several,
    the one nearest to the decoder's root. Raises `UserError`, with the module tree, where that settles nothing.
    """
    base = unwrap(model)
    config = base.config.get_text_config(decoder=True)
    count = getattr(config, "num_hidden_layers", None)
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else base
    for root in (decoder, base):
        if not isinstance(root, nn.Module):
            continue
        found = [(name, lists) for name, lists in _lists(root) if len(lists) == count]
        if found:
            depth = min(name.count(".") for name, _ in found)
            nearest = [(name, lists) for name, lists in found if name.count(".") == depth]
            usual = [pair for pair in nearest if pair[0].rsplit(".", 1)[-1] in _USUAL_NAMES]
            if len(nearest) == 1 or len(usual) == 1:
                return (usual or nearest)[0][1]
    raise UserError(
        f"the decoder blocks of {type(base).__name__} were not found: no single list of {count} modules in it. "
        f"Its modules are:\n{module_tree(base)}"
    )


def unwrap(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside PEFT or torch.compile wrappers."""
    inner: Any = getattr(model, "_orig_mod", model)
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    return inner


def _lists(root: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    return ((name, module) for name, module in root.named_modules() if isinstance(module, nn.ModuleList))


def module_tree(model: nn.Module) -> str:
    """The model's modules as an indented outline, repeated list items folded into one."""
    lines: list[str] = []
    _outline(model, "model", 0, lines)
    if len(lines) > _TREE_LINES:
        lines = [*lines[:_TREE_LINES], f"… and {len(lines) - _TREE_LINES} more"]
    return "\n".join(lines)


def _outline(module: nn.Module, name: str, depth: int, lines: list[str]) -> None:
    size = f" × {len(module)}" if isinstance(module, nn.ModuleList) else ""
    lines.append(f"{'  ' * depth}{name}: {type(module).__name__}{size}")
    children = list(module.named_children())
    for child_name, child in children[:1] if isinstance(module, nn.ModuleList) else children:
        _outline(child, child_name, depth + 1, lines)
