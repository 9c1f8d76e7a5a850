"""Distances between cells against scikit-learn and against what is known of two normal samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import rbf_kernel

from grape_dgl.evaluation.cards import Undefined
from grape_dgl.evaluation.distances import e_distance, mmd

A, B = np.random.default_rng(0).normal(0, 1, (30, 8)), np.random.default_rng(1).normal(0.4, 1, (50, 8))


def test_energy_distance_is_scikit_learns_means() -> None:
    within = pairwise_distances(A).mean() + pairwise_distances(B).mean()
    assert e_distance(A, B) == pytest.approx(2 * pairwise_distances(A, B).mean() - within, abs=1e-12)


def test_mmd_is_scikit_learns_kernel() -> None:
    both = pairwise_distances(np.concatenate([A, B]), metric="sqeuclidean")
    scale = np.median(both[np.triu_indices(len(both), 1)])
    for given, gamma in ((None, 1 / scale), (3.0, 1 / 3)):
        means = [rbf_kernel(x, y, gamma=gamma).mean() for x, y in ((A, A), (B, B), (A, B))]
        assert mmd(A, B, given) == pytest.approx(means[0] + means[1] - 2 * means[2], abs=1e-12)


@pytest.mark.parametrize("distance", [e_distance, mmd])
def test_far_samples_are_farther(distance: Callable[[np.ndarray, np.ndarray], float]) -> None:
    assert distance(A, B + 2) > distance(A, B) > distance(A, A) == 0


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ValueError, match="expected two matrices"):
        e_distance(A, B[:, :3])
    with pytest.raises(Undefined, match="needs cells in both"):
        mmd(A[:0], B)
    with pytest.raises(Undefined, match="width of the kernel is zero"):
        mmd(np.ones((4, 2)), np.ones((3, 2)))
