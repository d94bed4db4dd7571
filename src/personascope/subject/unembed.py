"""From the residual stream to the vocabulary: what the model's own last norm and output matrix make of a vector."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from personascope.errors import UserError


def final_norm(base: PreTrainedModel, layers: nn.ModuleList) -> nn.Module:
    """The norm between the last decoder block and the output matrix: the last norm beside the list of blocks.

    Raises `UserError` where there is none.
    """
    for parent in base.modules():
        children = list(parent.children())
        if any(child is layers for child in children):
            norms = [child for child in children if "norm" in type(child).__name__.lower()]
            if norms:
                return norms[-1]
    raise UserError(f"no norm after the decoder blocks of {type(base).__name__} was found, so it has no logit lens")


@torch.no_grad()
def unembed(base: PreTrainedModel, layers: nn.ModuleList, vector: Tensor, device: torch.device) -> Tensor:
    """[vocabulary] float32: how much a vector [hidden] at the end of the residual stream raises each token's logit.

    device: where the last block's output is. Half of norm(v)·W − norm(−v)·W: biases of the norm and of the matrix
    cancel, and a soft cap on logits is left out. In float32, but for matrices that are quantised or not held in memory:
    those are applied as the model does.
    Source: the logit lens (nostalgebraist, 2020), applied to a direction.
    """
    norm, head = final_norm(base, layers), base.get_output_embeddings()
    if head is None:
        raise UserError(f"{type(base).__name__} has no output matrix, so it has no logit lens")
    both = norm(torch.stack([vector, -vector]).to(device, base.dtype))
    project = getattr(base.get_decoder() if hasattr(base, "get_decoder") else base, "project_out", None)
    if isinstance(project, nn.Module):
        both = project(both)
    config = base.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    matrix = head.weight
    if matrix.is_floating_point() and not matrix.is_meta:
        odd = (both[0].float() - both[1].float()) / 2
        return scale * (matrix.float() @ odd.to(matrix.device)).cpu()
    up, down = head(both).float()
    return scale * ((up - down) / 2).cpu()
