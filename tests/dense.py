"""Slow, obvious twins of the graph layers: loops over dense matrices, nothing shared with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two vectors."""
    return (a @ b) / (a.norm() * b.norm())


def similarity(z: Tensor, weight: Tensor) -> Tensor:
    """Eq. 4 for all pairs [genes, genes]; ``weight`` [heads, dim, width]."""
    rows = []
    for zi in z:
        rows.append(torch.stack([sum(cosine(zi @ w, zj @ w) for w in weight) / len(weight) for zj in z]))
    return torch.stack(rows)


def threshold(values: Tensor, epsilon: float, allowed: Tensor) -> Tensor:
    """Eq. 3 with unit diagonal: an off-diagonal entry needs both genes ``allowed`` and a value >= epsilon."""
    out = torch.eye(len(values), dtype=values.dtype)
    for i in range(len(values)):
        for j in range(len(values)):
            if i != j and allowed[i] and allowed[j] and values[i, j] >= epsilon:
                out = out + _place(values[i, j], i, j, len(values))
    return out


def _place(value: Tensor, i: int, j: int, size: int) -> Tensor:
    spot = torch.zeros(size, size, dtype=value.dtype)
    spot[i, j] = 1
    return spot * value


def average(graphs: Sequence[Tensor], has: Sequence[Tensor]) -> Tensor:
    """Eq. 5: every entry is the mean over the members that both genes have; the diagonal is 1."""
    size = len(graphs[0])
    rows = []
    for i in range(size):
        row = []
        for j in range(size):
            entries = [g[i, j] for g, h in zip(graphs, has, strict=True) if h[i] and h[j]]
            row.append(graphs[0].new_tensor(float(i == j)) if i == j or not entries else sum(entries) / len(entries))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def convolve(adjacency: Tensor, h: Tensor, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Eq. 6: ``ReLU(D^-1/2 A D^-1/2 (H W + b))``; A has its unit diagonal already."""
    root = torch.diag(adjacency.sum(1) ** -0.5)
    states = [h]
    for layer in layers:
        states.append(torch.relu(root @ adjacency @ root @ (states[-1] @ layer.weight.T + layer.bias)))
    return states


def attention(channels: Sequence[Tensor], layers: nn.Module) -> Tensor:
    """Eq. 8's weights from dense channels."""
    return torch.softmax(layers(torch.stack([g.mean() for g in channels])), dim=0)


def gat(
    h_src: Tensor,
    h_dst: Tensor,
    edges: Sequence[tuple[int, int]],
    parameters: Mapping[str, Tensor],
    bias: Tensor,
    mask: Tensor | None = None,
    slope: float = 0.2,
) -> Tensor:
    """GATv2 for one condition, receiver by receiver: [sources d], [targets d] -> [targets heads width]."""
    _, heads, width = parameters["attn"].shape
    s = (h_src @ parameters["fc_src.weight"].T + parameters["fc_src.bias"]).view(-1, heads, width)
    t = (h_dst @ parameters["fc_dst.weight"].T + parameters["fc_dst.bias"]).view(-1, heads, width)
    out = []
    for i in range(len(t)):
        incoming = [(e, a) for e, (a, b) in enumerate(edges) if b == i]
        per_head = []
        for k in range(heads):
            if not incoming:
                per_head.append(t.new_zeros(width))
                continue
            logits = []
            for e, a in incoming:
                x = s[a, k] + t[i, k]
                logits.append(parameters["attn"][0, k] @ torch.where(x > 0, x, slope * x) + bias[e])
            share = torch.stack(logits).softmax(0)
            drop = [1.0 if mask is None else mask[e, k] for e, _ in incoming]
            per_head.append(sum(w * m * s[a, k] for w, m, (_, a) in zip(share, drop, incoming, strict=True)))
        out.append(torch.stack(per_head))
    return torch.stack(out)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Row by row, epsilon 1e-5."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias
