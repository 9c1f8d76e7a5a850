"""Sums over edges and dot products along edges as products of sparse matrices, which torch hands to MKL on a CPU.

Forward and backward, DGL 1.1's kernels take 1.2 to 6 times as long and gathering rows in torch 3.5 to 23 times
(benchmarks/speed/kernels.py).
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Rows:
    """Edges row by row: those of row ``i`` are ``start[i]:start[i + 1]``, end in ``column`` and are called ``edge``."""

    start: Int[Tensor, " rows_and_one"]
    column: Int[Tensor, " edges"]
    edge: Int[Tensor, " edges"]
    columns: int

    @classmethod
    def of(cls, row: Int[Tensor, " edges"], column: Int[Tensor, " edges"], rows: int, columns: int) -> Rows:
        edge = torch.argsort(row, stable=True)
        start = torch.zeros(rows + 1, dtype=torch.long, device=row.device)
        start[1:] = torch.bincount(row, minlength=rows).cumsum(0)
        return cls(start, column[edge], edge, columns)

    def matrix(self, values: Float[Tensor, " edges"]) -> Tensor:
        """The sparse matrix [rows, columns] of values that are in the order of the rows."""
        _hear_once()
        shape = (len(self.start) - 1, self.columns)
        return torch.sparse_csr_tensor(
            self.start, self.column, values, shape, device=values.device, check_invariants=False
        )

    def product(
        self,
        values: Float[Tensor, " edges"],
        x: Float[Tensor, "columns dim"],
        out: Float[Tensor, "rows dim"],
        add: bool = False,
    ) -> Tensor:
        """``matrix(values) @ x``, written or added to ``out`` (``@`` would fill two more buffers)."""
        return out.addmm_(self.matrix(values), x, beta=int(add))

    def at(self, rows: Int[Tensor, " some"]) -> tuple[Int[Tensor, " found"], Int[Tensor, " found"]]:
        """All edges of ``rows``, as (place in ``rows``, edge)."""
        count = self.start[rows + 1] - self.start[rows]
        place = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), count)
        offset = torch.arange(len(place), device=rows.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return place, self.edge[self.start[rows][place] + offset]


@dataclass(frozen=True)
class Pattern:
    """The edges of a relation by their targets, and by their sources."""

    into: Rows
    out_of: Rows

    @classmethod
    def of(cls, src: Int[Tensor, " edges"], dst: Int[Tensor, " edges"], sources: int, targets: int) -> Pattern:
        return cls(Rows.of(dst, src, targets, sources), Rows.of(src, dst, sources, targets))


@functools.cache
def _hear_once() -> None:
    """Torch says once in a process that its compressed matrices are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1, device="cpu").to_sparse_csr()


LEAST_WORK = 2**22
"""Edges x numbers of a row from which on the products pay: threads of MKL wait for each other on smaller ones."""


def usable(rows: Tensor, edges: int) -> bool:
    """Whether torch has these products for ``rows``, and so many edges are worth them."""
    large = edges * math.prod(rows.shape[1:]) >= LEAST_WORK
    return large and rows.device.type == "cpu" and torch.backends.mkl.is_available()


def weighted_sum(
    pattern: Pattern, u: Float[Tensor, "sources *heads width"], weight: Float[Tensor, "edges *broadcast one"]
) -> Float[Tensor, "targets *heads width"]:
    """``sum over edges into i of weight[e] * u[src[e]]``; ``weight`` may have heads of size 1 for all."""
    heads = u.shape[1:-1]
    flat = math.prod(heads)
    each = weight.squeeze(-1).expand(-1, *heads).reshape(len(weight), flat)
    found: Tensor = _WeightedSum.apply(pattern, u.reshape(len(u), flat, u.shape[-1]), each)
    return found.reshape(len(found), *heads, u.shape[-1])


def dot(pattern: Pattern, u: Float[Tensor, "sources dim"], v: Float[Tensor, "targets dim"]) -> Float[Tensor, " edges"]:
    """``<u[src], v[dst]>`` for every edge."""
    found: Tensor = _Dot.apply(pattern, u, v)
    return found


def _dots(rows: Rows, u: Float[Tensor, "rows dim"], v: Float[Tensor, "columns dim"]) -> Float[Tensor, " edges"]:
    """``<u[row], v[column]>`` in the order of the edges."""
    zero = rows.matrix(u.new_zeros(len(rows.edge)))
    values = torch.sparse.sampled_addmm(zero, u, v.T, beta=0.0).values()
    return torch.empty_like(values).index_copy_(0, rows.edge, values)


class _WeightedSum(torch.autograd.Function):
    """Head by head; its backward is the product with the transposed matrix, and dot products along the edges."""

    @staticmethod
    def forward(ctx: Any, pattern: Pattern, u: Tensor, weight: Tensor) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(u, weight)
        return _products(pattern.into, u, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        pattern, (u, weight) = ctx.pattern, ctx.saved_tensors
        of_u = _products(pattern.out_of, grad, weight) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[2]:
            return None, of_u, None
        of_weight = torch.stack([_dots(pattern.into, grad[:, head], u[:, head]) for head in range(u.shape[1])], dim=1)
        return None, of_u, of_weight


def _products(
    rows: Rows, u: Float[Tensor, "columns heads width"], weight: Float[Tensor, "edges heads"]
) -> Float[Tensor, "rows heads width"]:
    out = u.new_empty(len(rows.start) - 1, *u.shape[1:])
    for head, values in enumerate(weight[rows.edge].T.contiguous()):
        rows.product(values, u[:, head], out[:, head])
    return out


class _Dot(torch.autograd.Function):
    """Its backward is a product with the matrix of the gradients, and one with its transpose."""

    @staticmethod
    def forward(ctx: Any, pattern: Pattern, u: Tensor, v: Tensor) -> Tensor:
        ctx.pattern, ctx.same = pattern, u is v
        ctx.save_for_backward(u, v)
        return _dots(pattern.out_of, u, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        pattern, (u, v) = ctx.pattern, ctx.saved_tensors
        out_of, into = pattern.out_of, pattern.into
        of_u = out_of.product(grad[out_of.edge], v, torch.empty_like(u)) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[2]:
            return None, of_u, None
        if ctx.same:  # one buffer for both
            return None, into.product(grad[into.edge], u, of_u, add=True), None
        return None, of_u, into.product(grad[into.edge], u, torch.empty_like(v))
