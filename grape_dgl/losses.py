"""What training minimises (Eq. 10, 14-18)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.engine import float64
from grape_dgl.nn.structure import Structure


def structure_loss(structure: Structure) -> Float[Tensor, ""]:
    """Eq. 10 without lambda: ``|| G - G_agg ||_F / genes``, from ``G = sum_k a_k U_k U_k^T`` and the pairs of G_agg.

    ``|G|^2 = sum_kl a_k a_l |U_k^T U_l|_F^2``; ``<G, G_agg>`` needs only G_agg's pairs and its unit diagonal. Squares
    are summed in float64, clamped before the root; 0 where G = G_agg (``no_gsl``), where the root has no gradient.
    Differs: divided by the number of genes; the paper prints neither this nor a weight.
    """
    if not structure.units:
        return structure.prior.value.new_zeros(())
    prior, units, a = float64(structure.prior.value), structure.units, float64(structure.channels)
    learned = a.new_zeros(())
    for k, u in enumerate(units):
        for other in range(k + 1):
            twice = 1 if other == k else 2
            learned = learned + twice * a[k] * a[other] * float64(u.T @ units[other]).square().sum()
    diagonal = torch.stack([float64(u).square().sum() for u in units])
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
    observed = expression - control.index_select(0, place)
    squared = F.mse_loss(change.index_select(0, place), observed)
    direction = F.huber_loss(torch.tanh(change).index_select(0, place), torch.tanh(observed), delta=huber_delta)
    return squared, direction
