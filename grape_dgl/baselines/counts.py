"""Raw counts of cells that are kept as log1p of normalised counts: a cell's smallest value is a count of one."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from grape_dgl.errors import DataError

CLOSE, FAR = 0.02, 0.1
"""What a count may be away from a whole number, and what a large one may at most: rounding of float32 values."""


def raw_counts(expression: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Counts (CSR [cells, genes], float32) and what one count is worth in normalised counts [cells].

    A cell in which no gene was seen just once is counted in units of its smallest count. Raises DataError where more
    than one in a hundred values is no multiple of that, as after batch correction, imputation or scaling.
    """
    normalised = np.expm1(expression.data.astype(np.float64))
    rows = np.repeat(np.arange(expression.shape[0]), np.diff(expression.indptr))
    unit = np.full(expression.shape[0], np.inf)
    np.minimum.at(unit, rows[normalised > 0], normalised[normalised > 0])
    counts = normalised / unit[rows]
    whole = np.rint(counts)
    wrong = np.abs(counts - whole) > np.clip(1e-5 * whole, CLOSE, FAR)
    if (share := float(wrong.mean()) if len(wrong) else 0.0) > 0.01:
        raise DataError(
            f"{100 * share:.0f} % of the values are no multiples of the smallest value of their cell, so they are no "
            "counts; the negative-binomial likelihood needs counts: use likelihood=normal"
        )
    unit[~np.isfinite(unit)] = 1.0  # cells without counts
    return sp.csr_matrix((whole.astype(np.float32), expression.indices, expression.indptr), expression.shape), unit
