"""The linear baseline against its normal equations, an eigenvalue solver and limits that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation.screens import GENES, norman, simulated

from grape_dgl.baselines.linear import LinearBaseline, bilinear_ridge, principal_components, standardised
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import training_changes
from grape_dgl.data.splits import Split

CONDITIONS = tuple(f"G{i:02d}" for i in range(16))
TRAIN, TEST = CONDITIONS[:14], CONDITIONS[14:]
SPLIT = Split(TRAIN[:12], TRAIN[12:], TEST, "condition", 0)


def test_ridge_solves_its_stationarity_conditions() -> None:
    """(G'G + .1 I) W (P'P + .1 I) = G' Y P, and without a ridge W is the planted one."""
    rng = np.random.default_rng(0)
    y, g, p = rng.normal(size=(30, 9)), rng.normal(size=(30, 4)), rng.normal(size=(9, 3))
    w = bilinear_ridge(y, g, p)
    np.testing.assert_allclose((g.T @ g + 0.1 * np.eye(4)) @ w @ (p.T @ p + 0.1 * np.eye(3)), g.T @ y @ p, atol=1e-10)
    planted = rng.normal(size=(4, 3))
    np.testing.assert_allclose(bilinear_ridge(1e6 * g @ planted @ p.T, 1e3 * g, 1e3 * p), planted, rtol=1e-5)


def test_principal_components_are_eigenvectors_of_the_gram_matrix() -> None:
    matrix = np.random.default_rng(1).normal(size=(40, 15))
    scores = principal_components(matrix)
    assert scores.shape == (40, 10)
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    expected = vectors[:, ::-1][:, :10] * np.sqrt(values[::-1][:10])
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-8)


def test_standardised_columns() -> None:
    features = np.float32(np.random.default_rng(2).normal(3, 7, size=(50, 4)))
    features[:, 2] = 5
    found = standardised(features)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(0), [1, 1, 0, 1], atol=1e-12)


def test_measured_targets_take_their_rows_of_the_gene_embedding() -> None:
    screen = simulated(CONDITIONS)
    halves, model = screen.control_halves(0), LinearBaseline()
    model.fit(screen, SPLIT, halves)
    y = training_changes(screen, TRAIN, halves).T
    b = y.mean(1, keepdims=True)
    u, s, _ = np.linalg.svd(y - b)
    g = (u[:, :10] * s[:10]).astype(np.float64)
    row = {name: g[GENES.index(name)] for name in CONDITIONS}
    p = np.stack([row[c] for c in TRAIN])
    w = np.linalg.inv(g.T @ g + 0.1 * np.eye(10)) @ g.T @ (y - b) @ p @ np.linalg.inv(p.T @ p + 0.1 * np.eye(10))
    expected = np.stack([b[:, 0] + g @ w @ row[c] for c in TEST])
    np.testing.assert_allclose(model.predict(TEST), expected, atol=1e-5)
    combined = model.predict(["G14+G15"]) - b[:, 0]
    np.testing.assert_allclose(combined[0], (expected - b[:, 0]).sum(0), atol=1e-5)  # embeddings add up


def _unmeasured() -> tuple[str, ...]:
    return tuple(f"G{i}" for i in range(60, 76))


def test_unmeasured_targets_are_embedded_by_features_of_any_unit_and_offset() -> None:
    names = _unmeasured()
    screen = simulated(names, extra=names)
    split, halves = Split(names[:12], (), names[12:], "condition", 0), screen.control_halves(0)
    rng = np.random.default_rng(3)
    features = rng.normal(size=(76, 20))
    features[5] = 0  # a gene without features
    found = []
    for given in (features, 1000 * features, features + 4 * features.any(axis=1, keepdims=True)):
        model = LinearBaseline(given)
        model.fit(screen, split, halves)
        found.append(model.predict(split.test))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)
    mean = MeanBaseline()
    mean.fit(screen, split, halves)
    assert np.abs(found[0] - mean.predict(split.test)).max() > 1e-3


def test_features_that_explain_the_effects_beat_the_mean() -> None:
    """Two kinds of unmeasured targets with opposite effects, which the features tell apart."""
    names = _unmeasured()
    screen = simulated(names, extra=names)
    kind = np.array([int(c[1:]) % 2 * 2 - 1 for c in names])
    x = screen.expression.toarray()
    for i, name in enumerate(screen.conditions):
        x[screen.cells(name), :50] = np.float32(1 + 0.5 * kind[i])
    screen = type(screen)(type(screen.expression)(x), screen.condition, names, screen.batch, screen.genes)
    split, halves = Split(names[:12], (), names[12:], "condition", 0), screen.control_halves(0)
    features = np.random.default_rng(0).normal(size=(76, 3)) * 0.01
    features[60:, 0] = kind
    truth = training_changes(screen, split.test, halves)
    error = {}
    for model in (MeanBaseline(), LinearBaseline(features)):
        model.fit(screen, split, halves)
        error[model.name] = np.sqrt(np.mean((model.predict(split.test) - truth) ** 2))
    assert error["linear"] < 0.3 * error["mean"]


@pytest.mark.parametrize("features", [None, np.zeros((76, 4), np.float32)])
def test_targets_that_nothing_is_known_of_get_the_mean(
    features: np.ndarray | None, caplog: pytest.LogCaptureFixture
) -> None:
    names = _unmeasured()
    screen = simulated(names, extra=names)
    split, halves = Split(names[:12], (), names[12:], "condition", 0), screen.control_halves(0)
    linear, mean = LinearBaseline(features), MeanBaseline()
    for model in (linear, mean):
        model.fit(screen, split, halves)
    np.testing.assert_allclose(linear.predict(split.test), mean.predict(split.test), atol=1e-6)
    assert "12 training targets are not measured and have no features" in caplog.text


def test_runs_on_real_cells(shared_data: Callable[[str], Path]) -> None:
    screen = norman(shared_data("norman_subset.h5ad"))
    split = Split(screen.conditions[:23], (), screen.conditions[23:], "condition", 0)
    model = LinearBaseline(np.random.default_rng(0).normal(size=(len(screen.genes), 30)))
    model.fit(screen, split, screen.control_halves(0))
    found = model.predict(split.test)
    assert found.shape == (10, 500) and found.dtype == np.float32 and np.isfinite(found).all()
