"""Baseline: every perturbation changes expression as the training perturbations do on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split


class MeanBaseline(Model):
    """Mean of the changes of the train and validation conditions, each weighing one; it has nothing to tune."""

    name = "mean"

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        changes = training_changes(screen, [*split.train, *split.val], control)
        self._change = changes.mean(axis=0).astype(np.float32)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return np.tile(self._change, (len(conditions), 1))
