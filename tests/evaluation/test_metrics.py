"""Metrics against formulas by hand, scipy and their own cards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from grape_dgl.evaluation.metrics import METRICS, Undefined, card_table, dac, dac_nonzero, pcc_delta, rmse

PREDICTED = np.array([1.0, -2.0, 0.0, 0.5, 0.0])
OBSERVED = np.array([2.0, 1.0, 0.0, 0.1, -3.0])


def test_by_hand() -> None:
    assert rmse(PREDICTED, OBSERVED) == pytest.approx(np.sqrt((1 + 9 + 0 + 0.16 + 9) / 5))
    assert dac(PREDICTED, OBSERVED) == 3 / 5  # genes 1, 3 (both zero) and 4
    assert dac_nonzero(PREDICTED, OBSERVED) == 2 / 4  # gene 3 does not count


def test_pearson_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.normal(size=(2, 30))
        assert pcc_delta(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)


def test_truth_scores_best_and_its_opposite_worst() -> None:
    change = np.random.default_rng(1).normal(size=50)
    for name, best, worst in (("dac", 1, 0), ("dac_nonzero", 1, 0), ("pcc_delta", 1, -1)):
        assert METRICS[name](change, change) == pytest.approx(best)
        assert METRICS[name](-change, change) == pytest.approx(worst)
    assert rmse(change, change) == 0


@pytest.mark.parametrize("name", list(METRICS))
def test_gene_order_does_not_matter(name: str) -> None:
    order = np.random.default_rng(2).permutation(5)
    assert METRICS[name](PREDICTED[order], OBSERVED[order]) == pytest.approx(METRICS[name](PREDICTED, OBSERVED))


@pytest.mark.parametrize(
    ("name", "predicted", "observed", "reason"),
    [
        ("pcc_delta", [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], "predicted change is the same"),
        ("pcc_delta", [1.0, 2.0, 3.0], [0.1, 0.1, 0.1], "observed change is the same"),
        ("pcc_delta", [1.0], [2.0], "at least two genes"),
        ("dac_nonzero", [1.0, 2.0], [0.0, 0.0], "no gene has an observed change"),
        ("rmse", [], [], "no gene left"),
        ("dac", [], [], "no gene left"),
    ],
)
def test_undefined_says_why(name: str, predicted: list[float], observed: list[float], reason: str) -> None:
    with pytest.raises(Undefined, match=reason):
        METRICS[name](np.float32(predicted), np.float32(observed))


def test_a_correlation_stays_within_its_bounds_in_float32() -> None:
    change = np.float32(np.random.default_rng(3).normal(size=5000))
    assert pcc_delta(change, change * np.float32(3)) <= 1


def test_cards_come_from_the_functions() -> None:
    rows = card_table()
    assert [row["metric"] for row in rows] == ["rmse", "dac", "dac_nonzero", "pcc_delta"]
    assert {row["metric"]: row["best"] for row in rows}["rmse"] == "low"
    assert all(row["meaning"].endswith((".", "only.")) and row["source"] for row in rows)
    assert rows[0]["of"] == "expression"
    assert (rows[3]["low"], rows[3]["high"]) == (-1.0, 1.0)
