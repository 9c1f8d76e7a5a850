"""Baseline: a perturbation changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split


class ControlBaseline(Model):
    """Predicts a change of 0 for every gene; uses neither train nor validation conditions."""

    name = "control"

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._measured = screen.genes.measured

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return np.zeros((len(conditions), self._measured), dtype=np.float32)
