"""A small screen in which nothing is odd, for tests that make something odd of it."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

GENES = [f"G{number}" for number in range(12)]
SMALL = (
    "model.hidden=8", "model.width=4", "model.heads=2", "structure.heads=2", "structure.sparsity=degree:4",
    "alignment.epochs=1", "training.epochs=2", "training.device=cpu",
)  # fmt: skip
"""Settings of a small model that trains in a moment."""
LABELS = ["control", "control", "G1", "G2", "G3", "G1+G2", "G4", "G5"]


def plain() -> ad.AnnData:
    """40 cells of each label, counts."""
    counts = np.random.default_rng(0).poisson(2.0, (40 * len(LABELS), len(GENES))).astype(np.float32)
    obs = pd.DataFrame({"condition": np.tile(LABELS, 40)}, index=[f"cell{i}" for i in range(len(counts))])
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


def write(folder: Path, adata: ad.AnnData | None = None) -> str:
    path = folder / "screen.h5ad"
    (plain() if adata is None else adata).write_h5ad(path)
    return str(path)
