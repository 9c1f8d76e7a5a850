"""Matrices against numpy on dense copies, and the gene panel against scanpy's own choice."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from grape_dgl.data.expression import check_values, is_counts, normalise, pick_matrix, variable_genes
from grape_dgl.errors import DataError


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(1.0, (40, 25)).astype(np.float32)


def test_normalise_is_log1p_of_scaled_counts(counts: np.ndarray) -> None:
    counts[3] = 0
    expected = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    result = normalise(sp.csr_matrix(counts), 1e4)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.toarray(), expected, rtol=1e-6)


def test_normalise_leaves_its_input(counts: np.ndarray) -> None:
    matrix = sp.csr_matrix(counts)
    normalise(matrix, 1e4)
    np.testing.assert_array_equal(matrix.toarray(), counts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_bad_values_are_counted(counts: np.ndarray, value: float) -> None:
    counts[0, :2] = value
    with pytest.raises(DataError, match=" 2 "):
        check_values(sp.csr_matrix(counts))


def test_counts_and_logarithms_are_told_apart(counts: np.ndarray) -> None:
    assert is_counts(sp.csr_matrix(counts))
    assert not is_counts(sp.csr_matrix(np.log1p(counts)))
    with pytest.raises(DataError, match="neither whole numbers nor log1p"):
        is_counts(sp.csr_matrix(counts * 100.5))
    with pytest.raises(DataError, match="only zeros"):
        is_counts(sp.csr_matrix(np.zeros((2, 2), np.float32)))


def test_pick_matrix(counts: np.ndarray) -> None:
    adata = ad.AnnData(counts[:, :10].copy(), layers={"counts": counts[:, :10] + 1})
    adata.raw = ad.AnnData(counts)
    assert pick_matrix(adata, None)[0].shape == (40, 10)
    np.testing.assert_array_equal(pick_matrix(adata, "counts")[0], counts[:, :10] + 1)
    matrix, var = pick_matrix(adata, "raw")
    assert matrix.shape == (40, 25) == (40, len(var))
    with pytest.raises(DataError, match="'count'; did you mean 'counts'"):
        pick_matrix(adata, "count")
    with pytest.raises(DataError, match="no 'raw'"):
        pick_matrix(ad.AnnData(counts), "raw")


def test_variable_genes_are_scanpys() -> None:
    generator = np.random.default_rng(1)
    matrix = np.log1p(generator.negative_binomial(2, 0.3, (300, 60)) * generator.random(60)).astype(np.float32)
    adata = ad.AnnData(sp.csr_matrix(matrix))
    scanpy.pp.highly_variable_genes(adata, n_top_genes=20)
    np.testing.assert_array_equal(variable_genes(sp.csr_matrix(matrix), 20), adata.var["highly_variable"])
    assert variable_genes(sp.csr_matrix(matrix), 60).all()
    assert variable_genes(sp.csr_matrix(matrix), 1000).sum() == 60
