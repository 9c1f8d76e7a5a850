"""Vectors of genes that somebody else computed (GenePT, scELMo, ESM2, ...), found by Ensembl id or symbol."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from grape_dgl.data.annotation_files import without_version
from grape_dgl.data.embedding_files import Table, read_vectors
from grape_dgl.errors import DataError

log = logging.getLogger("grape_dgl")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of genes that somebody else computed, found by Ensembl id first, then by symbol."""

    name: str
    values: np.ndarray
    """float32 [rows, d], finite."""
    by_ensembl: Mapping[str, int]
    """Ensembl id without version -> row."""
    by_symbol: Mapping[str, int]
    source: Mapping[str, Any]
    """Name and sha256 of the file, dim; JSON-able."""

    @classmethod
    def read(cls, path: Path | str, name: str) -> Embeddings:
        """Read CSV/TSV (plain or gzip), Parquet, NPZ, .h5ad (``PATH::KEY`` of varm) or JSON {gene: [numbers]}.

        Of several rows with one name the first counts. Raises DataError that says what is wrong with the file.
        """
        place, _, key = str(path).partition("::")
        path = Path(place)
        table = read_vectors(path, key)
        values = _finite(path, table)
        by_ensembl, by_symbol = (_first_rows(names) for names in (table.ensembl, table.symbol))
        reached = len({*by_ensembl.values(), *by_symbol.values()})
        log.info(
            "embeddings '%s' from '%s': %d genes, %d numbers each; %d rows are left out (repeated or without a name)",
            name, path, reached, values.shape[1], len(values) - reached,
        )  # fmt: skip
        source = {"file": path.name, "sha256": pooch.file_hash(str(path)), "dim": values.shape[1]}
        return cls(name, values, by_ensembl, by_symbol, source | ({"key": table.key} if table.key else {}))

    def rows(self, symbols: Sequence[str], ensembl: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """float32 [genes, d], zeros where a gene has no vector, and bool [genes]: whether it has one."""
        found = np.array(
            [self._row(symbol, gene_id) for symbol, gene_id in zip(symbols, ensembl, strict=True)], dtype=np.int64
        )
        present = found >= 0
        values = np.zeros((len(found), self.values.shape[1]), dtype=np.float32)
        values[present] = self.values[found[present]]
        log.info("embeddings '%s': %d of %d genes have a vector", self.name, int(present.sum()), len(found))
        return values, present

    def _row(self, symbol: str, ensembl: str) -> int:
        by_id = self.by_ensembl.get(without_version(ensembl), -1)
        by_name = self.by_symbol.get(symbol, self.by_ensembl.get(without_version(symbol), -1))
        return by_id if by_id >= 0 else by_name


def _first_rows(names: Sequence[str]) -> dict[str, int]:
    """Name -> its first row; Ensembl ids lose their version."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        rows.setdefault(without_version(name.strip()), row)
    rows.pop("", None)
    return rows


def _finite(path: Path, table: Table) -> np.ndarray:
    """float32 values; DataError where there are none, or one is not finite."""
    shape = table.values.shape
    if len(shape) != 2 or not all(shape):
        raise DataError(
            f"the embeddings in '{path}' have the shape {list(shape)}; expected genes x numbers, at least 1"
        )
    if table.values.dtype.kind not in "iuf":
        raise DataError(f"the embeddings in '{path}' are {table.values.dtype}; expected numbers")
    if not len(table.symbol) == len(table.ensembl) == shape[0]:
        raise DataError(f"'{path}' has {len(table.symbol)} gene names and {shape[0]} vectors; expected as many")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(table.values, dtype=np.float32)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        gene = table.symbol[row] or table.ensembl[row]
        raise DataError(
            f"'{path}': number {column + 1} of gene '{gene}' is {table.values[row, column]}; expected finite numbers "
            "(leave the gene out where it has no vector)"
        )
    if not any(name.strip() for names in (table.symbol, table.ensembl) for name in names):
        raise DataError(f"no row of '{path}' has a gene name")
    return values
