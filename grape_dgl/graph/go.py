"""Gene Ontology: which terms a gene has (GAF, gene2go, a table), and how much the term sets of two genes overlap."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data.annotation_files import COLUMNS
from grape_dgl.data.genes import Genes
from grape_dgl.data.text_tables import TextTable
from grape_dgl.errors import DataError
from grape_dgl.graph.gene_names import distinct, place

TERM = ("go_id", "go_term_accession", "go_accession", "go_term", "go")
ENTREZ = ("entrez", "entrez_id", "entrezgene", "ncbi_gene_id", "NCBI gene (formerly Entrezgene) ID", "GeneID")
ROOTS = ("GO:0003674", "GO:0005575", "GO:0008150")
"""Terms that GO gives a gene of which nothing is known (evidence ND): sharing them means nothing."""
BLOCK = 512
"""Genes whose overlaps with all others are in memory at once."""


@dataclass(frozen=True)
class _Layout:
    """Where a GO file has what; columns by position."""

    named: list[int]
    """Columns of gene names; the first tells the entries apart."""
    term: int
    qualifier: int | None
    kind: str
    """gaf, gene2go or table"""


def read_go(path: Path, genes: Genes, names: Path | None = None) -> sp.csr_matrix:
    """int32 [genes, terms] of 0 and 1: direct GO terms, without rows that say NOT and without the three root terms.

    Read are GAF 2.x, NCBI's gene2go (with ``names``, a table of GeneIDs and symbols or Ensembl ids), and tables with
    a gene column and ``go_id``. Raises DataError where the file is none of these.
    """
    table = TextTable.peek(path, "the GO annotation")
    layout = _layout(table)
    if layout.kind == "gene2go":
        if names is None:
            raise DataError(
                f"the GO annotation '{path}' names genes by NCBI's GeneID; give a table that has these and symbols "
                "or Ensembl ids as well (NCBI's Homo_sapiens.gene_info.gz, a BioMart export)"
            )
        row_of = entrez_rows(names, genes)
        frame = _annotations(table, layout, row_of)
    else:
        frame = _annotations(table, layout)
        entry, other = layout.named[0], layout.named[-1]
        frame[entry] = frame[entry].where(frame[entry] != "", frame[other])
        tiers = [distinct(frame[[layout.named[0], column]]) for column in layout.named]
        synonyms = tiers.pop() if layout.kind == "gaf" else []
        found = dict.fromkeys((entry, name) for entry, cell in synonyms for name in cell.split("|") if name)
        row_of = place(genes, tiers, found)  # in the order of the file: the first known synonym of an entry counts
    rows = frame[layout.named[0]].map(row_of)
    known = rows.notna()
    columns, terms = pd.factorize(frame.loc[known, layout.term])
    ones = np.ones(len(columns), dtype=np.int32)
    matrix = sp.csr_matrix((ones, (rows[known].astype(np.int64), columns)), shape=(len(genes), len(terms)))
    matrix.data[:] = 1  # several entries of one gene
    return matrix


def _layout(table: TextTable) -> _Layout:
    if table.first.startswith("!gaf-version"):
        if not table.first.split(":")[-1].strip().startswith("2") or len(table.header) < 15:
            raise DataError(
                f"the GO annotation '{table.path}' is '{table.first[:40]}' with {len(table.header)} columns; "
                "expected GAF 2.x, which has 15 to 17"
            )
        return _Layout(named=[2, 10], term=4, qualifier=3, kind="gaf")
    ncbi = table.find(("tax_id",)) is not None
    fields = [("GeneID",)] if ncbi else [COLUMNS["ensembl"], COLUMNS["symbol"]]
    named = [column for names in fields if (column := table.find(names)) is not None]
    term = table.find(TERM)
    if term is None or not named:
        raise table.lacks(
            "GAF 2.x ('!gaf-version: 2.2' first), NCBI's gene2go, or a table with symbol (or ensembl) and go_id"
        )
    return _Layout(named, term, table.find(("qualifier",)), "gene2go" if ncbi else "table")


def _annotations(table: TextTable, layout: _Layout, wanted: dict[str, int] | None = None) -> pd.DataFrame:
    """The distinct rows of gene names and term that say something."""
    columns = [*layout.named, layout.term]
    more: dict[str, Any] = {"usecols": columns if layout.qualifier is None else [*columns, layout.qualifier]}
    if layout.kind == "gaf":
        more |= {"skiprows": table.options["skiprows"] - 1, "quoting": csv.QUOTE_NONE}  # no header
    parts = [pd.DataFrame(columns=columns, dtype=str)]
    for chunk in table.chunks({}, dtype=str, **more):
        keep = chunk[layout.term].str.startswith("GO:", na=False) & ~chunk[layout.term].isin(ROOTS)
        if layout.qualifier is not None:
            keep &= ~chunk[layout.qualifier].str.contains(r"\bNOT\b", na=False)
        if wanted is not None:
            keep &= chunk[layout.named[0]].isin(wanted)
        parts.append(chunk.loc[keep, columns].drop_duplicates())
    return pd.concat(parts).fillna("")


def entrez_rows(path: Path, genes: Genes) -> dict[str, int]:
    """NCBI's GeneID -> node index, from a table with both and gene symbols, Ensembl ids or both."""
    table = TextTable.peek(path, "the table of GeneIDs")
    entrez = table.find(ENTREZ)
    named = [column for field in ("ensembl", "symbol") if (column := table.find(COLUMNS[field])) not in (None, entrez)]
    if entrez is None or not named:
        raise table.lacks("entrez (or GeneID), and symbol or ensembl")
    frame = table.read({}, dtype=str).fillna("")
    frame[entrez] = frame[entrez].str.removesuffix(".0")
    return place(genes, [distinct(frame.loc[frame[entrez] != "", [entrez, column]]) for column in named])


def jaccard(terms: sp.csr_matrix, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, columns and overlap ``|A and B| / |A or B|`` of pairs i != j, at least ``least``, block by block."""
    count = np.diff(terms.indptr)
    transposed = terms.T.tocsr()
    for start in range(0, terms.shape[0], BLOCK):
        both = terms[start : start + BLOCK] @ transposed
        i = np.repeat(np.arange(start, start + both.shape[0], dtype=np.int32), np.diff(both.indptr))
        union = count[i] + count[both.indices] - both.data
        keep = both.data >= (least - 1e-9) * union  # nearly all are below; the quotient decides
        keep &= i != both.indices
        i, j, overlap = i[keep], both.indices[keep], both.data[keep] / union[keep]
        enough = overlap >= least
        yield i[enough].astype(np.int64), j[enough].astype(np.int64), overlap[enough]
