"""Which genes are similar: multi-head cosine, thresholds and target degrees (Eq. 3-5, 7, 9).

Pairs are found without gradient, block by block over the upper triangle, and weighed with gradient per edge, so no
genes x genes tensor is kept and none has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from grape_dgl.engine import Engine, dot_ends, exact, simple_graph
from grape_dgl.errors import ConfigError
from grape_dgl.graph.hetero import Pairs

FLOOR = 0.01
"""Smallest threshold: edge weights stay positive (Eq. 7's normalisation and log-similarity need it)."""
BLOCK = 256
"""Rows of a block of similarities."""
ROUNDING = 1e-6
"""A threshold that leaves a tie out is so much above it."""


def head_units(z: Float[Tensor, "genes dim"], weight: Float[Tensor, "heads dim width"]) -> Float[Tensor, "genes out"]:
    """Rows ``u_i = concat_t(z_i W^t / |z_i W^t|) / sqrt(heads)``, so ``<u_i, u_j>`` is Eq. 4 for all heads at once.

    A zero row gives ``u = 0``.
    """
    heads, _, width = weight.shape
    projected = (z @ weight.transpose(0, 1).reshape(z.shape[1], heads * width)).view(len(z), heads, width)
    units: Tensor = _HeadUnits.apply(exact(projected))
    return units.flatten(1)


class _HeadUnits(torch.autograd.Function):
    """Its backward leaves out what would only make a row longer, in fewer passes over the rows than autograd takes."""

    @staticmethod
    def forward(ctx: Any, rows: Float[Tensor, "genes heads width"]) -> Float[Tensor, "genes heads width"]:
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        scale = torch.where(length > 1e-12, 1 / (length.clamp(min=1e-12) * rows.shape[1] ** 0.5), 0.0)
        units = rows * scale
        ctx.save_for_backward(units, scale)
        return units

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "genes heads width"]) -> Float[Tensor, "genes heads width"]:
        units, scale = ctx.saved_tensors
        along = (units * grad).sum(dim=-1, keepdim=True).mul_(units.shape[1])  # <units, units> = 1 / heads
        return torch.addcmul(grad, units, along, value=-1).mul_(scale)


def _blocks(
    u: Tensor, allowed: Bool[Tensor, " genes"] | None, block: int
) -> Iterator[tuple[int, Float[Tensor, "rows columns"]]]:
    """Rows ``start..start+block`` of the strict upper triangle against columns ``start..``; below it: -inf.

    A gene that is not allowed has similarity 0, which is below ``FLOOR``.
    """
    if allowed is not None and not allowed.all():
        u = u * allowed[:, None]
    for start in range(0, len(u), block):
        values = u[start : start + block] @ u[start:].T
        square = values[:, : len(values)]
        square.masked_fill_(torch.ones_like(square, dtype=torch.bool).tril_(), -torch.inf)
        yield start, values


@torch.no_grad()
def pairs_above(
    u: Float[Tensor, "genes dim"],
    epsilon: float,
    allowed: Bool[Tensor, " genes"] | None = None,
    block: int = BLOCK,
    max_edges: int | None = None,
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """All pairs i < j of ``allowed`` genes with ``<u_i, u_j> >= epsilon`` (Eq. 3, 9), in row order.

    Raises ConfigError, naming the mean degree it would give, for more than ``max_edges`` pairs; these are not kept.
    """
    parts, count = [], 0
    for part in blocks_above(u, epsilon, allowed, block):
        count += len(part[0])
        if max_edges is None or count <= max_edges:
            parts.append(part)
    if max_edges is not None and count > max_edges:
        raise ConfigError(
            f"threshold {epsilon:g} gives {count:,} edges (mean degree {2 * count / len(u):.0f}); "
            f"structure.max_edges allows {max_edges:,}: raise the threshold, or use structure.sparsity=degree:20"
        )
    first, second = zip(*parts, strict=True)
    return torch.cat(first), torch.cat(second)


def blocks_above(
    u: Float[Tensor, "genes dim"], epsilon: float, allowed: Bool[Tensor, " genes"] | None, block: int = BLOCK
) -> Iterator[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]]:
    """The pairs of :func:`pairs_above` block by block."""
    for start, values in _blocks(u.detach(), allowed, block):
        place = _places(values >= epsilon)
        columns = values.shape[1]
        yield place // columns + start, place % columns + start


def _places(mask: Bool[Tensor, "rows columns"]) -> Int[Tensor, " found"]:
    """Where a mask holds, row by row; numpy skips what does not hold, where torch looks at each."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.nonzero(mask.flatten()).squeeze(1)


@torch.no_grad()
def degree_threshold(
    u: Float[Tensor, "genes dim"], degree: float, allowed: Bool[Tensor, " genes"] | None = None, block: int = BLOCK
) -> float:
    """Epsilon for a mean degree of at most ``degree`` among the ``allowed`` genes: an exact quantile over pairs i < j.

    At least ``FLOOR``; ties at the quantile that would exceed the degree are left out.
    """
    count = len(u) if allowed is None else int(allowed.sum())
    wanted = min(int(degree * count / 2), count * (count - 1) // 2)
    best = torch.empty(0, dtype=u.dtype, device=u.device)
    bar = FLOOR
    for _, values in _blocks(u.detach(), allowed, block):
        best = torch.cat([best, values[values >= bar]])
        if len(best) > wanted + 1:  # one more than wanted tells a tie
            best = best.topk(wanted + 1).values
            bar = max(FLOOR, float(best[-1]))
    return threshold_of(best, wanted)


def threshold_of(values: Float[Tensor, " pairs"], wanted: int) -> float:
    """Epsilon, at least ``FLOOR``, that at most ``wanted`` of ``values`` reach; ties at it are left out."""
    if len(values) <= wanted:
        return FLOOR
    best = values.detach().sort(descending=True).values
    if wanted and best[wanted - 1] > best[wanted]:
        epsilon = (best[wanted - 1] + best[wanted]) / 2  # between edge and no edge, so rounding flips neither
    else:
        epsilon = best[wanted] + ROUNDING
    return max(FLOOR, float(epsilon))


@torch.no_grad()
def nearest_pairs(
    u: Float[Tensor, "genes dim"], k: int, allowed: Bool[Tensor, " genes"] | None = None, block: int = BLOCK
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Every gene's ``k`` most similar genes above ``FLOOR`` as pairs i < j (option ``min_neighbours``)."""
    u = u.detach()
    first, second = [], []
    for start in range(0, len(u), block):
        values = u[start : start + block] @ u.T
        values[torch.arange(len(values)), torch.arange(start, start + len(values))] = -torch.inf
        if allowed is not None:
            values[~allowed[start : start + block]] = -torch.inf
            values[:, ~allowed] = -torch.inf
        top, column = values.topk(min(k, len(u) - 1), dim=1)
        row = torch.arange(start, start + len(values), device=u.device)[:, None].expand_as(column)
        keep = top >= FLOOR
        first.append(torch.minimum(row, column)[keep])
        second.append(torch.maximum(row, column)[keep])
    return unique_pairs(torch.cat(first), torch.cat(second), len(u))


def unique_pairs(first: Tensor, second: Tensor, genes: int) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """The distinct pairs, in row order."""
    key = torch.unique(first * genes + second)
    return key // genes, key % genes


def find_pairs(
    u: Float[Tensor, "genes dim"],
    epsilon: float,
    engine: Engine,
    *,
    allowed: Bool[Tensor, " genes"] | None = None,
    min_neighbours: int = 0,
    max_edges: int | None = None,
    search: Callable[..., tuple[Tensor, Tensor]] = pairs_above,
) -> Pairs:
    """Eq. 3 / 9: pairs at or above ``epsilon``, with the gradient of their similarities.

    ``search`` is :func:`pairs_above` or what finds the same. Raises ConfigError for more than ``max_edges`` pairs.
    """
    first, second = search(u, epsilon, allowed, max_edges=max_edges)
    if min_neighbours:
        more = nearest_pairs(u, min_neighbours, allowed)
        first, second = unique_pairs(torch.cat([first, more[0]]), torch.cat([second, more[1]]), len(u))
        if max_edges is not None and len(first) > max_edges:
            raise ConfigError(
                f"structure.min_neighbours={min_neighbours} gives {len(first):,} edges; "
                f"structure.max_edges allows {max_edges:,}: ask for fewer neighbours"
            )
    return weigh_pairs(u, first, second, engine)


def weigh_pairs(u: Float[Tensor, "genes dim"], first: Tensor, second: Tensor, engine: Engine) -> Pairs:
    """Similarities of given pairs, with gradient."""
    if not len(first):
        return Pairs(first, second, u.new_zeros(0))
    return Pairs(first, second, dot_ends(simple_graph(engine, first, second, len(u)), u, u))


def average_pairs(members: list[tuple[Pairs, Bool[Tensor, " genes"]]], genes: int) -> Pairs:
    """Eq. 5: the mean of thresholded similarities over the members that both genes have.

    A member is its pairs and the genes that have it; an absent pair of a member counts as 0.
    """
    keys = [pairs.first * genes + pairs.second for pairs, _ in members]
    union, place = torch.unique(torch.cat(keys), return_inverse=True)
    first, second = union // genes, union % genes
    both = sum((has[first] & has[second]).to(members[0][0].value.dtype) for _, has in members)
    values = torch.cat([pairs.value for pairs, _ in members])
    total = torch.zeros(len(union), dtype=values.dtype, device=values.device).index_add(0, place, values)
    return Pairs(first, second, total / both)
