"""Files of edges between genes, streamed: STRING and any edge table; what is no edge of known genes is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from grape_dgl.data.annotation_files import without_version
from grape_dgl.data.genes import Genes
from grape_dgl.data.text_tables import TextTable
from grape_dgl.errors import DataError
from grape_dgl.graph.gene_names import distinct, place, row_by_name

log = logging.getLogger("grape_dgl")

ENDS = (
    ("source", "target"), ("gene1", "gene2"), ("gene_a", "gene_b"), ("symbol1", "symbol2"), ("symbol_a", "symbol_b"),
    ("from", "to"), ("regulator", "target"), ("tf", "target"), ("node1", "node2"), ("protein1", "protein2"),
    ("protein_a", "protein_b"), ("ensembl1", "ensembl2"), ("ensembl_a", "ensembl_b"),
    ("official_symbol_interactor_a", "official_symbol_interactor_b"), ("interactor_a", "interactor_b"),
)  # fmt: skip
"""Column names of the two genes of an edge, the likeliest first."""
WEIGHT = (
    "weight", "score", "combined_score", "importance", "confidence", "similarity", "correlation", "strength", "value",
)  # fmt: skip
_PRIMARY_ALIAS = r"(?:^|[_ ])(?:HGNC_(?:Approved_)?Symbol|UniProt_GN_Name|BioMart_HUGO)(?:$| )"


@dataclass(frozen=True)
class Links:
    """Edges of a file between two different genes that are both known, in its order, and what was left out."""

    first: np.ndarray
    second: np.ndarray
    """int64 [edges] node indices."""
    weight: np.ndarray
    """float64 [edges], above 0, as the file has it."""
    present: np.ndarray
    """bool [genes]: the gene stands in the file, with or without an edge."""
    largest: float
    """Largest weight of the whole file."""
    dropped: Mapping[str, int]
    """Reason -> rows."""


def read_links(
    table: TextTable, ends: tuple[int, int], weight: int | None, find: Callable[[str], int | None], genes: int,
    least: float = 0.0, most: float = np.inf,
) -> Links:  # fmt: skip
    """Stream an edge table (columns by position); ``find`` turns a cell into a node index.

    Edges below ``least`` are left out and counted. Raises DataError for a weight that is no number from 0 to ``most``.
    """
    parts, present, largest, before = [], np.zeros(genes, dtype=bool), 0.0, 1
    dropped = Counter[str]()
    kinds = dict.fromkeys(ends, "category")
    for chunk in table.chunks(kinds):
        a, b = (_rows(table, chunk[end], find, before) for end in ends)
        value = np.ones(len(chunk)) if weight is None else _weights(table, chunk[weight], most, before)
        before += len(chunk)
        largest = max(largest, value.max(initial=0.0))
        present[a[a >= 0]] = present[b[b >= 0]] = True
        known = (a >= 0) & (b >= 0)
        loop, weak = known & (a == b), known & (a != b) & ((value < least) | (value == 0))
        dropped["with another gene"] += int((~known).sum())
        dropped["self-loops"] += int(loop.sum())
        dropped[f"below {least:g}" if least else "of weight 0"] += int(weak.sum())
        keep = known & ~loop & ~weak
        parts.append((a[keep], b[keep], value[keep]))
    if before == 1:
        raise DataError(f"{table.what} '{table.path}' has a header and no rows; expected one edge per row")
    first, second, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Links(first, second, values, present, largest, dropped)


def _rows(table: TextTable, cells: pd.Series, find: Callable[[str], int | None], before: int) -> np.ndarray:
    """int64 [rows]: node index, -1 unknown."""
    names = [str(name).strip() for name in cells.cat.categories]
    nodes = [-2 if not name else -1 if (row := find(name)) is None else row for name in names]
    rows = np.array([*nodes, -2], dtype=np.int64)[cells.cat.codes.to_numpy()]  # code -1: no cell
    if (rows == -2).any():
        row = before + 1 + int(np.argmax(rows == -2))
        raise DataError(f"{table.what} '{table.path}', row {row}: a gene is missing; expected two genes in every row")
    return rows


def _weights(table: TextTable, cells: pd.Series, most: float, before: int) -> np.ndarray:
    value = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~((value >= 0) & (value <= most) & np.isfinite(value))
    if bad.any():
        at = int(np.argmax(bad))
        hint = (
            "; take absolute values or remove such edges first, as their meaning is yours to decide"
            if value[at] < 0 else ""
        )  # fmt: skip
        wanted = "a number, 0 or more" if np.isinf(most) else f"a number from 0 to {most:g}"
        raise DataError(
            f"{table.what} '{table.path}', row {before + 1 + at}: weight '{cells.iloc[at]}'; expected {wanted}{hint}"
        )
    return value


def read_edge_table(path: Path, genes: Genes) -> Links:
    """Two gene columns (symbols or Ensembl ids) and perhaps a weight; see ``ENDS`` and ``WEIGHT``.

    Raises DataError that names the columns where two genes cannot be told, or the row that is wrong.
    """
    table = TextTable.peek(path, "the edge table")
    found = ((table.find((first,)), table.find((second,))) for first, second in ENDS)
    ends = next(((a, b) for a, b in found if a is not None and b is not None), None)
    if ends is None:
        raise table.lacks("a header with two gene columns and perhaps a weight, such as source, target, weight")
    weight = table.find(WEIGHT)
    if weight is None and len(table.header) > 2:
        log.warning("the edge table '%s' has no column of weights (%s, ...): every edge weighs 1", path, WEIGHT[0])
    row_of = row_by_name(genes)
    return read_links(table, ends, weight, lambda name: row_of.get(without_version(name)), len(genes))


def read_string(path: Path, genes: Genes, aliases: Path | None, least: float) -> Links:
    """STRING's ``protein.links`` (any variant with ``combined_score``), scores 0 to 1000; see ``string_names``."""
    table = TextTable.peek(path, "the STRING links")
    first, second, score = (table.find((name,)) for name in ("protein1", "protein2", "combined_score"))
    if first is None or second is None or score is None:
        raise table.lacks(
            "protein1, protein2 and combined_score, as in 9606.protein.links.v12.0.txt.gz "
            "(other edge tables are read as such)"
        )
    row_of = string_names(aliases, genes) if aliases else row_by_name(genes)
    least = round(least * 1000, 6)  # .29 * 1000 is less than 290
    return read_links(
        table, (first, second), score, lambda name: row_of.get(_protein(name)), len(genes), least, most=1000.0
    )


def _protein(name: str) -> str:
    """``9606.ENSP00000269305`` -> ``ENSP00000269305``"""
    taxon, dot, protein = name.partition(".")
    return protein if dot and taxon.isdigit() else name


def string_names(path: Path, genes: Genes) -> dict[str, int]:
    """Protein -> node index from STRING's ``protein.info`` (``preferred_name``) or ``protein.aliases``.

    Of aliases, Ensembl gene ids count first, then symbols of HGNC and UniProt, then other names of one protein only.
    """
    table = TextTable.peek(path, "the STRING names")
    protein = table.find(("string_protein_id", "protein_external_id", "string_id"))
    name, source = table.find(("preferred_name", "alias")), table.find(("source",))
    if protein is None or name is None:
        raise table.lacks(
            "string_protein_id and preferred_name or alias, "
            "as in 9606.protein.info.v12.0.txt.gz or 9606.protein.aliases.v12.0.txt.gz"
        )
    wanted = [column for column in (protein, name, source) if column is not None]
    known, parts = row_by_name(genes), [pd.DataFrame(columns=wanted, dtype=str)]
    for chunk in table.chunks({}, dtype=str, usecols=wanted):
        parts.append(chunk[chunk[name].isin(known)])
    frame = pd.concat(parts).fillna("")
    frame[protein] = frame[protein].map(_protein)
    if source is None:
        return place(genes, [distinct(frame[[protein, name]])])
    primary = frame[source].str.contains(_PRIMARY_ALIAS, case=False, regex=True, na=False)
    return place(genes, [distinct(frame.loc[primary, [protein, name]])], distinct(frame[[protein, name]]))
