"""Baseline: a condition changes expression as the training conditions do whose targets are most alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.kernel_ridge import alike
from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.training.knowledge import Kernel


class NeighboursBaseline(Model):
    """Mean change of the ``k`` train or validation conditions with the largest cosine to a condition.

    Two conditions are as alike as the sum of ``kernel`` over all pairs of their targets, divided by the root of what
    each has with itself. Ties keep the order of the names; a condition of which the kernel knows nothing is predicted
    as the mean of all. Nothing is tuned. Source: kNN on gene embeddings, Csendes et al. 2025.
    """

    name = "neighbours"

    def __init__(self, kernel: Kernel, k: int = 5, name: str = "neighbours") -> None:
        self.name, self._kernel, self._k = name, kernel, k

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._screen, self._conditions = screen, (*split.train, *split.val)
        self._changes = training_changes(screen, self._conditions, control)
        self._own = self._length(self._conditions)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        cosine = alike(self._kernel, self._screen, conditions, self._conditions)
        cosine = cosine / np.outer(self._length(conditions), self._own)
        nearest = np.argsort(-cosine.round(10), axis=1, kind="stable")[:, : self._k]
        found = self._changes[nearest].mean(axis=1)
        found[~cosine.any(axis=1)] = self._changes.mean(axis=0)
        return found.astype(np.float32)

    def _length(self, conditions: Sequence[str]) -> np.ndarray:
        """Root of what each condition has with itself; 1 where that is nothing."""
        own = np.array([alike(self._kernel, self._screen, [name], [name])[0, 0] for name in conditions])
        return np.sqrt(np.where(own > 0, own, 1.0))
