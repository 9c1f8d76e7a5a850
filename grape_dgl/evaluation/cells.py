"""Models that predict cells: the means of their cells are scored as any prediction, the cells by their distance."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial.distance import pdist

from grape_dgl.data.h5ad import open_h5ad
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.cards import attempt
from grape_dgl.evaluation.distances import e_distance, mmd
from grape_dgl.evaluation.views import halves

COLUMN = "condition"
MOST = 500
"""Cells of a sample; the distances are quadratic in them."""


def read_cells(path: Path) -> ad.AnnData:
    """Predicted cells: ``X`` log1p of normalised counts [cells, genes], ``obs["condition"]``, gene symbols as names.

    Raises DataError for no such file, no column, repeated genes, or values that are not finite.
    """
    cells = open_h5ad(path)
    if COLUMN not in cells.obs or cells.X is None or not cells.n_obs:
        raise DataError(f"'{path}' holds no predicted cells; expected X and the column '{COLUMN}' in obs")
    if not cells.var_names.is_unique:
        raise DataError(f"'{path}' repeats gene names in var_names; expected one column per gene")
    cells.X = sp.csr_matrix(cells.X, dtype=np.float32)
    if not np.isfinite(cells.X.data).all():
        raise DataError(f"'{path}' holds NaN or infinite values in X; expected finite expression")
    cells.obs = cells.obs[[COLUMN]].astype(str)
    return cells


def pseudobulks(cells: ad.AnnData) -> ad.AnnData:
    """Mean expression of the cells of each condition: ``X`` [conditions, genes]."""
    labels = sorted(set(cells.obs[COLUMN]))
    means = np.concatenate([cells.X[(cells.obs[COLUMN] == label).to_numpy()].mean(axis=0) for label in labels])
    return ad.AnnData(np.asarray(means, dtype=np.float32), pd.DataFrame(index=labels), cells.var[[]])


def cell_scores(
    screen: Screen,
    control: ControlHalves,
    cells: ad.AnnData,
    labels: Mapping[str, str],
    model: str,
    seed: int = 0,
    *,
    exclude_targets: bool = False,
) -> pd.DataFrame:
    """``e_distance`` and ``mmd`` of predicted cells, of control cells and of a repeat; columns as of ``evaluate``.

    ``labels``: condition of the screen -> its name in ``cells``. Half of a condition's cells are observed (at random by
    seed, evenly within batches). Beside the model's cells stand ``control``, cells of ``control.model``, and
    ``ceiling``, the other half of the condition's own cells. All of these samples have the same size, ``MOST`` at most,
    since a distance depends on it; the width of ``mmd`` is that of the observed and the control cells, whatever a model
    predicts. ``exclude_targets`` leaves the genes that a condition perturbs out of all three.
    """
    measured = np.arange(screen.genes.measured)
    place = cells.var_names.get_indexer(list(screen.genes.symbol[measured]))
    rows = []
    for condition, label in labels.items():
        observed, repeat = halves(screen, condition, screen.cells(condition), seed)
        predicted = np.flatnonzero((cells.obs[COLUMN] == label).to_numpy())
        size = min(MOST, len(predicted), len(control.model), len(repeat))
        rng = np.random.default_rng([seed, zlib.crc32(condition.encode())])
        pick = [rng.permutation(found)[:size] for found in (predicted, control.model, repeat)]
        kept = measured[~np.isin(measured, screen.targets(condition))] if exclude_targets else measured
        truth = screen.expression[rng.permutation(observed)[:MOST]].toarray()[:, kept]
        samples = {
            model: cells.X[pick[0]][:, place[kept]].toarray(),
            "control": screen.expression[pick[1]].toarray()[:, kept],
            "ceiling": screen.expression[pick[2]].toarray()[:, kept],
        }
        width = _width(truth, samples["control"])
        for who, sample in samples.items():
            rows.append((who, condition, "e_distance", *attempt(e_distance, sample, truth)))
            rows.append((who, condition, "mmd", *attempt(mmd, sample, truth, width)))
    return pd.DataFrame(rows, columns=["model", "condition", "metric", "value", "reason"])


def _width(truth: np.ndarray, control: np.ndarray) -> float:
    """Median squared distance of different cells of both samples."""
    both = np.concatenate([truth, control])
    return float(np.median(pdist(both, "sqeuclidean"))) if len(both) > 1 else 0.0
