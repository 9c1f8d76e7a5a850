"""Gene names of a file: unique symbols with their Ensembl ids, from whatever its gene table holds."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from grape_dgl.data import columns
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.annotation_files import without_version
from grape_dgl.errors import DataError, some

log = logging.getLogger("grape_dgl")

SYMBOL = (
    "gene_name",
    "gene_symbol",
    "symbol",
    "gene_symbols",
    "symbols",
    "feature_name",
    "gene_short_name",
    "hgnc_symbol",
    "gene",
)
ENSEMBL = (
    "gene_id",
    "gene_ids",
    "ensembl_id",
    "ensembl",
    "ensembl_ids",
    "ensembl_gene_id",
    "ensg",
    "feature_id",
    "ensgene",
)
ENSEMBL_ID = re.compile(r"ENS[A-Z]*G\d{6,}(?:\.\d+)?")
_BARCODE = re.compile(r"(?:[A-Za-z0-9]+[_\-:.#])?[ACGTN]{8,}(?:[_\-.:x].*)?")
_EVERYWHERE = frozenset(
    ("ACTB", "B2M", "EEF1A1", "GAPDH", "MALAT1", "RPLP0", "Actb", "B2m", "Eef1a1", "Gapdh", "Rplp0")
)
"""Genes that nearly every human or mouse screen measures."""


@dataclass(frozen=True, eq=False)
class GeneNames:
    """Names of the genes of a matrix, in its order."""

    symbol: np.ndarray
    """[genes] unique symbols, object dtype."""
    ensembl: np.ndarray
    """[genes] Ensembl ids without version, "" unknown."""
    aliases: Mapping[str, str]
    """The file's own names and Ensembl ids -> symbol."""
    notes: Mapping[str, Any]


def name_genes(var: pd.DataFrame, annotation: Annotation) -> GeneNames:
    """Symbols and Ensembl ids of a gene table.

    Where the index holds Ensembl ids or numbers, symbols come from a usual column, else from the annotation. The
    first gene of a duplicated symbol keeps it; the others become ``SYMBOL|ENSEMBL``, or ``SYMBOL-1`` without an id.
    """
    index = [str(name).strip() for name in var.index]
    ensembl, ensembl_source = _ensembl(index, var)
    symbols, symbol_source = _symbols(index, ensembl, var, annotation)
    symbols = [symbol or gene or name for symbol, gene, name in zip(symbols, ensembl, index, strict=True)]
    unique, by_ensembl, suffixed = _unique(symbols, ensembl)
    duplicates = sorted(name for name, count in Counter(symbols).items() if count > 1)
    if duplicates:
        log.info(
            "%d gene symbols stand more than once (%s): the first gene keeps the symbol, %d others are told apart by "
            "Ensembl id and %d by a suffix", len(duplicates), some(duplicates, 3), by_ensembl, suffixed,
        )  # fmt: skip
    aliases: dict[str, str] = {}
    for names in (unique, index, ensembl):
        for name, symbol in zip(names, unique, strict=True):
            if name:
                aliases.setdefault(name, symbol)
    notes = {
        "symbols_from": symbol_source,
        "ensembl_from": ensembl_source,
        "duplicated_symbols": duplicates,
        "told_apart_by_ensembl": by_ensembl,
        "told_apart_by_suffix": suffixed,
    }
    return GeneNames(np.array(unique, dtype=object), np.array(ensembl, dtype=object), aliases, notes)


def _ensembl(index: list[str], var: pd.DataFrame) -> tuple[list[str], str | None]:
    """Ensembl ids without version, "" unknown, and where they come from."""
    found = [(index, "var_names"), *((list(columns.text(var[c])), str(c)) for c in columns.find(var, ENSEMBL))]
    for values, source in found:
        if _mostly(ENSEMBL_ID, values):
            return [without_version(name) if ENSEMBL_ID.fullmatch(name) else "" for name in values], source
    return [""] * len(index), None


def _symbols(index: list[str], ensembl: list[str], var: pd.DataFrame, annotation: Annotation) -> tuple[list[str], str]:
    """Symbols, "" unknown, and where they come from."""
    by_id = _mostly(ENSEMBL_ID, index)
    if by_id or all(name.isdigit() for name in index):
        for column in columns.find(var, SYMBOL):
            values = list(columns.text(var[column]))
            if not _mostly(ENSEMBL_ID, values):
                log.info("gene symbols are taken from the var column '%s'", column)
                return values, str(column)
        if by_id and not annotation.is_empty:
            log.info("genes are named by Ensembl id; their symbols are taken from the annotation")
            return [symbol_of(annotation, name) for name in ensembl], "annotation"
    return index, "var_names"


def symbol_of(annotation: Annotation, ensembl: str) -> str:
    """Symbol that the annotation has for an Ensembl id, or ""."""
    gene = without_version(ensembl)
    return next(
        (s.by_ensembl[gene].symbol for s in annotation.sources if gene in s.by_ensembl and s.by_ensembl[gene].symbol),
        "",
    )


def warn_of_naming(targets: Sequence[str], measured: Sequence[str]) -> None:
    """Where no target is measured and nothing else is known of genes, names of two kinds are the likeliest cause."""
    folded = {name.casefold(): name for name in measured}
    same = next(((target, folded[target.casefold()]) for target in targets if target.casefold() in folded), None)
    target_ids, gene_ids = _mostly(ENSEMBL_ID, targets), _mostly(ENSEMBL_ID, measured)
    if same:
        log.warning("no target is a measured gene, but '%s' is '%s' in another case: check how genes are named", *same)
    elif target_ids != gene_ids:
        log.warning(
            "no target is a measured gene: targets are named by %s and genes by %s; give --annotation, which has both",
            *("Ensembl id" if ids else "symbol" for ids in (target_ids, gene_ids)),
        )


def check_orientation(obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """Raise DataError where rows look like genes and columns like cells."""
    rows, genes = [str(name) for name in obs.index], [str(name) for name in var.index]
    labelled = columns.find(var, columns.CONDITION[:4]) and not columns.find(obs, columns.CONDITION[:4])
    if (
        _mostly(_BARCODE, genes)
        or _mostly(ENSEMBL_ID, rows)
        or (len(_EVERYWHERE.intersection(rows)) > 1 and not _EVERYWHERE.intersection(genes))
        or labelled
    ):
        raise DataError(
            f"cells and genes look swapped: rows are named {some(rows, 3)} and columns {some(genes, 3)}; "
            "expected cells in rows and genes in columns (adata.T swaps them)"
        )


def _mostly(pattern: re.Pattern[str], names: Iterable[str]) -> bool:
    names = list(names)[:2000]
    return sum(pattern.fullmatch(name) is not None for name in names) * 2 > len(names)


def _unique(symbols: Sequence[str], ensembl: Sequence[str]) -> tuple[list[str], int, int]:
    """Unique names, and how many needed an Ensembl id or a suffix."""
    taken: set[str] = set(symbols)
    seen: set[str] = set()
    unique: list[str] = []
    by_ensembl = suffixed = 0
    for symbol, gene in zip(symbols, ensembl, strict=True):
        name = symbol
        if symbol in seen:
            name = f"{symbol}|{gene}"
            if gene and name not in taken:
                by_ensembl += 1
            else:
                name = next(f"{symbol}-{n}" for n in range(1, len(symbols) + 1) if f"{symbol}-{n}" not in taken)
                suffixed += 1
        seen.add(name)
        taken.add(name)
        unique.append(name)
    return unique, by_ensembl, suffixed
