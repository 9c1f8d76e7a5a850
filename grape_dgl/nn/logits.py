"""Attention logits of edges (GATv2; Brody, Alon, Yahav 2022), block by block.

The numbers of a block of edges stay in the processor's cache, and backward computes them again instead of keeping them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

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
        size = _edges_at_once(source)
        blocks = [
            F.leaky_relu_(_pairs(source, target, a, b), slope).mul_(attn).sum(-1, keepdim=True)
            for a, b in zip(src.split(size), dst.split(size), strict=True)
        ]
        return torch.cat(blocks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, target, attn, src, dst = ctx.saved_tensors
        heads, width = attn.shape
        # [heads, heads * width]: products with it are faster here than by element
        rows = torch.block_diag(*attn.unsqueeze(1))
        of_source, of_target, of_rows = (torch.zeros_like(given) for given in (source, target, rows.T))
        size = _edges_at_once(source)
        for a, b, part in zip(src.split(size), dst.split(size), grad.split(size), strict=True):
            pair, above = _pairs(source, target, a, b), part.reshape(-1, heads)
            flat = pair.view(-1, heads * width)
            of_pair = torch.ops.aten.leaky_relu_backward(above @ rows, flat, ctx.slope, False).view_as(pair)
            of_rows.addmm_(F.leaky_relu_(flat, ctx.slope).T, above)
            of_source.index_add_(0, a, of_pair)
            of_target.index_add_(0, b, of_pair)
        of_attn = of_rows.view(heads, width, heads).diagonal(dim1=0, dim2=2).T
        return of_source, of_target, of_attn, None, None, None


def _edges_at_once(source: Tensor) -> int:
    return max(1, BLOCK // (math.prod(source.shape[1:]) * source.element_size()))


def _pairs(source: Tensor, target: Tensor, src: Int[Tensor, " edges"], dst: Int[Tensor, " edges"]) -> Tensor:
    """``source[src] + target[dst]``"""
    return source.index_select(0, src).add_(target.index_select(0, dst))
