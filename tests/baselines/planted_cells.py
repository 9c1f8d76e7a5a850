"""Cells made as SAMS-VAE and GraphVCI say they are, of which the truth is known; and what the models make of them.

Run: python tests/baselines/planted_cells.py      (the numbers of docs/systems.md, three seeds each; some minutes)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import linear_sum_assignment

from grape_dgl.baselines.cell_fit import fit_cells
from grape_dgl.baselines.graph_vci import GraphVci, GraphVciSettings, VciCells
from grape_dgl.baselines.sams_vae import SamsVae, SamsVaeSettings

SAMS = SamsVaeSettings(latent=8, hidden=64, lr=3e-3, epochs=60, patience=200)
VCI = GraphVciSettings(latent=16, hidden=64, width=32, lr=1e-3, batch=128, epochs=150, patience=20)


def sparse_shifts(
    treatments: int = 60, dims: int = 6, genes: int = 60, cells: int = 100, noise: float = 0.3, seed: int = 0
) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Cells [cells, genes] of treatments that shift a quarter of ``dims`` latent dimensions each; sparse loadings.

    Returns expression, each cell's row of ``treated`` (the control is row 0) and the effects [treatments, dims].
    """
    draw = np.random.default_rng(seed)
    mask = draw.random((treatments, dims)) < 0.25
    mask[~mask.any(axis=1), 0] = True
    effects = mask * draw.choice([-1, 1], mask.shape) * draw.uniform(2.5, 4, mask.shape)
    loadings = draw.normal(size=(dims, genes)) * (draw.random((dims, genes)) < 0.3)
    kind = np.repeat(np.arange(treatments + 1), cells)
    latent = draw.normal(size=(len(kind), dims)) + np.concatenate([np.zeros((1, dims)), effects])[kind]
    expression = latent @ loadings + noise * draw.normal(size=(len(kind), genes)) + 3
    return sp.csr_matrix(np.float32(expression)), kind, effects


def mask_f1(found: np.ndarray, shifts: np.ndarray, effects: np.ndarray) -> float:
    """F1 of ``found`` [treatments, latent] against the true mask, dimensions paired by the correlation of shifts.

    What is on in a dimension that has no partner is wrong.
    """
    both = np.nan_to_num(np.corrcoef(np.concatenate([shifts, effects], axis=1).T))
    mine, true = linear_sum_assignment(-np.abs(both[: shifts.shape[1], shifts.shape[1] :]))
    wanted = effects[:, true] != 0
    return float(2 * (found[:, mine] & wanted).sum() / (found.sum() + wanted.sum()))


def two_batches(
    treatments: int = 8, genes: int = 40, cells: int = 60, seed: int = 0
) -> tuple[VciCells, np.ndarray, np.ndarray]:
    """Cells of two covariates; the second half of the treatments was given to the first covariate only.

    Returns the cells, expression of the covariates [2, genes] and effects [1 + treatments, genes], which are the same
    under both.
    """
    draw = np.random.default_rng(seed)
    base, loadings = draw.uniform(1, 3, (2, genes)), 0.3 * draw.normal(size=(3, genes))
    effects = draw.normal(size=(treatments + 1, genes)) * (draw.random((treatments + 1, genes)) < 0.4)
    effects[0] = 0
    kinds = [(t, x) for t in range(treatments + 1) for x in (0, 1) if not (x and t > treatments // 2)]
    treatment, covariate = np.repeat(np.array(kinds), cells, axis=0).T
    expression = base[covariate] + effects[treatment] + draw.normal(size=(len(treatment), 3)) @ loadings
    expression += 0.2 * draw.normal(size=expression.shape)
    targets = np.eye(treatments + 1, genes, -1, dtype=np.float32)
    return VciCells(sp.csr_matrix(np.float32(expression)), covariate, treatment, targets), base, effects


def explained(settings: GraphVciSettings, seed: int) -> float:
    """Share of the effects of treatments that is in their predicted means under the covariate that never had them."""
    cells, base, effects = two_batches(seed=seed)
    torch.manual_seed(seed)
    model = GraphVci(cells, [], settings)
    fit_cells(model, cells.expression.shape[0], settings, seed)
    control = np.flatnonzero((cells.treatment == 0) & (cells.covariate == 1))
    new = slice(len(effects) // 2 + 1, None)
    with torch.no_grad():
        genes = model.graph()
        none, *treatments = model.treatments(torch.from_numpy(cells.treated), genes)
        seen = torch.from_numpy(cells.expression[control].toarray())
        q = model.encode(seen, torch.ones(len(seen)).long(), none.expand(len(seen), -1), genes)
        levels = [model.decode(q.mean, t.expand(len(seen), -1), genes).mean.mean(dim=0) for t in (none, *treatments)]
    missed = np.stack([np.asarray(level) for level in levels])[new] - base[1] - effects[new]
    return float(1 - (missed**2).sum() / (effects[new] ** 2).sum())


def recovered(settings: SamsVaeSettings, seed: int, **planted: int) -> float:
    """F1 of the masks of ``sparse_shifts``."""
    expression, kind, effects = sparse_shifts(**planted, seed=seed)
    torch.manual_seed(seed)
    model = SamsVae(expression, kind, np.eye(len(effects) + 1)[:, 1:], settings)
    model.train_on(seed)
    return mask_f1(model.masks().numpy() > 0.5, model.shifts().numpy(), effects)


def _table() -> Iterator[str]:
    unturned = {"turn": "none", "epochs": 2 * SAMS.epochs}
    for name, changes in (("", {}), (", axes not turned", unturned), (", mean-field", {"inference": "mean_field"})):
        scores = [recovered(dataclasses.replace(SAMS, **changes), seed) for seed in range(3)]  # type: ignore[arg-type]
        yield f"| F1 of masks, SAMS-VAE{name} | " + " | ".join(f"{score:.3f}" for score in scores) + " |"
    for name, weight in (("", VCI.counterfactual), (", no counterfactual term", 0.0)):
        scores = [explained(dataclasses.replace(VCI, counterfactual=weight), seed) for seed in range(3)]
        yield f"| effects explained, GraphVCI{name} | " + " | ".join(f"{score:.3f}" for score in scores) + " |"


if __name__ == "__main__":
    for line in _table():
        print(line, flush=True)  # noqa: T201
