"""Cells read block by block, in memory and on disk, against slices of the whole matrix."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from grape_dgl.data import blocks
from grape_dgl.data.blocks import gather, pieces, row_blocks
from grape_dgl.errors import DataError


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(1.0, (40, 25)).astype(np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 7)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.coo_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8])
def test_rows_of_any_form(counts: np.ndarray, form: type, dtype: type) -> None:
    rows = np.array([2, 5, 6, 30, 39])
    matrix = form(counts.astype(dtype))
    parts = list(row_blocks(matrix, rows))
    assert [part.shape[0] for part in parts] == [3, 1, 1]
    assert {(type(part), part.dtype.name) for part in parts} == {(sp.csr_matrix, "float32")}
    np.testing.assert_array_equal(sp.vstack(parts).toarray(), counts[rows])
    parts[0].data[:] = -1
    np.testing.assert_array_equal(sp.csr_matrix(matrix).toarray(), counts)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_rows_of_a_matrix_on_disk(counts: np.ndarray, form: type, tmp_path: Path) -> None:
    ad.AnnData(form(counts)).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad") as file:
        matrix = file["X"] if form is np.asarray else ad.io.sparse_dataset(file["X"])
        np.testing.assert_array_equal(sp.vstack(list(row_blocks(matrix, np.arange(1, 40, 2)))).toarray(), counts[1::2])


@pytest.mark.parametrize("on_disk", [False, True])
def test_gathered_is_what_was_given(counts: np.ndarray, on_disk: bool) -> None:
    found = gather(row_blocks(counts, np.arange(40)), 25, on_disk)
    np.testing.assert_array_equal(found.toarray(), counts)
    np.testing.assert_array_equal(found[[3, 1, 30]].toarray(), counts[[3, 1, 30]])
    assert found.has_canonical_format and found.data.flags.writeable is not on_disk
    assert gather(iter(()), 25, on_disk).shape == (0, 25)
    nothing = gather(iter([sp.csr_matrix((3, 25), dtype=np.float32)]), 25, on_disk)
    assert nothing.shape == (3, 25) and not nothing.nnz


def test_more_values_than_small_indices_count(counts: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 100)
    for on_disk in (False, True):
        found = gather(row_blocks(counts, np.arange(40)), 25, on_disk)
        np.testing.assert_array_equal(found.toarray(), counts)


def test_pieces_are_the_whole() -> None:
    values = np.arange(10)
    parts = list(pieces(values, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), values)
    assert not list(pieces(values[:0]))


def test_text_is_no_expression() -> None:
    with pytest.raises(DataError, match="expected numbers"):
        list(row_blocks(np.array([["a"]]), np.array([0])))
