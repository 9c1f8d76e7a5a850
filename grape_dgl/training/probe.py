"""The read-out in closed form: a ridge regression per gene on what each condition changes of the gene's state.

Training everything from a blank read-out spoils the aligned representation before the read-out has learned to use it;
solving the last layer first and going on from there keeps it (Kumar et al. 2022, "Fine-tuning can distort pretrained
features and underperform out-of-distribution").

Differs: the paper learns the read-out with the rest (``training.readout = "gradient"``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from grape_dgl.engine import float64
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.nn.reached import Reached
from grape_dgl.training.gate import surely_better
from grape_dgl.training.perturbations import Perturbations

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1)
"""Tried in this order; each is a share of the mean squared length of the change of a state."""
DEFAULT_PENALTY = 1.0
"""Without validation conditions."""
SILENT = math.inf
"""The penalty of a read-out that says 0."""
BLOCK = 256
"""Genes solved at once."""


@torch.no_grad()
def probe(
    model: GRAPE,
    genes: GeneInputs,
    train: Perturbations,
    validation: Perturbations | None = None,
    penalty: float | None = None,
    gate: float | None = None,
) -> tuple[float, Tensor | None]:
    """Set the read-out of Eq. 12 to the ridge solution on the conditions of ``train``, and refresh the thresholds.

    The bias is the mean change of these conditions. With ``validation`` the penalty is that of ``PENALTIES`` with the
    best RMSE there. With a ``gate`` no mean is learned (the bias is 0, or cancels the unmasked state).

    Returns the penalty to keep, and its RMSE. With a ``gate`` that is ``SILENT`` unless the read-out, the best of so
    many penalties, is `surely_better` on validation conditions than none; the model is left with the read-out all the
    same, to be trained on.
    """
    was_training = model.training
    model.eval()
    z = model.represent(genes)
    graph = model.graph(model.learn_graph(z, refresh=True).pairs, genes.coding)
    base = model.unmasked(graph, z.fused)
    moved = model.states(base, train.targets)
    mean = train.change.mean(dim=0) if gate is None else torch.zeros_like(model.readout.bias)
    kept = SILENT if gate is not None else DEFAULT_PENALTY
    if penalty is None:
        penalty = DEFAULT_PENALTY
    else:
        kept = penalty
    weights = {SILENT: torch.zeros_like(model.readout.weight)}
    if penalty != SILENT:
        penalties = (penalty,) if validation is None else PENALTIES
        weights |= zip(penalties, ridge(moved, train.change - mean, penalties), strict=True)

    def use(weight: Float[Tensor, "measured width"]) -> None:
        model.readout.weight.copy_(weight)
        model.readout.bias.copy_(mean)
        if model.config.model.readout == "plain":
            model.readout.bias.sub_((weight * moved.unmasked[: len(weight)]).sum(-1))

    score = None
    if validation is not None:
        scores, held_out = {}, model.states(base, validation.targets)
        for tried, weight in weights.items():
            use(weight)
            scores[tried] = validation.rmse(model.read(held_out, len(validation.targets)))
        kept = penalty = min(PENALTIES, key=lambda tried: float(scores[tried].mean()))
        if gate is not None:
            found, none = (scores[one].cpu().numpy() for one in (penalty, SILENT))
            kept = penalty if surely_better(found, none, gate, len(PENALTIES)) else SILENT
        score = scores[kept].mean()
    use(weights[penalty])
    model.train(was_training)
    return kept, score


def ridge(
    found: Reached, residual: Float[Tensor, "conditions measured"], penalties: Sequence[float]
) -> Float[Tensor, "penalties measured width"]:
    """Per gene ``argmin_w sum_c (residual_c - <w, p_c - p>)^2 + penalty * s |w|^2``, p the unmasked state.

    ``s`` is the mean of ``|p_c - p|^2`` over measured genes and conditions: a share that no unit of the states changes.
    """
    conditions, measured = residual.shape
    order = torch.argsort(found.gene, stable=True)
    order = order[found.gene[order] < measured]
    gene, column = found.gene[order], found.column[order]
    change = float64(found.state[order] - found.unmasked[gene])
    gene, column, residual64 = (x.to(change.device) for x in (gene, column, float64(residual)))
    width = change.shape[1]
    scale = change.square().sum() / (measured * conditions)
    unit = torch.eye(width, dtype=torch.double, device=change.device) * scale.clamp(min=1e-12)
    damping = [penalty * unit for penalty in penalties]
    ends = torch.searchsorted(gene, torch.arange(0, measured + BLOCK, BLOCK, device=gene.device)).tolist()
    weights = []
    for number, start in enumerate(range(0, measured, BLOCK)):
        rows = slice(ends[number], ends[number + 1])
        size = min(BLOCK, measured - start)
        x = change.new_zeros(size, conditions, width)
        x[gene[rows] - start, column[rows]] = change[rows]
        y = residual64[:, start : start + size].T[:, :, None]
        gram, moment = x.mT @ x, x.mT @ y
        weights.append(torch.stack([torch.linalg.solve(gram + one, moment).squeeze(2) for one in damping]))
    return torch.cat(weights, dim=1).to(residual)
