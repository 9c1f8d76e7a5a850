"""The additive response: against scikit-learn and formulas by hand; it sees nothing of what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation.screens import simulated
from sklearn.linear_model import Ridge

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import Screen
from grape_dgl.errors import ModelError
from grape_dgl.training import response as module
from grape_dgl.training.perturbations import Perturbations
from grape_dgl.training.response import (
    LEAST_COMMON,
    Evidence,
    Expectations,
    Response,
    common_share,
    fit_response,
    held_out,
    incidence,
    left_out_margins,
    shrunk,
)

NAMES = ("G00", "G00+G01", "G01", "G01+G02", "G03", "G04")
PLAIN = ResponseConfig(kind="additive", control_noise=0.0)


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
    return Evidence(change, tuple(targets), np.full(conditions, 50), np.zeros(genes), 1000)


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
    evidence = Evidence(change, ((0,), (1,), (2,)), np.array([10, 10, 20]), np.array([0.6, 0.6]), 50)
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


@pytest.mark.parametrize("folds", [4, 25])
def test_what_is_left_out_is_not_seen(monkeypatch: pytest.MonkeyPatch, folds: int) -> None:
    monkeypatch.setattr(module, "FOLDS", folds)
    evidence = drawn(9, noise=0.2)
    expected = held_out(evidence, PLAIN)
    for row in range(9):
        other = evidence.change.copy()
        other[row] += 5.0
        again = held_out(replace(evidence, change=other), PLAIN)
        np.testing.assert_array_equal(again[row], expected[row])
        assert not np.allclose(np.delete(again, row, axis=0), np.delete(expected, row, axis=0))
    if folds > 9:
        rest = fit_response(evidence.take(np.arange(1, 9)), PLAIN)
        np.testing.assert_allclose(expected[0], rest.change(evidence.targets[:1])[0])


def test_margins_hold_nine_tenths_of_new_conditions() -> None:
    """Seen targets: fresh conditions of the same effects and noise. One unseen: the other effects are unknown."""
    evidence = drawn(60, genes=200, noise=0.5)
    margins = left_out_margins(evidence, held_out(evidence, PLAIN), PLAIN)
    response = replace(fit_response(evidence, PLAIN), margins=margins)
    fresh = drawn(400, genes=200, noise=0.5, seed=1)
    inside = np.abs(fresh.change - response.change(fresh.targets)) <= response.margin(fresh.targets)
    assert 0.87 < inside.mean() < 0.93
    assert (response.margins[1] > response.margins[0]).mean() > 0.9


def test_margins_of_few_conditions_cover_new_ones() -> None:
    """Unseen singles of pure noise: .9 of them, also from fifteen, where the plain quantile has .85."""
    inside = []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        change = draw.normal(size=(15, 100))
        evidence = Evidence(change, tuple((i,) for i in range(15)), np.full(15, 9), np.zeros(100), 99)
        found = left_out_margins(evidence, np.zeros_like(change), PLAIN)
        inside.append((np.abs(draw.normal(size=(50, 100))) <= found[1]).mean())
    assert 0.88 < np.mean(inside) < 0.92


@pytest.mark.parametrize("folds", [25, 4])
def test_margins_by_hand(monkeypatch: pytest.MonkeyPatch, folds: int) -> None:
    """Singles of 0 to 5 and pairs of them: each condition counts once as seen or unseen, by what its part left."""
    monkeypatch.setattr(module, "FOLDS", folds)
    monkeypatch.setattr(module, "ENOUGH", 2)
    targets = [(g,) for g in range(6)] + [(0, 1), (2, 3), (4, 5), (0, 2), (6, 1)]
    draw = np.random.default_rng(3)
    change, cells = draw.normal(size=(11, 7)), draw.integers(5, 90, 11)
    evidence = Evidence(change, tuple(targets), cells, draw.uniform(0.1, 0.2, 7), 50)
    settings = ResponseConfig(kind="additive")
    order = np.random.default_rng(0).permutation(11)
    seen, unseen, known = [], [], set()
    expected = np.zeros_like(change)
    for rows in np.array_split(order, min(folds, 11)):
        rest = [r for r in range(11) if r not in rows]
        fitted = fit_response(evidence.take(np.array(rest)), settings)
        there = {gene for r in rest for gene in targets[r]}
        for row in rows:
            expected[row] = fitted.change([targets[row]])[0]
            off = np.abs(change[row] - expected[row])
            if set(targets[row]) <= there:
                known.add(int(row))
                seen.append(off)
            else:
                unseen.append(off)
    np.testing.assert_allclose(held_out(evidence, settings), expected)
    for group in np.array_split(np.random.default_rng(0).permutation(7), min(folds, 7)):
        hit = [r for r in sorted(known) if set(targets[r]) & set(group.tolist())]
        rest = [r for r in range(11) if not set(targets[r]) & set(group.tolist())]
        fitted = fit_response(evidence.take(np.array(rest)), settings)
        unseen += [np.abs(change[r] - fitted.change([targets[r]])[0]) for r in hit]
        known -= set(hit)
    assert len(seen) and len(unseen) == 11
    found = left_out_margins(evidence, expected, settings)
    for row, errors in zip(found, (seen, unseen), strict=True):
        np.testing.assert_allclose(row, np.quantile(errors, 0.9, axis=0, method="weibull"))
    monkeypatch.setattr(module, "ENOUGH", 12)
    pooled = np.quantile([*seen, *unseen], 0.9, axis=0, method="weibull")
    np.testing.assert_allclose(left_out_margins(evidence, expected, settings), [pooled, pooled])


def test_a_network_learns_what_is_beyond_the_expectation(screen: Screen) -> None:
    train, validation = NAMES[:4], NAMES[4:]
    control = screen.control_halves(0)
    found = Expectations.of(screen, train, validation, control, PLAIN)
    part, whole = (Evidence.of(screen, names, control) for names in (train, [*train, *validation]))
    np.testing.assert_array_equal(found.train, held_out(part, PLAIN))
    np.testing.assert_array_equal(found.both, held_out(whole, PLAIN))
    np.testing.assert_array_equal(found.validation, fit_response(part, PLAIN).change(whole.targets[4:]))
    np.testing.assert_array_equal(found.response.effects, fit_response(whole, PLAIN).effects)
    np.testing.assert_array_equal(found.response.margins, left_out_margins(whole, found.both, PLAIN))
    beyond = Perturbations(screen, train, control, torch.device("cpu"), found.train).change.numpy()
    np.testing.assert_allclose(beyond, part.change - found.train, atol=1e-5)


def test_expectations_see_training_and_validation_only(screen: Screen) -> None:
    train, validation, test = NAMES[:4], NAMES[4:5], NAMES[5:]
    control = screen.control_halves(0)
    found = Expectations.of(screen, train, validation, control, PLAIN)
    hidden = np.concatenate([control.reference, screen.cells(test[0])])
    expression = screen.expression.toarray()
    expression[hidden] += 3.0
    other = replace(screen, expression=type(screen.expression)(expression))
    again = Expectations.of(other, train, validation, control, PLAIN)
    for name in ("train", "validation", "both"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(again.response.effects, found.response.effects)
    expression[screen.cells(validation[0])] += 3.0
    later = Expectations.of(
        replace(other, expression=type(screen.expression)(expression)), train, validation, control, PLAIN
    )
    np.testing.assert_array_equal(later.train, found.train)
    np.testing.assert_array_equal(later.validation, found.validation)
    assert not np.allclose(later.response.common, found.response.common)


def test_saved_is_loaded(evidence: Evidence) -> None:
    found = fit_response(evidence, ResponseConfig(kind="additive"))
    again = Response.from_tensors(found.tensors(), 60)
    np.testing.assert_array_equal(again.change(evidence.targets), found.change(evidence.targets))
    with pytest.raises(KeyError):
        Response.from_tensors({"response.common": found.common}, 60)
    with pytest.raises(ModelError, match=r"effects \(5, 60\) and margins \(2, 60\); expected those of 1 targets"):
        Response.from_tensors(found.tensors() | {"response.targets": found.targets[:1]}, 60)
    with pytest.raises(ModelError, match="expected those of 5 targets and 7 genes"):
        Response.from_tensors(found.tensors(), 7)
