"""Metrics of one condition against formulas by hand, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from grape_dgl.evaluation.cards import METRICS, Undefined
from grape_dgl.evaluation.metrics import (
    dac,
    dac_nonzero,
    de_weights,
    mae_delta,
    mse,
    pcc_delta,
    pcc_perturbed_mean,
    pearson,
    r2,
    rmse,
    wmse,
)  # fmt: skip

PREDICTED = np.array([1.0, -2.0, 0.0, 0.5, 0.0])
OBSERVED = np.array([2.0, 1.0, 0.0, 0.1, -3.0])


def test_by_hand() -> None:
    assert rmse(PREDICTED, OBSERVED) == pytest.approx(np.sqrt((1 + 9 + 0 + 0.16 + 9) / 5))
    assert dac(PREDICTED, OBSERVED) == 3 / 5  # genes 1, 3 (both zero) and 4
    assert dac_nonzero(PREDICTED, OBSERVED) == 2 / 4  # gene 3 does not count


def test_weighted_error_by_hand() -> None:
    weights = de_weights(np.array([-5.0, 1.0, 3.0, -1.0, 1.0]))
    assert weights.tolist() == [1, 0, 0.25, 0, 0]
    assert wmse(PREDICTED, OBSERVED, weights) == pytest.approx(1 / 1.25)
    with pytest.raises(Undefined, match="no gene has more evidence"):
        wmse(PREDICTED, OBSERVED, de_weights(np.full(5, -2.0)))


def test_the_rest_after_the_perturbed_mean() -> None:
    rng = np.random.default_rng(0)
    predicted, observed, mean = rng.normal(2, 1, (3, 40))
    expected = stats.pearsonr(predicted - mean, observed - mean).statistic
    assert pcc_perturbed_mean(predicted, observed, mean) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(Undefined, match="prediction is the mean of the training conditions"):
        pcc_perturbed_mean(np.float32(mean).astype(np.float64), observed, mean)


def test_scipy_and_scikit_learn_say_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.normal(size=(2, 30))
        assert pcc_delta(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert mse(a, b) == pytest.approx(sklearn.mean_squared_error(b, a), abs=1e-12)
        assert rmse(a, b) == pytest.approx(sklearn.root_mean_squared_error(b, a), abs=1e-12)
        assert mae_delta(a, b) == pytest.approx(sklearn.mean_absolute_error(b, a), abs=1e-12)
        assert r2(a, b) == pytest.approx(sklearn.r2_score(b, a), abs=1e-12)
        weights = de_weights(rng.normal(size=30))
        assert wmse(a, b, weights) == pytest.approx(sklearn.mean_squared_error(b, a, sample_weight=weights), abs=1e-12)


def test_the_opposite_of_the_truth_scores_worst() -> None:
    change = np.random.default_rng(1).normal(size=50)
    for name, worst in (("dac", 0), ("dac_nonzero", 0), ("pcc_delta", -1)):
        assert METRICS[name](-change, change) == pytest.approx(worst)


@pytest.mark.parametrize(
    ("name", "predicted", "observed", "reason"),
    [
        ("pcc_delta", [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], "predicted change is the same"),
        ("pcc_delta", [1.0, 2.0, 3.0], [0.1, 0.1, 0.1], "observed change is the same"),
        ("pearson", [1.0, 1.0, 1.0], [0.1, 0.2, 0.1], "predicted expression is the same"),
        ("pcc_delta", [1.0], [2.0], "at least two genes"),
        ("dac_nonzero", [1.0, 2.0], [0.0, 0.0], "no gene has an observed change"),
        ("r2", [1.0, 2.0], [3.0, 3.0], "observed expression is the same"),
    ],
)
def test_undefined_says_why(name: str, predicted: list[float], observed: list[float], reason: str) -> None:
    with pytest.raises(Undefined, match=reason):
        METRICS[name](np.float32(predicted), np.float32(observed))


def test_a_correlation_stays_within_its_bounds_in_float32() -> None:
    change = np.float32(np.random.default_rng(3).normal(size=5000))
    assert pcc_delta(change, change * np.float32(3)) <= 1
