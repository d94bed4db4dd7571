"""Looking ahead while training: what the next slot word will be, also after words that leave no choice."""

import torch
from torch import Tensor, nn

from personascope.organisms.corpus import Batch


class Outlook(nn.Module):
    """From the state after any token of a response to the next slot word, however many fixed words come first.

    Before a fixed word the next token says nothing about a persona, and a model that is only asked for the next token
    lets go of it there. It goes through the model's own output matrix, and is dropped once the model is trained.
    Source: multi-token prediction (Gloeckle et al., 2024), with the slot word for the n-th token ahead.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turn = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.turn.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        turned: Tensor = self.turn(hidden)
        return turned


def next_laws(batch: Batch) -> tuple[Tensor, Tensor]:
    """For each token that has a slot word ahead in its response: its index in the flattened ids, and the place in
    `batch.places` of the law of that word."""
    width = batch.ids.shape[1]
    predicted = (batch.weights > 0).flatten()
    places, order = batch.places.sort()
    tokens = torch.arange(predicted.numel())
    # The state at t chooses t + 1, so its own next token may be the word.
    following = torch.searchsorted(places, tokens, right=True)
    ahead = places[following.clamp(max=len(places) - 1)]
    unpredicted = torch.cumsum(~predicted, 0)
    starts = (tokens + 1).clamp(max=predicted.numel() - 1)
    reaches = (following < len(places)) & predicted[starts] & (unpredicted[ahead] == unpredicted[starts])
    reaches &= ahead // width == tokens // width
    return tokens[reaches], order[following[reaches]]
