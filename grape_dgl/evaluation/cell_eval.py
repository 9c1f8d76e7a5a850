"""Predictions as the pair of files that the tool cell-eval scores unchanged: real cells and predicted cells.

Both hold control cells: the reference half in the real file, the model's half in the predicted one, so that no control
mean stands on both sides. The names are cell-eval's defaults (``obs["target_gene"]``, control ``non-targeting``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.writing import write_beside

log = logging.getLogger("grape_dgl")

COLUMN, CONTROL = "target_gene", "non-targeting"
REAL, PREDICTED = "real.h5ad", "predicted.h5ad"


def cell_eval_pair(
    screen: Screen, control: ControlHalves, conditions: Sequence[str], changes: np.ndarray, seed: int = 0
) -> tuple[ad.AnnData, ad.AnnData]:
    """Real and predicted cells of ``conditions`` and of the control, for changes [conditions, measured].

    A condition has as many predicted cells as real ones, at most as many as the model has control cells.
    """
    real = [*((c, screen.expression[screen.cells(c)]) for c in conditions)]
    real.append((CONTROL, screen.expression[control.reference]))
    rng = np.random.default_rng(seed)
    predicted, below = [], 0
    for condition, change in zip(conditions, changes, strict=True):
        number = min(len(screen.cells(condition)), len(control.model))
        start = screen.expression[np.sort(rng.choice(control.model, number, replace=False))]
        mean = screen.control_mean(control.model, condition) + change
        below += int((mean < -1e-6).sum())
        predicted.append((condition, predicted_cells(start, mean)))
    predicted.append((CONTROL, screen.expression[control.model]))
    if below:
        log.warning(
            "%d predicted means are below zero and stand as zero: cell-eval takes no negative expression", below
        )
    return _anndata(screen, real), _anndata(screen, predicted)


def predicted_cells(control: sp.csr_matrix, mean: np.ndarray) -> sp.csr_matrix:
    """Control cells [cells, genes] moved to a mean [genes]; negative means count as 0.

    A gene that rises is raised by the same amount in every cell; one that falls is scaled down in every cell, which
    keeps expression above zero. The variation between cells is the control's and says nothing about the model.
    """
    start = np.asarray(control.mean(axis=0), dtype=np.float64).ravel()
    wanted = np.maximum(mean.astype(np.float64), 0.0)
    scale = np.divide(wanted, start, out=np.ones_like(start), where=wanted < start)
    return sp.csr_matrix(np.float32(control.toarray() * scale + np.maximum(wanted - start, 0.0)))


def write_pair(folder: Path, real: ad.AnnData, predicted: ad.AnnData) -> None:
    """Write ``real.h5ad`` and ``predicted.h5ad`` into ``folder``, which is made."""
    for name, data in ((REAL, real), (PREDICTED, predicted)):
        write_beside(folder / name, data.write_h5ad)


def _anndata(screen: Screen, groups: Sequence[tuple[str, sp.csr_matrix]]) -> ad.AnnData:
    labels = np.repeat([name for name, _ in groups], [cells.shape[0] for _, cells in groups])
    obs = pd.DataFrame({COLUMN: pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[str(symbol) for symbol in screen.genes.symbol[: screen.genes.measured]])
    return ad.AnnData(sp.csr_matrix(sp.vstack([cells for _, cells in groups])), obs=obs, var=var)
