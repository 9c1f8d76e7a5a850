"""Attention logits of edges and their gradients, against the formula edge by edge."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from grape_dgl.nn import logits
from grape_dgl.nn.logits import attention_logits

SRC, DST = torch.tensor([0, 2, 3, 1, 0, 3, 2]), torch.tensor([1, 1, 1, 0, 2, 2, 1])
SOURCES, TARGETS, HEADS, WIDTH = 5, 4, 3, 2  # source 4 and target 3 have no edge


def leaf(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("conditions", [(), (2,)], ids=["without conditions", "two conditions"])
@pytest.mark.parametrize("edges", [0, 1, 7])
def test_logits_equal_the_formula(edges: int, conditions: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two edges and the rest."""
    shape = (*conditions, HEADS, WIDTH)
    u, v, attn = leaf(SOURCES, *shape, seed=0), leaf(TARGETS, *shape, seed=1), leaf(HEADS, WIDTH, seed=2)
    monkeypatch.setattr(logits, "BLOCK", 2 * 8 * u[0].numel())
    found = attention_logits((SRC[:edges], DST[:edges]), u, v, attn, 0.3)
    wanted = torch.zeros_like(found)
    for edge in range(edges):
        wanted[edge] = (F.leaky_relu(u[SRC[edge]] + v[DST[edge]], 0.3) * attn).sum(-1, keepdim=True)
    assert found.shape == (edges, *conditions, HEADS, 1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    pull = leaf(*found.shape, seed=3).detach()
    ours = torch.autograd.grad((found * pull).sum(), (u, v, attn))
    theirs = (
        torch.autograd.grad((wanted * pull).sum(), (u, v, attn))
        if edges
        else tuple(torch.zeros_like(given) for given in (u, v, attn))
    )
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_half_precision_is_computed_in_single() -> None:
    """As autocast hands it over."""
    u, v = (torch.randn(n, HEADS, WIDTH).bfloat16() for n in (SOURCES, TARGETS))
    attn = torch.randn(HEADS, WIDTH)
    found = attention_logits((SRC, DST), u, v, attn, 0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, attention_logits((SRC, DST), u.float(), v.float(), attn, 0.2))
