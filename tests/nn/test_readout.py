"""Eq. 12: an own linear map per measured gene."""

from __future__ import annotations

import torch

from grape_dgl.nn.readout import GeneReadout


def test_eq12_by_hand() -> None:
    """Gene 0: 1*1 + 2*2 + .5 = 5.5; gene 1: 3*(-1) + 4*1 - 1 = 0; node 2 is not measured. Second condition doubled."""
    readout = GeneReadout(2, 2)
    readout.weight.data = torch.tensor([[1.0, 2.0], [-1.0, 1.0]])
    readout.bias.data = torch.tensor([0.5, -1.0])
    once = torch.tensor([[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]])
    out = readout(torch.stack([once, 2 * once], dim=1))
    assert out.tolist() == [[5.5, 0.0], [10.5, 1.0]]


def test_starts_with_almost_no_change() -> None:
    torch.manual_seed(0)
    change = GeneReadout(500, 64)(torch.nn.functional.layer_norm(torch.randn(500, 3, 64), (64,)))
    assert change.std() < 0.05
