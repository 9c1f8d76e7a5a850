"""Cells made by the models themselves, of which the truth is known."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from grape_dgl.baselines.graph_vci import VciCells


def sparse_shifts(
    treatments: int = 60, dims: int = 6, genes: int = 60, cells: int = 100, noise: float = 0.3, seed: int = 0
) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Cells [cells, genes] of treatments that shift a quarter of ``dims`` latent dimensions each; sparse loadings.

    Returns expression, treatments of the cells (0 or 1) and the true effects [treatments, dims].
    """
    draw = np.random.default_rng(seed)
    mask = draw.random((treatments, dims)) < 0.25
    for row in mask[~mask.any(axis=1)]:
        row[draw.integers(dims)] = True
    mask[~mask.any(axis=1), 0] = True
    effects = mask * draw.choice([-1, 1], mask.shape) * draw.uniform(2.5, 4, mask.shape)
    loadings = draw.normal(size=(dims, genes)) * (draw.random((dims, genes)) < 0.3)
    treated = np.repeat(np.eye(treatments + 1)[:, 1:], cells, axis=0)
    latent = draw.normal(size=(len(treated), dims)) + treated @ effects
    expression = latent @ loadings + noise * draw.normal(size=(len(treated), genes)) + 3
    return sp.csr_matrix(np.float32(expression)), treated, effects


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
