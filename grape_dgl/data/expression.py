"""Expression matrices: pick one, check it, and bring it to log1p of library-size-normalised counts.

A matrix is never made dense; all functions take and return CSR, cells x genes, which may be larger than memory.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data.blocks import pieces
from grape_dgl.errors import DataError, did_you_mean

Counts = Literal["auto", "raw", "log1p"]
LOG1P_LIMIT = 25.0
"""log1p of 7e10: no logarithm of a count is larger."""
LARGEST = 7e10
"""Nor is any count."""


def pick_matrix(adata: ad.AnnData, layer: str | None) -> tuple[Any, pd.DataFrame]:
    """The matrix [cells, genes] as stored, and its gene table: ``X``, a named layer, or ``raw``.

    Raises DataError where it is not in the file.
    """
    if layer == "raw" and layer not in adata.layers:
        if adata.raw is None:
            raise DataError("the file has no 'raw' matrix; leave --layer out to use X" + _layers(adata))
        return adata.raw.X, adata.raw.var
    if layer is None or layer == "X":
        if adata.X is None:
            raise DataError("the file has no matrix X" + _layers(adata))
        return adata.X, adata.var
    if layer not in adata.layers:
        raise DataError(f"the file has no layer '{layer}'{did_you_mean(layer, adata.layers)}{_layers(adata)}")
    return adata.layers[layer], adata.var


def _layers(adata: ad.AnnData) -> str:
    return f"; layers there are: {', '.join(map(str, adata.layers)) or 'none'}"


def check_values(expression: sp.csr_matrix) -> None:
    """Raise DataError for NaN, infinite, negative or absurdly large values, with their number."""
    bad = negative = large = 0
    for values in pieces(expression.data):
        bad += int(np.count_nonzero(~np.isfinite(values)))
        negative += int(np.count_nonzero(values < 0))
        large += int(np.count_nonzero(values > LARGEST))
    if bad:
        raise DataError(f"the expression matrix has {bad:,} NaN or infinite values; expected counts or log1p values")
    if negative:
        raise DataError(
            f"the expression matrix has {negative:,} negative values (scaled data?); expected counts or log1p values, "
            "perhaps in another layer (--layer NAME or --layer raw)"
        )
    if large:
        raise DataError(
            f"the expression matrix has {large:,} values above {LARGEST:g} (largest {expression.data.max():g}); "
            "expected counts or log1p values"
        )


def is_counts(expression: sp.csr_matrix) -> bool:
    """Whether all values are whole numbers; DataError where they are neither counts nor log1p."""
    values = expression.data
    if not len(values):
        raise DataError("the expression matrix holds only zeros; expected counts or log1p values")
    if all(np.array_equal(part, np.rint(part)) for part in pieces(values)):
        return True
    if values.max() > LOG1P_LIMIT:
        raise DataError(
            f"expression values are neither whole numbers nor log1p (largest {values.max():,.1f}); "
            "say --counts raw to have them normalised, or choose another --layer"
        )
    return False


def normalise(counts: sp.csr_matrix, target_sum: float) -> sp.csr_matrix:
    """log1p(counts / library * target_sum) per cell, the library over all genes of the matrix.

    A cell without counts stays zero.
    """
    library = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    scale = np.divide(target_sum, library, out=np.zeros_like(library), where=library > 0).astype(np.float32)
    result = counts.copy()
    result.data *= np.repeat(scale, np.diff(counts.indptr))
    np.log1p(result.data, out=result.data)
    return result


def variable_genes(control: sp.csr_matrix, number: int) -> np.ndarray:
    """bool [genes]: the ``number`` most variable genes among control cells (scanpy, flavor ``seurat``)."""
    if number >= control.shape[1]:
        return np.ones(control.shape[1], dtype=bool)
    import scanpy

    table = scanpy.pp.highly_variable_genes(
        ad.AnnData(control.copy()), flavor="seurat", n_top_genes=number, inplace=False
    )
    return cast(np.ndarray, table["highly_variable"].to_numpy(dtype=bool))
