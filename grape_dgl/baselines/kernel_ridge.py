"""Baselines: kernel ridge regression on what is known about the target genes, with a fixed or a chosen penalty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import cast

import numpy as np
import scipy.sparse as sp

from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.config import SplitConfig, SplitKind
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split, make_split
from grape_dgl.errors import DataError
from grape_dgl.training.knowledge import Kernel
from grape_dgl.training.response import incidence


def identity_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 for the same gene: an additive model of single effects."""
    return np.equal.outer(a, b).astype(np.float64)


def jaccard_kernel(terms: sp.csr_matrix) -> Kernel:
    """Overlap of the genes' terms, bool [genes, terms]; a gene is like itself, with terms or without."""
    sizes = np.diff(terms.indptr)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        common = (terms[a].astype(np.float64) @ terms[b].astype(np.float64).T).toarray()
        either = sizes[a][:, None] + sizes[b][None, :] - common
        return np.where(np.equal.outer(a, b), 1.0, common / np.maximum(either, 1))

    return kernel


def alike(kernel: Kernel, screen: Screen, conditions: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """[conditions, others]: the sum of ``kernel`` over all pairs of their targets."""
    mine, theirs = ([screen.targets(name) for name in names] for names in (conditions, others))
    a, b = np.unique(np.concatenate(mine)), np.unique(np.concatenate(theirs))
    return incidence(mine, a) @ kernel(a, b) @ incidence(theirs, b).T


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
        parts = [alike(kernel, screen, self._conditions, self._conditions) for kernel in self._kernels]
        self._scales = [_scale(part) for part in parts]
        mixed = _mixed(parts, self._scales)
        self._weights = np.linalg.solve(mixed + self._penalty * np.eye(len(changes)), changes - self._mean)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        parts = [alike(kernel, self._screen, conditions, self._conditions) for kernel in self._kernels]
        return (self._mean + _mixed(parts, self._scales) @ self._weights).astype(np.float32)


def _scale(part: np.ndarray) -> float:
    return float(np.diag(part).mean()) or 1.0


def _mixed(parts: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
    return np.mean([part / scale for part, scale in zip(parts, scales, strict=True)], axis=0)


class TunedKernelRidgeBaseline(Model):
    """Kernel ridge whose mixture of kernels and penalty are chosen inside the training part.

    Every mixture of one to all of ``kernels`` and every penalty of ``PENALTIES`` predicts what ``INNER`` inner splits
    of the train and validation conditions hold out by the rule of the outer split; the lowest mean squared error of the
    change counts, and is fitted to all of them.
    """

    tuned = "kernels and penalty, on inner splits of the training part"
    PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    INNER = 10
    """Inner splits, of .8 to .2."""

    def __init__(self, kernels: Mapping[str, Kernel], name: str = "kernel_ridge") -> None:
        self.name, self._kernels = name, dict(kernels)
        sizes = range(1, len(self._kernels) + 1)
        self._mixtures = [mixture for size in sizes for mixture in combinations(self._kernels, size)]
        self.trials = len(self._mixtures) * len(self.PENALTIES)
        self.chosen: tuple[tuple[str, ...], float] | None = None
        """Names of the kernels and penalty, once fitted."""

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        conditions = sorted((*split.train, *split.val))
        changes = training_changes(screen, conditions, control)
        parts = {name: alike(kernel, screen, conditions, conditions) for name, kernel in self._kernels.items()}
        errors = np.zeros((len(self._mixtures), len(self.PENALTIES)))
        for rows, held_out in _inner_splits(conditions, split, self.INNER):
            for number, mixture in enumerate(self._mixtures):
                mixed = _mixed(
                    [parts[name] for name in mixture], [_scale(parts[name][rows][:, rows]) for name in mixture]
                )
                errors[number] += _held_out_errors(mixed, changes, rows, held_out, self.PENALTIES)
        best, penalty = np.unravel_index(errors.argmin(), errors.shape)
        self.chosen = self._mixtures[best], self.PENALTIES[penalty]
        kernels = [self._kernels[name] for name in self.chosen[0]]
        self._model = KernelRidgeBaseline(kernels, self.chosen[1])
        self._model.fit(screen, split, control)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return self._model.predict(conditions)


def _inner_splits(conditions: Sequence[str], split: Split, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows held out, by the rule of ``split``; one that leaves nothing gives way to `condition`."""
    rule = cast(SplitKind, "condition" if split.kind == "custom" else split.kind)
    found = []
    for seed in range(number):
        for kind in (rule, "condition"):
            try:
                inner = make_split(conditions, SplitConfig(kind=kind, train=0.8, validation=0.0), seed)
                break
            except DataError:
                if kind == "condition":
                    raise
        fitted, held_out = (np.flatnonzero(np.isin(conditions, part)) for part in (inner.train, inner.test))
        found.append((fitted, held_out))
    return found


def _held_out_errors(
    mixed: np.ndarray, changes: np.ndarray, rows: np.ndarray, held_out: np.ndarray, penalties: Sequence[float]
) -> np.ndarray:
    """[penalties]: mean squared error on the rows held out of a model fitted to ``rows``."""
    mean = changes[rows].mean(axis=0)
    values, vectors = np.linalg.eigh(mixed[np.ix_(rows, rows)])
    turned = vectors.T @ (changes[rows] - mean)
    across = mixed[np.ix_(held_out, rows)] @ vectors
    wanted = changes[held_out] - mean
    errors = [np.square(across @ (turned / (values + one)[:, None]) - wanted).mean() for one in penalties]
    return np.array(errors)
