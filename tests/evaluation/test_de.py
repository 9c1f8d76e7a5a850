"""DE genes against scanpy, which GEARS uses, on real cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from evaluation.screens import norman, simulated
from grape_dgl.data.screen import Screen
from grape_dgl.evaluation import de
from grape_dgl.evaluation.de import de_genes, moments, ranked, significant, stored_de, t_scores, t_test, wilcoxon


def _scanpy(screen: Screen, condition: str, field: str = "scores") -> tuple[np.ndarray, np.ndarray]:
    """Scores (or another field) per gene [genes] and the ranked gene indices as scanpy gives them."""
    import scanpy as sc

    rows = np.concatenate([screen.cells(condition), screen.control_cells])
    group = np.where(np.isin(rows, screen.control_cells), "ctrl", "case")
    data = ad.AnnData(screen.expression[rows], obs={"group": group})
    data.obs["group"] = data.obs["group"].astype("category")
    sc.tl.rank_genes_groups(
        data, "group", groups=["case"], reference="ctrl", method="t-test", rankby_abs=True, n_genes=data.n_vars
    )
    names = data.uns["rank_genes_groups"]["names"]["case"].astype(int)
    scores = np.empty(data.n_vars)
    scores[names] = data.uns["rank_genes_groups"][field]["case"]
    return scores, names


def _equals_scanpy(screen: Screen, condition: str) -> None:
    group, reference = (screen.expression[rows] for rows in (screen.cells(condition), screen.control_cells))
    scores, order = _scanpy(screen, condition)
    own = t_scores(moments(group), moments(reference))
    np.testing.assert_allclose(own, scores, rtol=1e-5, atol=1e-6)
    found = de_genes(group, reference)
    steps = np.diff(-np.abs(scores[order]), prepend=-np.inf, append=np.inf) > 1e-5
    distinct = steps[:-1] & steps[1:]  # scanpy breaks ties at random
    assert distinct.sum() >= 40
    np.testing.assert_allclose(np.abs(own[found]), np.abs(scores[order]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[distinct], order[distinct])


def test_equals_scanpy_on_real_cells(shared_data: Callable[[str], Path]) -> None:
    screen = norman(shared_data("norman_subset.h5ad"))
    for condition in ("KLF1", "MAPK1+TGFBR2"):
        _equals_scanpy(screen, condition)


def test_equals_scanpy_on_simulated_cells() -> None:
    _equals_scanpy(simulated(), "G00+G02")


def test_significant_genes_are_scanpys() -> None:
    screen = simulated()
    for condition in screen.conditions:
        group, reference = (screen.expression[rows] for rows in (screen.cells(condition), screen.control_cells))
        p = t_test(moments(group), moments(reference))
        np.testing.assert_allclose(p, _scanpy(screen, condition, "pvals")[0], rtol=1e-5)
        adjusted = _scanpy(screen, condition, "pvals_adj")[0]
        for rate in (0.01, 0.05, 0.5):
            assert significant(p, rate).tolist() == (adjusted < rate).tolist()
        assert 3 < significant(p).sum() < 30


def test_rank_test_is_scipys_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = simulated()
    group, reference = screen.expression[screen.cells("G01")], screen.expression[screen.control_cells]
    whole = wilcoxon(group, reference)
    monkeypatch.setattr(de, "GENES_AT_ONCE", 7)
    assert wilcoxon(group, reference).tolist() == whole.tolist()
    for gene in range(55):
        p = stats.mannwhitneyu(group[:, [gene]].toarray().ravel(), reference[:, [gene]].toarray().ravel()).pvalue
        assert whole[gene] == pytest.approx(p, rel=1e-12)
    assert (whole[55:] == 1).all()  # silent genes


def test_moments_are_numpys_and_count_stored_zeros() -> None:
    x = np.random.default_rng(0).poisson(0.7, (12, 6)).astype(np.float32)
    matrix = sp.csr_matrix(x)
    matrix.data[:3] = 0
    mean, std, n = moments(matrix)
    np.testing.assert_allclose(mean, matrix.toarray().mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(std, matrix.toarray().std(axis=0, ddof=1), atol=1e-12)
    assert n == 12


def test_ties_keep_gene_order_and_targets_can_be_left_out() -> None:
    scores = np.array([0.0, 2.0, -3.0, -2.0, 0.0, 2.0])
    assert ranked(scores).tolist() == [2, 1, 3, 5, 0, 4]
    assert ranked(scores, exclude=[1, 2]).tolist() == [3, 5, 0, 4]


def test_silent_genes_and_single_cells_score_zero() -> None:
    silent, one = np.zeros((5, 2), np.float32), np.ones((1, 2), np.float32)
    assert t_scores(moments(sp.csr_matrix(silent)), moments(sp.csr_matrix(silent))).tolist() == [0, 0]
    assert t_scores(moments(sp.csr_matrix(one)), moments(sp.csr_matrix(silent))).tolist() == [0, 0]


@pytest.mark.parametrize(("exclude", "expected"), [((), [2, 0]), ((2,), [0])])
def test_stored_ranking_keeps_measured_genes(exclude: tuple[int, ...], expected: list[int]) -> None:
    assert stored_de(["C", "absent", "A"], ["A", "B", "C"], exclude).tolist() == expected
