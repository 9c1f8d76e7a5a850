"""Baseline: a bilinear ridge model of gene and perturbation embeddings (Ahlmann-Eltze, Huber, Anders 2025)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split

log = logging.getLogger("grape_dgl")

COMPONENTS = 10
RIDGE = 0.1


class LinearBaseline(Model):
    """``Y ~ G W P^T + b``, refitted on train and validation conditions together; nothing is tuned.

    Y [measured, conditions] are the training changes and b their mean per gene. G [measured, 10] are the leading
    principal components of Y - b. P [conditions, 10] adds up the rows of the target genes: rows of G where every
    training target is measured, else rows of the first 10 principal components of ``features`` [genes, d],
    standardised over the genes that have them (a row of zeros means none). W minimises the squared error with a ridge
    of 0.1 on both sides. A target without a row adds nothing: a condition of such targets is predicted as b.

    Differs: the published model takes G from the training expression, not from its changes, and drops conditions whose
    target is not measured. The unit of features is arbitrary, so they are scaled until P'P of the training conditions
    has a mean diagonal of 1: the ridge is then a share of it, whatever the encoder and the number of genes.
    """

    name = "linear"

    def __init__(self, features: np.ndarray | None = None) -> None:
        self._features = features

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        conditions = [*split.train, *split.val]
        changes = training_changes(screen, conditions, control).T
        self._screen = screen
        self._mean = changes.mean(axis=1)
        residual = changes - self._mean[:, None]
        self._genes = principal_components(residual)
        self._rows = self._target_rows(conditions)
        self._weights = bilinear_ridge(residual, self._genes, _embedded(self._rows, self._screen, conditions))

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        change = self._mean + _embedded(self._rows, self._screen, conditions) @ self._weights.T @ self._genes.T
        return change.astype(np.float32)

    def _target_rows(self, conditions: Sequence[str]) -> np.ndarray:
        """One embedding row per gene, [genes, components]."""
        measured, genes = self._screen.genes.measured, len(self._screen.genes)
        unmeasured = {int(t) for c in conditions for t in self._screen.targets(c) if t >= measured}
        if unmeasured and self._features is not None and self._features.any():
            present = self._features.any(axis=1)
            rows = np.zeros((genes, min(COMPONENTS, *self._features[present].shape)))
            rows[present] = principal_components(standardised(self._features[present]))
            size = (_embedded(rows, self._screen, conditions) ** 2).sum(axis=0).mean()
            return rows / np.sqrt(size) if size else rows
        if unmeasured:
            log.warning(
                "linear baseline: %d training targets are not measured and have no features; they add nothing",
                len(unmeasured),
            )
        return np.vstack([self._genes, np.zeros((genes - measured, self._genes.shape[1]))])


def _embedded(rows: np.ndarray, screen: Screen, conditions: Sequence[str]) -> np.ndarray:
    """P: sum of the targets' ``rows`` [genes, components], [conditions, components]."""
    return np.stack([rows[screen.targets(c)].sum(axis=0) for c in conditions])


def principal_components(matrix: np.ndarray) -> np.ndarray:
    """Scores [rows, k] of the rows of ``matrix`` [rows, columns] on its first k = min(10, rows, columns) components."""
    left, size, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :COMPONENTS] * size[:COMPONENTS]


def standardised(features: np.ndarray) -> np.ndarray:
    """Columns of ``features`` [genes, d] with mean 0 and standard deviation 1; a constant column becomes 0."""
    centred = np.float64(features) - features.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 1e-12, spread, 1.0)


def bilinear_ridge(residual: np.ndarray, genes: np.ndarray, perturbations: np.ndarray) -> np.ndarray:
    """``W = (G'G + .1 I)^-1 G' Y P (P'P + .1 I)^-1`` [g, p].

    Y = ``residual`` [measured, conditions], G = ``genes`` [measured, g], P = ``perturbations`` [conditions, p].
    """
    left = genes.T @ genes + RIDGE * np.eye(genes.shape[1])
    right = perturbations.T @ perturbations + RIDGE * np.eye(perturbations.shape[1])
    return np.linalg.solve(left, genes.T @ residual @ perturbations) @ np.linalg.inv(right)
