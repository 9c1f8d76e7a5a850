"""Small screens for the tests of evaluation and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from grape_dgl.data.genes import Genes
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen

GENES = tuple(f"G{i:02d}" for i in range(60))


def simulated(
    conditions: Sequence[str] = ("G00", "G01", "G00+G02", "G03"),
    cells: int = 40,
    controls: int = 80,
    batches: int = 1,
    extra: Sequence[str] = (),
    seed: int = 0,
) -> Screen:
    """Sparse gamma noise over ``GENES`` plus an effect of each target on ten genes; the last five genes are silent."""
    rng = np.random.default_rng(seed)
    label = np.repeat([-1, *range(len(conditions))], [controls, *[cells] * len(conditions)])
    x = rng.gamma(2.0, 0.5, (len(label), len(GENES))) * (rng.random((len(label), len(GENES))) < 0.6)
    names = sorted(conditions)
    for i, name in enumerate(names):
        for target in name.split("+"):
            hit = np.random.default_rng([int(target[1:]), 1]).choice(50, 10, replace=False)
            x[np.ix_(label == i, hit)] += 0.5
    x[:, -5:] = 0
    batch = rng.integers(batches, size=len(label))
    genes = Genes.from_symbols([*GENES, *extra], len(GENES))
    return Screen(sp.csr_matrix(x, dtype=np.float32), label, tuple(names), batch, genes)


def norman(path: Path) -> Screen:
    """The real Norman subset without annotation."""
    return read_screen(path)
