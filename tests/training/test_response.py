"""The additive response: against scikit-learn and formulas by hand; it sees nothing of what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation.screens import simulated
from sklearn.linear_model import Ridge

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import Screen
from grape_dgl.errors import ModelError
from grape_dgl.training.response import (
    LEAST_COMMON,
    Evidence,
    Response,
    common_share,
    fit_response,
    incidence,
    own_change,
    shrunk,
)

NAMES = ("G00", "G00+G01", "G01", "G01+G02", "G03", "G04")
PLAIN = ResponseConfig(kind="additive", control_noise=0.0, own="none")


@pytest.fixture(scope="module")
def screen() -> Screen:
    return simulated(NAMES, batches=2)


@pytest.fixture(scope="module")
def evidence(screen: Screen) -> Evidence:
    return Evidence.of(screen, NAMES, screen.control_halves(0))


def drawn(conditions: int, genes: int = 40, noise: float = 0.0, seed: int = 0) -> Evidence:
    """Additive effects of two of twelve targets on every condition, and noise."""
    draw = np.random.default_rng(seed)
    targets = [tuple(draw.choice(12, 2, replace=False).tolist()) for _ in range(conditions)]
    change = incidence(targets, np.arange(12)) @ np.random.default_rng(99).normal(size=(12, genes))
    change += noise * draw.normal(size=change.shape)
    return Evidence(change, tuple(targets), np.full(conditions, 50), np.zeros(genes), 1000, np.ones(genes))


def test_evidence_is_what_the_cells_show(screen: Screen, evidence: Evidence) -> None:
    half = screen.control_halves(0)
    dense = screen.expression.toarray().astype(np.float64)
    groups = [dense[half.model], *(dense[screen.cells(name)] for name in NAMES)]
    for row, (name, cells) in enumerate(zip(NAMES, groups[1:], strict=True)):
        np.testing.assert_allclose(
            evidence.change[row], cells.mean(0) - screen.control_mean(half.model, name), atol=1e-6
        )
    pooled = sum(group.var(axis=0) * len(group) for group in groups) / (sum(map(len, groups)) - len(groups))
    np.testing.assert_allclose(evidence.within, pooled, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(evidence.control, np.float64(screen.control_mean(half.model)))
    assert evidence.controls == len(half.model) and evidence.cells.tolist() == [40] * len(NAMES)


def test_without_noise_it_is_a_ridge_regression_on_targets() -> None:
    evidence = drawn(20, noise=0.3)
    found = fit_response(evidence, PLAIN)
    which = incidence(evidence.targets, found.targets)
    common = common_share(evidence.change) * evidence.change.mean(axis=0)
    ridge = Ridge(alpha=0.05 * which.sum(axis=1).mean(), fit_intercept=False).fit(which, evidence.change - common)
    np.testing.assert_allclose(found.common, common)
    np.testing.assert_allclose(found.effects, ridge.coef_.T, atol=1e-9)
    np.testing.assert_allclose(found.change(evidence.targets), common + ridge.predict(which), atol=1e-9)


@pytest.mark.parametrize(("common", "share"), [("mean", 1.0), ("none", 0.0)])
def test_the_common_change_can_be_all_or_nothing(common: str, share: float) -> None:
    evidence = drawn(20, noise=0.3)
    found = fit_response(evidence, replace(PLAIN, common=common))
    np.testing.assert_allclose(found.common, share * evidence.change.mean(axis=0))


def test_a_target_that_was_not_seen_adds_nothing() -> None:
    found = fit_response(drawn(20), PLAIN)
    unseen, seen = 77, int(found.targets[0])
    np.testing.assert_array_equal(found.change([[unseen]])[0], found.common)
    np.testing.assert_array_equal(*found.change([[seen], [unseen, seen]]))
    wide = replace(found, margins=np.stack([np.full(40, 1.0), np.full(40, 2.0)]))
    assert wide.margin([[seen], [unseen], [unseen, seen]])[:, 0].tolist() == [1, 2, 2]


def test_noise_is_taken_out_by_hand() -> None:
    """Three conditions, two genes: the first all of noise, the second of effects far beyond it."""
    change = np.array([[0.3, 0.0], [0.2, 4.0], [0.2, -4.0]])
    evidence = Evidence(change, ((0,), (1,), (2,)), np.array([10, 10, 20]), np.array([0.6, 0.6]), 50, np.ones(2))
    explained = 1.2 / 50 / 0.2**2  # noise of the control mean, over the square of the median (.2, 0)
    assert explained == pytest.approx(0.6)
    noise = 0.6 * (1 / 10 + 1 / 10 + 1 / 20) / 3
    left = change - min(0.6, explained) * np.array([0.2, 0.0])
    excess = np.maximum((left**2).mean(axis=0) - noise, 0)
    assert excess[0] == 0
    np.testing.assert_allclose(shrunk(evidence, 0.6), left * excess / (excess + noise))
    np.testing.assert_allclose(shrunk(evidence, 0.6, gene_noise=0), left)
    half = change - 0.3 * np.array([0.2, 0.0])
    excess = np.maximum((half**2).mean(axis=0) - noise, 0)
    np.testing.assert_allclose(shrunk(evidence, 0.3), half * excess / (excess + noise))


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], 1.0),  # all the same
        ([[1.0, 0.0], [-1.0, 0.0]], LEAST_COMMON),  # opposite
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], LEAST_COMMON),  # nothing in common
        ([[2.0, 1.0], [2.0, -1.0]], 0.6),  # (2 * 2 - 1 * 1) / (4 + 1)
        ([[3.0, 1.0]], 1.0),
    ],
)
def test_the_common_share(change: list[list[float]], share: float) -> None:
    assert common_share(np.array(change)) == pytest.approx(share)


def test_saved_is_loaded(evidence: Evidence) -> None:
    found = fit_response(evidence, ResponseConfig(kind="additive"))
    again = Response.from_tensors(found.tensors(), 60)
    np.testing.assert_array_equal(again.change(evidence.targets), found.change(evidence.targets))
    with pytest.raises(KeyError):
        Response.from_tensors({"response.common": found.common}, 60)
    with pytest.raises(ModelError, match=r"effects \(5, 60\); expected \(1, 60\), which is for 1 targets and 60 genes"):
        Response.from_tensors(found.tensors() | {"response.targets": found.targets[:1]}, 60)
    with pytest.raises(ModelError, match=r"common \(60,\); expected \(7,\)"):
        Response.from_tensors(found.tensors(), 7)


@pytest.mark.parametrize("fold", [0.3, 4.0])
def test_a_target_changes_its_own_expression_by_one_fold(fold: float) -> None:
    """Ten of twelve targets are measured; nothing else changes. The least squares are found on a grid as well."""
    draw = np.random.default_rng(0)
    control = draw.uniform(0, 4, 10)
    own = np.log1p(fold * np.expm1(control)) - control
    change = np.zeros((12, 10))
    change[np.arange(10), np.arange(10)] = own + 0.1 * draw.normal(size=10)
    evidence = Evidence(change, tuple((i,) for i in range(12)), np.full(12, 50), np.zeros(10), 1000, control)
    found = own_change(evidence)
    level, seen = np.append(control, control.mean()), np.append(np.diag(change), 0)  # one that changes nothing
    grid = np.linspace(-3, 3, 60001)
    errors = np.square(seen - (np.log1p(np.exp(grid)[:, None] * np.expm1(level)) - level)).sum(axis=1)
    wanted = np.log1p(np.exp(grid[errors.argmin()]) * np.expm1(control)) - control
    np.testing.assert_allclose(found, np.clip(wanted, seen.min(), seen.max()), atol=1e-3)
    assert np.abs(found - own).mean() < 0.4 * np.abs(own).mean()

    rest = fit_response(evidence.take(np.arange(1, 12)), replace(PLAIN, own="fold"))
    expected = np.zeros(10)
    expected[0] = rest.own[0]
    np.testing.assert_allclose(rest.change([(0,)])[0] - rest.common, expected, atol=1e-12)
    np.testing.assert_allclose(rest.change([(0, 99)])[0], rest.change([(0,)])[0], atol=1e-12)
    assert np.abs(rest.common).max() < 0.1 * np.abs(expected[0])
    wide = replace(rest, margins=np.full((2, 10), 0.2), own_margin=0.7)
    assert wide.margin([(0, 99), (99,)]).tolist() == [[0.7] + [0.2] * 9, [0.2] * 10]


def test_without_measured_targets_nothing_is_their_own() -> None:
    assert not own_change(Evidence(np.ones((2, 3)), ((3,), (4,)), np.full(2, 9), np.ones(3), 9, np.ones(3))).any()


@pytest.mark.parametrize(("level", "change"), [(0.0, 0.0), (0.0, 0.5), (0.01, 0.5)])
def test_targets_that_controls_lack_say_little_of_others(level: float, change: float) -> None:
    """Any fold explains what happens at 0: no other gene changes by more than they did."""
    control = np.array([level, level, 2.0, 2.0])
    found = own_change(Evidence(change * np.eye(2, 4), ((0,), (1,)), np.full(2, 9), np.ones(4), 9, control))
    assert found.min() >= 0 and found.max() <= change
