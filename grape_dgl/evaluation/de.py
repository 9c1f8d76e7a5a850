"""Differentially expressed genes of a condition: tests against control cells, and the ranking by Welch's t.

The ranking has the numbers of scanpy's ``rank_genes_groups(method="t-test", rankby_abs=True)``, which GEARS stores in
its files, without copying the cells of a condition.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import stats

from grape_dgl.data.screen import Screen

FALSE_DISCOVERIES = 0.05
"""Rate at which a gene counts as differentially expressed."""
GENES_AT_ONCE = 256
"""Genes that are made dense for a rank test at once."""


class Moments(NamedTuple):
    """What a t-test needs of one group of cells."""

    mean: np.ndarray
    """[genes] float64"""
    std: np.ndarray
    """[genes] float64, with n - 1 in the denominator (NaN for one cell)"""
    n: int
    """cells"""


def moments(expression: sp.csr_matrix) -> Moments:
    """Mean and standard deviation per gene of ``expression`` [cells, genes], in two passes over the stored values."""
    n, genes = expression.shape
    values = expression.data.astype(np.float64)
    gene = expression.indices
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(gene, values, genes) / n
        silent = n - np.bincount(gene, minlength=genes)
        squares = np.bincount(gene, (values - mean[gene]) ** 2, genes) + silent * mean**2
        return Moments(mean, np.sqrt(squares / (n - 1)), n)


def t_scores(group: Moments, reference: Moments) -> np.ndarray:
    """Welch's t per gene [genes]; 0 where it is not defined (no variance and no difference, or a single cell)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = stats.ttest_ind_from_stats(*group, *reference, equal_var=False).statistic
    return np.where(np.isnan(scores), 0.0, scores)


def t_test(group: Moments, reference: Moments) -> np.ndarray:
    """Two-sided p-values of Welch's t-test per gene [genes]; 1 where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = stats.ttest_ind_from_stats(*group, *reference, equal_var=False).pvalue
    return np.where(np.isnan(p), 1.0, p)


def wilcoxon(group: sp.csr_matrix, reference: sp.csr_matrix) -> np.ndarray:
    """Two-sided p-values of the Wilcoxon rank-sum (Mann-Whitney) test per gene [genes], for cells x genes.

    Normal approximation with corrections for ties and continuity; 1 for a gene that has one value in all cells.
    """
    columns = group.tocsc(), reference.tocsc()
    p = np.ones(group.shape[1])
    for start in range(0, len(p), GENES_AT_ONCE):
        block = slice(start, start + GENES_AT_ONCE)
        a, b = (matrix[:, block].toarray() for matrix in columns)
        varies = np.ptp(np.concatenate([a, b]), axis=0) > 0
        if varies.any():
            test = stats.mannwhitneyu(a[:, varies], b[:, varies], method="asymptotic")
            p[block][varies] = test.pvalue
    return p


def significant(p: np.ndarray, rate: float = FALSE_DISCOVERIES) -> np.ndarray:
    """Which genes [genes] are significant at this false discovery rate (Benjamini-Hochberg over all genes)."""
    return stats.false_discovery_control(p) < rate


def ranked(scores: np.ndarray, exclude: Collection[int] = ()) -> np.ndarray:
    """Gene indices by falling absolute score [genes - excluded]; ties keep the order of the genes.

    ``exclude`` names gene indices that are left out, such as the targets of the condition. Scores within 1e-10 are
    ties: every gene that one cell expresses has |t| = 1 up to rounding.
    """
    order = np.argsort(-np.abs(scores).round(10), kind="stable")
    return order[~np.isin(order, list(exclude))]


def de_genes(group: sp.csr_matrix, reference: sp.csr_matrix, exclude: Collection[int] = ()) -> np.ndarray:
    """All genes of ``group`` [cells, genes] ranked by evidence of a difference from ``reference`` [cells, genes]."""
    return ranked(t_scores(moments(group), moments(reference)), exclude)


def strongest(screen: Screen, condition: str, reference: Moments, number: int) -> list[str]:
    """Symbols of the ``number`` genes with the highest absolute t-score against control cells of these moments."""
    order = ranked(t_scores(moments(screen.expression[screen.cells(condition)]), reference))
    return [str(symbol) for symbol in screen.genes.symbol[order[:number]]]


def stored_de(symbols: Sequence[str], measured: Sequence[str], exclude: Collection[int] = ()) -> np.ndarray:
    """Gene indices into ``measured`` of a ranking that came with the file; genes that are not measured are left out."""
    index = {symbol: i for i, symbol in enumerate(measured)}
    left_out = set(exclude)
    return np.array([index[s] for s in symbols if s in index and index[s] not in left_out], dtype=np.int64)
