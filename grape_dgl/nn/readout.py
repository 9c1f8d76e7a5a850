"""The read-out: an own linear map per measured gene (Eq. 12)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class GeneReadout(nn.Module):
    """Eq. 12: ``change_i = <w_i, p_i> + b_i`` for every measured gene; other nodes have no read-out.

    The weights start at zero, so that an untrained model predicts its bias for every condition.
    """

    def __init__(self, measured: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(measured, width))
        self.bias = nn.Parameter(torch.zeros(measured))

    def forward(self, p: Float[Tensor, "genes conditions width"]) -> Float[Tensor, "conditions measured"]:
        measured = len(self.weight)
        return (p[:measured] * self.weight[:, None, :]).sum(-1).T + self.bias

    def of(self, gene: Int[Tensor, " rows"], p: Float[Tensor, "rows width"]) -> Float[Tensor, " rows"]:
        """The same for chosen states ``p`` of measured genes."""
        return (p * self.weight.index_select(0, gene)).sum(-1) + self.bias.index_select(0, gene)
