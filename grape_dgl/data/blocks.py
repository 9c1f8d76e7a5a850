"""Cells block by block: from memory or disk, and gathered in memory or in a temporary file.

A screen may so be larger than memory: its file is read some thousand cells at a time, and what is kept of it is a CSR
matrix whose values lie in files that the system maps and takes back with the last user of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import scipy.sparse as sp

from grape_dgl.errors import DataError

BLOCK = 4096
"""Cells of a block."""
MOST = np.iinfo(np.int32).max
"""Values that indices of 32 bits count."""


def row_blocks(matrix: Any, rows: np.ndarray) -> Iterator[sp.csr_matrix]:
    """``matrix[rows]`` as float32 CSR of its own memory, block by block, without stored zeros; ``rows`` ascend.

    ``matrix`` [cells, genes] is dense, CSR or CSC, in memory or on disk; CSC on disk is read as a whole. Raises
    DataError where it is damaged or holds no numbers.
    """
    if matrix.dtype.kind not in "biuf":
        raise DataError(f"the expression matrix holds {matrix.dtype}; expected numbers")
    try:
        if hasattr(matrix, "to_memory") and matrix.format == "csc":
            matrix = matrix.to_memory()
        if sp.issparse(matrix):
            if matrix.format in ("csr", "csc"):
                matrix.check_format(full_check=True)
            matrix = sp.csr_matrix(matrix)
        for start in range(0, matrix.shape[0], BLOCK):
            first, last = np.searchsorted(rows, [start, start + BLOCK])
            if first < last:
                yield _plain(matrix[start : start + BLOCK], rows[first:last] - start)
    except MemoryError:
        raise
    except Exception as error:  # scipy, anndata and h5py raise anything where a matrix is damaged
        raise DataError(f"the expression matrix is damaged: {error}; write the file again") from error


def _plain(block: Any, rows: np.ndarray) -> sp.csr_matrix:
    if sp.issparse(block):
        block.check_format(full_check=True)
    result = sp.csr_matrix(sp.csr_matrix(block)[rows], dtype=np.float32)
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def gather(blocks: Iterable[sp.csr_matrix], columns: int, on_disk: bool = False) -> sp.csr_matrix:
    """Float32 CSR [cells, columns] of ``blocks``, one below the other; ``on_disk``: in temporary files, read-only."""
    data, indices, lengths = _Pile(np.float32, on_disk), _Pile(np.int32, on_disk), [np.zeros(1, dtype=np.int64)]
    for block in blocks:
        block.sort_indices()
        data.add(block.data)
        indices.add(block.indices)
        lengths.append(np.diff(block.indptr).astype(np.int64))
    start = np.cumsum(np.concatenate(lengths))
    if start[-1] > MOST:
        indices = indices.as_type(np.int64)  # scipy has one type for both
    else:
        start = start.astype(np.int32)
    return sp.csr_matrix((data.values(), indices.values(), start), shape=(len(start) - 1, columns))


class _Pile:
    """Numbers one after the other, in memory or in a file without a name."""

    def __init__(self, dtype: type[np.generic], on_disk: bool) -> None:
        self.dtype, self.number, self.parts = np.dtype(dtype), 0, list[np.ndarray]()
        self.file: IO[bytes] | None = None
        if on_disk:
            self.file = tempfile.TemporaryFile(prefix="grape-dgl-")  # noqa: SIM115 - mapped when it is full

    def add(self, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, dtype=self.dtype)
        self.number += len(values)
        if self.file is None:
            self.parts.append(values)
        else:
            self.file.write(values.data)

    def values(self) -> np.ndarray:
        if self.file is not None and self.number:
            self.file.flush()
            return np.memmap(self.file, self.dtype, mode="r", shape=(self.number,))
        return np.concatenate(self.parts) if self.parts else np.zeros(0, dtype=self.dtype)

    def as_type(self, dtype: type[np.generic]) -> _Pile:
        other, values = _Pile(dtype, self.file is not None), self.values()
        for part in pieces(values):
            other.add(part)
        return other


def pieces(values: np.ndarray, size: int = 2**24) -> Iterator[np.ndarray]:
    """``values`` [n] in parts, so that what is computed of them stays small."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
