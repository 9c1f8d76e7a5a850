"""Attention logits of edges (GATv2; Brody, Alon, Yahav 2022), block by block.

The numbers of a block of edges stay in the processor's cache, and backward computes them again instead of keeping them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.engine import Edges, exact

BLOCK = 2**21
"""Bytes"""


def attention_logits(
    edges: Edges,
    source: Float[Tensor, "sources *conditions heads width"],
    target: Float[Tensor, "targets *conditions heads width"],
    attn: Float[Tensor, "heads width"],
    slope: float,
) -> Float[Tensor, "edges *conditions heads 1"]:
    """``attn . LeakyReLU(source[src] + target[dst])`` of every edge."""
    found: Tensor = _Logits.apply(exact(source), exact(target), exact(attn), slope, *edges)
    return found


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, source: Tensor, target: Tensor, attn: Tensor, slope: float, src: Tensor, dst: Tensor
    ) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(source, target, attn, src, dst)
        blocks = _blocks(source, target, src, dst)
        return torch.cat([F.leaky_relu_(pair, slope).mul_(attn).sum(-1, keepdim=True) for pair, _, _ in blocks])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, target, attn, src, dst = ctx.saved_tensors
        of_source, of_target, of_attn = (torch.zeros_like(given) for given in (source, target, attn))
        start = 0
        for pair, a, b in _blocks(source, target, src, dst):
            above = grad[start : start + len(pair)]
            start += len(pair)
            slopes = torch.where(pair > 0, above, above * ctx.slope)
            of_attn += pair.mul_(slopes).flatten(0, -3).sum(0)
            slopes.mul_(attn)
            of_source.index_add_(0, a, slopes)
            of_target.index_add_(0, b, slopes)
        return of_source, of_target, of_attn, None, None, None


def _blocks(
    source: Tensor, target: Tensor, src: Int[Tensor, " edges"], dst: Int[Tensor, " edges"]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """``source[src] + target[dst]`` of some edges, and their ends."""
    size = max(1, BLOCK // (math.prod(source.shape[1:]) * source.element_size()))
    for a, b in zip(src.split(size), dst.split(size), strict=True):
        yield source.index_select(0, a).add_(target.index_select(0, b)), a, b
