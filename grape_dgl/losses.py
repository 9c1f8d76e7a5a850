"""What training minimises (Eq. 10, 14-18)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from grape_dgl.engine import float64
from grape_dgl.nn.structure import Structure


def structure_loss(structure: Structure) -> Float[Tensor, ""]:
    """Eq. 10 without lambda: ``|| G - G_agg ||_F / genes``, from ``G = sum_k a_k U_k U_k^T`` and the pairs of G_agg.

    ``|G|^2 = sum_kl a_k a_l |U_k^T U_l|_F^2``; ``<G, G_agg>`` needs only G_agg's pairs and its unit diagonal. Summed in
    float64 and clamped before the root; 0 where G = G_agg (``no_gsl``), since the root has no gradient there.
    Differs: divided by the number of genes; the paper prints neither this nor a weight.
    """
    prior = float64(structure.prior.value)
    if not structure.units:
        return structure.prior.value.new_zeros(())
    units, a = [float64(u) for u in structure.units], float64(structure.channels)
    grams = torch.stack([torch.stack([(u.T @ v).square().sum() for v in units]) for u in units])  # [hops hops]
    diagonal = torch.stack([u.square().sum() for u in units])
    learned = a @ grams @ a
    cross = 2 * (float64(structure.learned_on_prior) * prior).sum() + a @ diagonal
    squared = learned - 2 * cross + 2 * prior.square().sum() + len(units[0])
    return (squared.clamp(min=1e-12).sqrt() / len(units[0])).to(structure.channels)


def expression_loss(
    predicted: Float[Tensor, "cells measured"], observed: Float[Tensor, "cells measured"]
) -> Float[Tensor, ""]:
    """Eq. 14: mean over cells and genes of the squared error (log1p of normalised counts)."""
    return F.mse_loss(predicted, observed)


def direction_loss(
    predicted: Float[Tensor, "cells measured"],
    observed: Float[Tensor, "cells measured"],
    control: Float[Tensor, "cells measured"],
    delta: float,
) -> Float[Tensor, ""]:
    """Eq. 15-16: mean of ``Huber_delta(tanh(observed - control), tanh(predicted - control))``."""
    return F.huber_loss(torch.tanh(predicted - control), torch.tanh(observed - control), delta=delta)
