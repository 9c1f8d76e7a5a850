"""What training minimises (Eq. 10, 14-18)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from grape_dgl.engine import float64
from grape_dgl.nn.structure import Structure

BLOCK = 2**20
"""Bytes of expression in a block of cells"""


def structure_loss(structure: Structure) -> Float[Tensor, ""]:
    """Eq. 10 without lambda: ``|| G - G_agg ||_F / genes``, from ``G = sum_k a_k U_k U_k^T`` and the pairs of G_agg.

    ``|G|^2 = sum_kl a_k a_l |U_k^T U_l|_F^2``; ``<G, G_agg>`` needs only G_agg's pairs and its unit diagonal, whose
    gradient is left out: rows of ``head_units`` have a fixed length. Sums are in float64, clamped before the root; 0
    where G = G_agg (``no_gsl``), where the root has no gradient.
    Differs: divided by the number of genes; the paper prints neither this nor a weight.
    """
    if not structure.units:
        return structure.prior.value.new_zeros(())
    prior, units, a = float64(structure.prior.value), structure.units, float64(structure.channels)
    learned = a.new_zeros(())
    for k, u in enumerate(units):
        for other in range(k):
            learned = learned + 2 * a[k] * a[other] * float64(u.T @ units[other]).square().sum()
        own = float64(u.T @ u.detach()).square().sum()  # half of the gradient of |U^T U|^2 for half of the work
        learned = learned + a[k].square() * (2 * own - own.detach())
    with torch.no_grad():
        diagonal = torch.stack([float64(torch.linalg.vector_norm(u, dim=1)).square().sum() for u in units])
    cross = 2 * (float64(structure.learned_on_prior) * prior).sum() + a @ diagonal
    squared = learned - 2 * cross + 2 * prior.square().sum() + len(units[0])
    return (squared.clamp(min=1e-12).sqrt() / len(units[0])).to(structure.channels)


def reconstruction_loss(
    change: Float[Tensor, "conditions measured"],
    control: Float[Tensor, "conditions measured"],
    place: Int[Tensor, " cells"],
    expression: Float[Tensor, "cells measured"],
    huber_delta: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Eq. 14 and Eq. 15-16 of cells whose condition is row ``place`` of ``change`` and ``control`` (log1p units).

    The mean over cells and genes of the squared error of ``change + control`` (Eq. 13), and of
    ``Huber_delta(tanh(expression - control), tanh(change))``. A further cell costs element-wise work only.
    """
    squared, direction = _OfCells.apply(change, control, place, expression, huber_delta)
    return squared, direction


class _OfCells(torch.autograd.Function):
    """Both losses and their gradients in one go over blocks of cells, so that nothing of cells x genes is kept."""

    @staticmethod
    def forward(
        ctx: Any, change: Tensor, control: Tensor, place: Tensor, expression: Tensor, delta: float
    ) -> tuple[Tensor, Tensor]:
        towards = torch.tanh(change)
        of_squared, of_direction = torch.zeros_like(change), torch.zeros_like(change)
        sums = []
        size = max(1, BLOCK // (change.shape[1] * change.element_size()))
        for rows, cells in zip(place.split(size), expression.split(size), strict=True):
            observed = cells - control.index_select(0, rows)
            apart = change.index_select(0, rows).sub_(observed)
            of_squared.index_add_(0, rows, apart)
            turned = towards.index_select(0, rows).sub_(observed.tanh_())
            slope = turned.clamp(-delta, delta)
            of_direction.index_add_(0, rows, slope)
            sums.append(torch.stack([apart.square_().sum(), turned.sub_(slope, alpha=0.5).mul_(slope).sum()]))
        number = expression.numel()
        ctx.save_for_backward(of_squared.mul_(2 / number), of_direction.mul_((1 - towards.square_()) / number))
        squared, direction = torch.stack(sums).sum(0) / number
        return squared, direction

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, squared: Tensor, direction: Tensor) -> tuple[Tensor, None, None, None, None]:
        of_squared, of_direction = ctx.saved_tensors
        return squared * of_squared + direction * of_direction, None, None, None, None
