"""Distances between two samples of cells [cells, genes], for models that predict cells and not only their mean."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from grape_dgl.evaluation.cards import Undefined, metric


@metric(
    best="low", bounds=(0.0, np.inf), unit="log1p expression", of="cells", symmetric=True,
    formula="2 mean|x - y| - mean|x - x'| - mean|y - y'| (Euclidean, over all pairs of cells)",
    pitfalls="Over all genes the noise of single cells dominates; often computed on principal components. The pairs of "
    "a cell with itself count, so small samples look far apart. Quadratic in cells. The package scperturb (and pertpy "
    "before 0.11) squares |x - y|, so that only means count: its edist is 2 sum_g (mean(x)_g - mean(y)_g)^2 less twice "
    "the squared standard errors of both means.",
    source="Szekely and Rizzo 2013, energy distance; cell-eval 0.8; pertpy 1.4, edistance; after Peidli et al. 2024 "
    "(scPerturb)",
)  # fmt: skip
def e_distance(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Energy distance between predicted and observed cells."""
    predicted, observed = _cells(predicted, observed)
    between = cdist(predicted, observed).mean()
    return float(max(2 * between - cdist(predicted, predicted).mean() - cdist(observed, observed).mean(), 0.0))


@metric(
    best="low", bounds=(0.0, 2.0), unit="squared kernel distance", of="cells", symmetric=True,
    formula="mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k = exp(-|x - y|^2 / s), s = median |z - z'|^2 over the "
    "pairs of different cells of both samples",
    pitfalls="Depends on the width of the kernel, here chosen by the cells: compare only on the same cells. Biased "
    "upwards for small samples. Quadratic in cells. pertpy's mmd is this with kernel='rbf', gamma = 1 / s; its default "
    "kernel is linear, which leaves sum_g (mean(x)_g - mean(y)_g)^2.",
    source="Gretton et al. 2012, squared MMD with a Gaussian kernel (biased estimate)",
)  # fmt: skip
def mmd(predicted: np.ndarray, observed: np.ndarray, scale: float | None = None) -> float:
    """Squared maximum mean discrepancy between predicted and observed cells.

    ``scale`` is the s of the formula, for a kernel of one width over several conditions.
    """
    predicted, observed = _cells(predicted, observed)
    both = np.concatenate([predicted, observed])
    squares = cdist(both, both, "sqeuclidean")
    if scale is None:
        scale = float(np.median(squares[np.triu_indices(len(both), 1)]))
    if not scale > 0:
        raise Undefined("most cells are the same: the width of the kernel is zero")
    kernel = np.exp(-squares / scale)
    n = len(predicted)
    return float(max(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean(), 0.0))


def _cells(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if predicted.ndim != 2 or observed.ndim != 2 or predicted.shape[1] != observed.shape[1]:
        raise ValueError(f"expected two matrices [cells, genes], found shapes {predicted.shape} and {observed.shape}")
    if not len(predicted) or not len(observed):
        raise Undefined("a distance between samples needs cells in both")
    return predicted.astype(np.float64), observed.astype(np.float64)
