"""What every model that is scored offers: fit on a screen and a split, predict changes of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split


class Model(Protocol):
    """A model of the change that a condition causes."""

    name: str
    """The name in tables."""
    tuned: str = "nothing"
    """What is chosen in fitting it, and by what."""
    trials: int = 0
    """How many settings are tried for that."""

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        """Learn from the train and validation conditions of ``split`` and the control cells ``control.model`` only."""

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        """Change [conditions, measured] from ``screen.control_mean(control.model, condition)``."""


@runtime_checkable
class CellModel(Protocol):
    """What a model offers beside, where it predicts cells."""

    def predict_cells(self, conditions: Sequence[str], number: int) -> ad.AnnData:
        """``number`` cells of each condition: ``X`` log1p of normalised counts, ``obs["condition"]``."""


def cells_of(screen: Screen, conditions: Sequence[str], parts: Sequence[Any]) -> ad.AnnData:
    """Predicted cells of each condition, dense or CSR [cells, measured], as ``evaluation.cells`` scores them."""
    obs = pd.DataFrame({"condition": np.repeat(list(conditions), [part.shape[0] for part in parts])}).astype(str)
    genes = pd.DataFrame(index=screen.genes.symbol[: screen.genes.measured].astype(str))
    return ad.AnnData(
        sp.vstack([sp.csr_matrix(part) for part in parts], format="csr"), obs.set_index(obs.index.astype(str)), genes
    )


def training_changes(screen: Screen, conditions: Sequence[str], control: ControlHalves) -> np.ndarray:
    """Observed changes [conditions, measured], float64, of training conditions from the model's half of the control."""
    return np.stack([np.float64(screen.mean(c)) - screen.control_mean(control.model, c) for c in conditions])
