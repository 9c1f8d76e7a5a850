"""Overlap of differentially expressed genes by sets, and with ties."""

from __future__ import annotations

import numpy as np
import pytest

from grape_dgl.evaluation.cards import Undefined
from grape_dgl.evaluation.overlap import direction_match, overlap_at_50, overlap_at_N, precision_at_50


def _sets(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray, k: int) -> int:
    genes = range(len(predicted))
    first = sorted(genes, key=lambda g: -abs(predicted[g]))[:k]
    second = sorted((g for g in genes if significant[g]), key=lambda g: -abs(observed[g]))[:k]
    return len({*first} & {*second})


@pytest.mark.parametrize("found", [5, 30, 80, 150])
def test_sets_say_the_same(found: int) -> None:
    rng = np.random.default_rng(found)
    predicted, observed = rng.normal(size=(2, 200))
    significant = np.zeros(200, dtype=bool)
    significant[rng.choice(200, found, replace=False)] = True
    case = predicted, observed, significant
    assert overlap_at_N(*case) == pytest.approx(_sets(*case, found) / found)
    assert overlap_at_50(*case) == pytest.approx(_sets(*case, min(50, found)) / min(50, found))
    assert precision_at_50(*case) == pytest.approx(_sets(*case, 50) / 50)
    signs = [np.sign(p) == np.sign(o) for p, o, s in zip(*case, strict=True) if s]
    assert direction_match(*case) == pytest.approx(np.mean(signs))


def test_no_change_scores_chance() -> None:
    observed = np.arange(200.0)
    significant = observed >= 160
    assert overlap_at_N(np.zeros(200), observed, significant) == pytest.approx(40 / 200)
    assert precision_at_50(np.zeros(200), observed, significant) == pytest.approx(40 / 200)
    assert direction_match(np.zeros(200), observed, significant) == 0


def test_a_perfect_mean_misses_large_changes_that_are_not_significant() -> None:
    observed = np.array([5.0, 4.0, 3.0, 2.0])
    assert overlap_at_N(observed, observed, np.array([False, True, True, False])) == 0.5


def test_without_significant_genes_there_is_no_score() -> None:
    for metric in (overlap_at_N, overlap_at_50, precision_at_50, direction_match):
        with pytest.raises(Undefined, match="no gene is significant"):
            metric(np.ones(3), np.ones(3), np.zeros(3, dtype=bool))
