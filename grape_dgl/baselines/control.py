"""Baseline: a perturbation changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np

from grape_dgl.baselines.protocol import Model, cells_of
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split


class ControlBaseline(Model):
    """Predicts a change of 0 for every gene; uses neither train nor validation conditions."""

    name = "control"

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._screen, self._control, self._measured = screen, control, screen.genes.measured

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return np.zeros((len(conditions), self._measured), dtype=np.float32)

    def predict_cells(self, conditions: Sequence[str], number: int) -> ad.AnnData:
        """Cells of the model's half of the control, for all conditions the same."""
        own = np.random.default_rng(0).permutation(self._control.model)[:number]
        return cells_of(self._screen, conditions, [self._screen.expression[own]] * len(conditions))
