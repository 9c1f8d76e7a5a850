"""Prior graphs that are brought along, members of Eq. 5: GO overlap, STRING, edge tables, co-expression of controls.

Differs: the paper's M is {seq, text, fus}; these have fixed weights, and no gradient reaches them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pooch
import scipy.sparse as sp
import torch

from grape_dgl.data.genes import Genes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ConfigError, DataError
from grape_dgl.graph.go import jaccard, read_go
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.graph.prior_files import Links, read_edge_table, read_string

log = logging.getLogger("grape_dgl")

BLOCK = 512
"""Genes whose correlations with as many others are in memory at once."""
SEEN, SEEN_SHARE = 3, 0.01
"""Control cells, and share of them, that express a gene at least: two genes seen in one and the same
cell correlate by 1."""
Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""int64 rows, int64 columns, float64 weights of edges"""


def go_prior(path: Path, genes: Genes, neighbours: int = 20, least: float = 0.1, names: Path | None = None) -> Prior:
    """Overlap (Jaccard) of the direct GO terms of two genes; the ontology's hierarchy is not used.

    Args:
        path: GAF 2.x, NCBI's gene2go, or a table with a gene column and ``go_id``; plain or gzip.
        neighbours: an edge is kept where it is among so many strongest of one of its genes; 0 keeps all.
        least: smallest overlap of an edge.
        names: for gene2go a table of NCBI GeneIDs and symbols or Ensembl ids.
    Raises DataError where the file cannot be read or knows none of the genes.
    """
    _check(neighbours, least)
    terms = read_go(Path(path), genes, names)
    present = np.diff(terms.indptr) > 0
    _known("the GO annotation", path, genes, present, "")
    source = {"kind": "go", **_file(path), **_file(names, "names_"), "neighbours": neighbours, "least": least}
    return _prior("go", jaccard(terms, least), genes, present, neighbours, source)


def string_prior(
    path: Path, genes: Genes, neighbours: int = 20, least: float = 0.4, aliases: Path | None = None
) -> Prior:
    """STRING's ``protein.links`` with weight ``combined_score / 1000``.

    Args:
        aliases: ``protein.info`` or ``protein.aliases`` of the same release, which say what gene a protein is of.
        neighbours, least: as in :func:`go_prior`.
    Raises DataError where a file cannot be read or none of the genes is found.
    """
    _check(neighbours, least)
    links = read_string(Path(path), genes, aliases, least)
    hint = "" if aliases else "; give STRING's protein.info or protein.aliases too, which say what gene a protein is of"
    _known("the STRING links", path, genes, links.present, hint)
    source = {"kind": "string", **_file(path), **_file(aliases, "aliases_"), "neighbours": neighbours, "least": least}
    return _of_links("string", links, 1000.0, genes, neighbours, source)


def edge_prior(path: Path, genes: Genes, name: str, neighbours: int = 0) -> Prior:
    """Any table of edges: two gene columns (symbols or Ensembl ids) and perhaps a weight, 1 where there is none.

    Where a weight of the file is above 1, all are divided by the largest. Both directions are one edge; of repeated
    edges the strongest counts. Raises DataError where the table cannot be read or knows none of the genes.
    """
    _check(neighbours, 0.0)
    links = read_edge_table(Path(path), genes)
    _known("the edge table", path, genes, links.present, "")
    scale = max(links.largest, 1.0)
    if scale > 1:
        log.info("prior '%s': weights are divided by %g, the largest in '%s'", name, scale, path)
    source = {"kind": "edges", **_file(path), "neighbours": neighbours}
    return _of_links(name, links, scale, genes, neighbours, source)


def coexpression_prior(screen: Screen, halves: ControlHalves, neighbours: int = 20, least: float = 0.4) -> Prior:
    """Absolute Pearson correlation of log1p expression over the model's half of the control cells.

    No other cell is looked at. Unknown to this prior is a gene that is not measured, that does not vary in these cells
    or that fewer than ``SEEN`` of them or ``SEEN_SHARE`` express. Raises DataError with fewer than three cells.
    """
    _check(neighbours, least)
    if len(halves.model) < 3:
        raise DataError(f"{len(halves.model)} control cells cannot tell co-expression; expected at least three")
    cells = screen.expression[halves.model].tocsc()
    enough = max(SEEN, SEEN_SHARE * len(halves.model))
    spread = cells.max(axis=0).toarray().ravel() > cells.min(axis=0).toarray().ravel()
    varies = np.flatnonzero(spread & (cells.getnnz(axis=0) >= enough))
    if not len(varies):
        raise DataError(
            f"no gene varies among the {len(halves.model)} control cells and is expressed in {enough:g} of them; "
            "expected expression of single cells"
        )
    present = np.zeros(len(screen.genes), dtype=bool)
    present[varies] = True
    blocks = ((varies[rows], varies[columns], value) for rows, columns, value in correlations(cells[:, varies], least))
    source = {
        "kind": "coexpression",
        "cells": len(halves.model),
        "seen": enough,
        "neighbours": neighbours,
        "least": least,
    }
    return _prior("coexpression", blocks, screen.genes, present, neighbours, source)


def correlations(cells: sp.csc_matrix, least: float) -> Iterator[Block]:
    """Pairs i != j with ``|Pearson| >= least`` of columns that vary, rounded to 6 digits."""
    starts = range(0, cells.shape[1], BLOCK)
    for start in starts:
        rows = _unit_columns(cells[:, start : start + BLOCK])
        products = [rows.T @ _unit_columns(cells[:, other : other + BLOCK]) for other in starts]
        value = np.abs(np.hstack(products)).round(6)  # exact ties stay ties
        value[np.arange(len(value)), np.arange(start, start + len(value))] = -1
        i, j = np.nonzero(value >= np.float32(least))
        yield i + start, j, np.minimum(value[i, j].astype(np.float64), 1)


def _unit_columns(cells: sp.csc_matrix) -> np.ndarray:
    """float32 [cells, genes], dense: every column centred and of length 1."""
    dense = cells.toarray().astype(np.float64)
    dense -= dense.mean(axis=0)
    return (dense / np.linalg.norm(dense, axis=0)).astype(np.float32)


def strongest(blocks: Iterable[Block], symbol: np.ndarray, neighbours: int) -> tuple[Pairs, int]:
    """Edges that are among the ``neighbours`` strongest of one of their ends (0: all), and how many there were.

    A block holds all edges of its rows, in row order, and every edge stands in the rows of both ends. Of equally strong
    edges of a gene those to the alphabetically first symbols are kept, so the order of the genes does not matter.
    """
    genes, rank = len(symbol), np.argsort(np.argsort(symbol.astype(str)))
    parts, candidates = [], 0
    for rows, columns, value in blocks:
        candidates += int((rows < columns).sum())
        if neighbours:
            kept = np.flatnonzero(_among_best(rows, value, neighbours))
            kept = kept[np.lexsort((rank[columns[kept]], -value[kept], rows[kept]))]
            place = np.arange(len(kept)) - np.searchsorted(rows[kept], rows[kept])
            kept = kept[place < neighbours]
        else:
            kept = np.flatnonzero(rows < columns)
        parts.append((rows[kept], columns[kept], value[kept]))
    both, others, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    first, second, value = undirected(both, others, values, genes)
    weight = np.maximum(value.astype(np.float32), np.finfo(np.float32).tiny)
    return Pairs(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(weight)), candidates


def _among_best(rows: np.ndarray, value: np.ndarray, number: int) -> np.ndarray:
    """bool [edges]: at least the ``number``-th largest value of its row, ties included; rows ascend."""
    best = np.ones(len(rows), dtype=bool)
    for start, stop in pairwise([*np.flatnonzero(np.diff(rows, prepend=-1)), len(rows)]):
        if stop - start > number:
            of_row = value[start:stop]
            best[start:stop] = of_row >= np.partition(of_row, -number)[-number]
    return best


def undirected(first: np.ndarray, second: np.ndarray, value: np.ndarray, genes: int) -> Block:
    """Every pair once, ``first < second``, in row order, with its largest value."""
    key = np.minimum(first, second) * genes + np.maximum(first, second)
    order = np.lexsort((-value, key))
    key, value = key[order], value[order]
    once = np.diff(key, prepend=-1) > 0
    return key[once] // genes, key[once] % genes, value[once]


def _of_links(name: str, links: Links, scale: float, genes: Genes, neighbours: int, source: Mapping[str, Any]) -> Prior:
    first, second, value = undirected(links.first, links.second, links.weight / scale, len(genes))
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(rows, kind="stable")
    both = rows[order], columns[order], np.tile(value, 2)[order]
    dropped = {**links.dropped, "repeated": len(links.first) - len(first)}
    return _prior(name, [both], genes, links.present, neighbours, source, dropped)


def _prior(
    name: str,
    blocks: Iterable[Block],
    genes: Genes,
    present: np.ndarray,
    neighbours: int,
    source: Mapping[str, Any],
    dropped: Mapping[str, int] = MappingProxyType({}),
) -> Prior:
    """Cut to the strongest edges, and say what the prior covers."""
    pairs, candidates = strongest(blocks, genes.symbol, neighbours)
    dropped = {**dropped, f"beyond the {neighbours} strongest of both genes": candidates - len(pairs)}
    known = int(present.sum())
    log.info(
        "prior '%s': %d of %d genes are known; %d edges, mean degree of these genes %.1f; edges dropped: %s",
        name, known, len(genes), len(pairs), 2 * len(pairs) / known,
        ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count > 0) or "none",
    )  # fmt: skip
    if not len(pairs):
        log.warning("prior '%s' has no edge: it only lowers the weights of the other members' edges", name)
    return Prior(name, pairs, torch.from_numpy(present), source)


def _check(neighbours: int, least: float) -> None:
    if neighbours < 0:
        raise ConfigError(f"neighbours of a prior is {neighbours}; expected 0 (all edges) or more")
    if not 0 <= least <= 1:
        raise ConfigError(f"the smallest weight of a prior is {least:g}; expected a number from 0 to 1")


def _known(what: str, path: Path, genes: Genes, present: np.ndarray, hint: str) -> None:
    if not present.any():
        some = ", ".join([*genes.symbol[:3], *filter(None, genes.ensembl[:1])])
        raise DataError(f"{what} '{path}' names none of the {len(genes)} genes, such as {some}{hint}")


def _file(path: Path | None, prefix: str = "") -> dict[str, str]:
    """Name and sha256 of a file for the record; nothing without one."""
    return {f"{prefix}file": Path(path).name, f"{prefix}sha256": pooch.file_hash(str(path))} if path else {}
