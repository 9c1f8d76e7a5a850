"""Rows of several conditions: everywhere, renumbered, joined."""

from __future__ import annotations

import torch

from grape_dgl.nn.reached import Reached


def dense(found: Reached, conditions: int) -> torch.Tensor:
    """[genes, conditions, width]"""
    whole = found.unmasked[:, None].repeat(1, conditions, 1)
    whole[found.gene, found.column] = found.state
    return whole


def test_rows_are_where_they_belong() -> None:
    draw = torch.Generator().manual_seed(0)
    unmasked, states = torch.randn(5, 2, generator=draw), torch.randn(5, 3, 2, generator=draw)
    every = Reached.everywhere(unmasked, states)
    assert torch.equal(dense(every, 3), states)
    some = Reached(unmasked, torch.tensor([0, 1]), torch.tensor([4, 2]), torch.tensor([[7.0, 7.0], [8.0, 8.0]]))
    together = dense(some.renumbered(torch.tensor([3, 0])).joined(every.renumbered(torch.tensor([1, 2, 4]))), 5)
    assert torch.equal(together[:, [1, 2, 4]], states)
    assert together[4, 3].tolist() == [7.0, 7.0] and together[2, 0].tolist() == [8.0, 8.0]
    assert torch.equal(together[:4, 3], unmasked[:4]) and torch.equal(together[[0, 1, 3, 4], 0], unmasked[[0, 1, 3, 4]])
