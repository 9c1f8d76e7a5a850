"""Baseline: effects of single perturbations add up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.data.conditions import targets
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split


class AdditiveBaseline(Model):
    """Sum over the targets of the change of their single perturbation, of train and validation conditions.

    A target whose single perturbation was not seen adds the mean change of those that were, or of all training
    conditions where no single one was seen: an unseen gene is predicted as by such a mean. Nothing is tuned.
    Source: the additive model of Ahlmann-Eltze et al. 2025, which scores combinations of seen genes only.
    """

    name = "additive"

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        conditions = [*split.train, *split.val]
        changes = training_changes(screen, conditions, control)
        self._single = {name: row for name, row in zip(conditions, changes, strict=True) if len(targets(name)) == 1}
        self._other: np.ndarray = np.mean(list(self._single.values()) if self._single else changes, axis=0)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        sums = [np.sum([self._single.get(gene, self._other) for gene in targets(name)], axis=0) for name in conditions]
        return np.array(sums, dtype=np.float32)
