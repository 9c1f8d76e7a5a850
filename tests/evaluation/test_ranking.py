"""Ranks among conditions against Systema's and cell-eval's definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from grape_dgl.evaluation.cards import METRICS, Undefined
from grape_dgl.evaluation.ranking import centroid_accuracy, discrimination_cosine, discrimination_l1


def test_centroid_accuracy_by_hand() -> None:
    truth = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    assert centroid_accuracy(np.array([0.4, 0.0]), truth, 0) == 1
    assert centroid_accuracy(np.array([1.0, 0.0]), truth, 0) == 0.5  # as far from the second: not farther
    assert centroid_accuracy(np.array([3.0, -0.1]), truth, 0) == 0.5
    assert centroid_accuracy(np.array([3.0, 4.0]), truth, 0) == 0


@pytest.mark.parametrize("by", ["l1", "l2", "cosine"])
def test_discrimination_is_one_minus_the_rank(by: str) -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=(2, 9, 25))
    distance = pairwise_distances(predicted, truth, metric=by)
    for own in range(9):
        rank = int(np.flatnonzero(np.argsort(distance[own]) == own)[0])
        score = METRICS[f"discrimination_{by}"](predicted[own], truth, own)
        assert score == pytest.approx(1 - rank / 9)


def test_ties_count_half() -> None:
    truth = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    assert discrimination_l1(truth[0], truth, 0) == pytest.approx(1 - 1 / 4)
    for own in range(3):
        assert discrimination_l1(truth[own], truth, own) == discrimination_l1(truth[0], truth, 0)


def test_undefined_says_why() -> None:
    truth = np.ones((1, 4))
    with pytest.raises(Undefined, match="at least two test conditions"):
        discrimination_l1(truth[0], truth, 0)
    with pytest.raises(Undefined, match="predicted change is zero"):
        discrimination_cosine(np.zeros(4), np.ones((2, 4)), 0)
    with pytest.raises(Undefined, match="observed change of a test condition is zero"):
        discrimination_cosine(np.ones(4), np.eye(2, 4) * [[1], [0]], 0)
