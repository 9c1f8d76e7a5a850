"""A screen file and a suite of cheap models for the tests of the queue and the command."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np

SUITE = """
splits = ["condition"]
seeds = 2

[[data]]
name = "small"
path = "small.h5ad"

[[model]]
name = "control"

[[model]]
name = "mean"

[[model]]
name = "identity"
kind = "kernel_ridge_fixed"
kernels = ["identity"]
penalty = 0.1

[[model]]
name = "seq"
kind = "kernel_ridge_fixed"
kernels = ["seq"]
penalty = 0.1
"""
"""The last model fails: no gene has a sequence."""


def write_suite(folder: Path, text: str = SUITE, gene: str = "GEN{:02d}") -> Path:
    """``suite.toml`` and ``small.h5ad`` (raw counts, 8 conditions, 20 genes called ``gene``) in ``folder``."""
    draw = np.random.default_rng(0)
    names = [gene.format(i) for i in range(20)]
    pairs = ["+".join(names[:2]), "+".join(names[2:4])]
    labels = np.repeat(["control", *names[:6], *pairs], [60, *[30] * 8])
    rate = np.full((len(labels), 20), 4.0)
    for gene in range(6):
        hit = np.char.find(labels.astype(str), names[gene]) >= 0
        rate[np.ix_(hit, [gene, 10 + gene])] = [[0.5, 9.0]]
    cells = anndata.AnnData(draw.poisson(rate).astype(np.float32))
    cells.var_names = names
    cells.obs["condition"] = labels
    cells.write_h5ad(folder / "small.h5ad")
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    return folder / "suite.toml"
