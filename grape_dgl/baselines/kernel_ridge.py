"""Baseline: kernel ridge regression on what is known about the target genes, with fixed penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Node ids [a] and [b] -> how alike these genes are, [a, b]."""


def identity_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 for the same gene: an additive model of single effects."""
    return np.equal.outer(a, b).astype(np.float64)


def linear_kernel(values: np.ndarray, present: np.ndarray) -> Kernel:
    """Dot products of ``values`` [genes, d] centred over the genes ``present``; 0 where a gene lacks them."""
    centred = np.float64(values) - values[present].mean(axis=0, dtype=np.float64)
    centred[~present] = 0
    return lambda a, b: centred[a] @ centred[b].T


def jaccard_kernel(terms: sp.csr_matrix) -> Kernel:
    """Overlap of the genes' terms, bool [genes, terms]; a gene is like itself, with terms or without."""
    sizes = np.diff(terms.indptr)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        common = (terms[a].astype(np.float64) @ terms[b].astype(np.float64).T).toarray()
        either = sizes[a][:, None] + sizes[b][None, :] - common
        return np.where(np.equal.outer(a, b), 1.0, common / np.maximum(either, 1))

    return kernel


class KernelRidgeBaseline(Model):
    """``b + K (K_train + penalty I)^-1 (Y - b)``: Y the changes of train and validation conditions, b their mean.

    Two conditions are as alike as the sum over all pairs of their targets by ``kernels``; each kernel is scaled until
    its mean diagonal over the training conditions is 1, and several are averaged. Nothing is tuned.
    """

    def __init__(self, kernels: Sequence[Kernel], penalty: float, name: str = "kernel_ridge_fixed") -> None:
        self.name, self._kernels, self._penalty = name, kernels, penalty

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._screen, self._conditions = screen, (*split.train, *split.val)
        changes = training_changes(screen, self._conditions, control)
        self._mean = changes.mean(axis=0)
        parts = [self._alike(kernel, self._conditions) for kernel in self._kernels]
        self._scales = [np.diag(part).mean() or 1.0 for part in parts]
        damped = self._mixed(parts) + self._penalty * np.eye(len(changes))
        self._weights = np.linalg.solve(damped, changes - self._mean)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        alike = self._mixed([self._alike(kernel, conditions) for kernel in self._kernels])
        return (self._mean + alike @ self._weights).astype(np.float32)

    def _mixed(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([part / scale for part, scale in zip(parts, self._scales, strict=True)], axis=0)

    def _alike(self, kernel: Kernel, conditions: Sequence[str]) -> np.ndarray:
        """[conditions, training conditions]"""
        mine, theirs = ([self._screen.targets(name) for name in names] for names in (conditions, self._conditions))
        a, b = np.unique(np.concatenate(mine)), np.unique(np.concatenate(theirs))
        return _incidence(mine, a) @ kernel(a, b) @ _incidence(theirs, b).T


def _incidence(targets: Sequence[np.ndarray], genes: np.ndarray) -> np.ndarray:
    """[conditions, genes]: 1 where a condition perturbs a gene."""
    return np.stack([np.isin(genes, ids) for ids in targets]).astype(np.float64)
