"""What the response expects of conditions it has not seen, and its margins: by hand, and what must not leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation.screens import simulated
from training.test_response import NAMES, PLAIN, drawn

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import Screen
from grape_dgl.training import expectations as module
from grape_dgl.training.expectations import Expectations, held_out, left_out_margins
from grape_dgl.training.perturbations import Perturbations
from grape_dgl.training.response import Evidence, fit_response


@pytest.fixture(scope="module")
def screen() -> Screen:
    return simulated(NAMES, batches=2)


@pytest.mark.parametrize("folds", [4, 25])
def test_what_is_left_out_is_not_seen(monkeypatch: pytest.MonkeyPatch, folds: int) -> None:
    monkeypatch.setattr(module, "FOLDS", folds)
    evidence = drawn(9, noise=0.2)
    expected = held_out(evidence, PLAIN, {})
    for row in range(9):
        other = evidence.change.copy()
        other[row] += 5.0
        again = held_out(replace(evidence, change=other), PLAIN, {})
        np.testing.assert_array_equal(again[row], expected[row])
        assert not np.allclose(np.delete(again, row, axis=0), np.delete(expected, row, axis=0))
    if folds > 9:
        rest = fit_response(evidence.take(np.arange(1, 9)), PLAIN)
        np.testing.assert_allclose(expected[0], rest.change(evidence.targets[:1])[0])


def test_margins_hold_nine_tenths_of_new_conditions() -> None:
    """Seen targets: fresh conditions of the same effects and noise. One unseen: the other effects are unknown."""
    evidence = drawn(60, genes=200, noise=0.5)
    margins, _ = left_out_margins(evidence, held_out(evidence, PLAIN, {}), PLAIN, {})
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
        evidence = Evidence(change, tuple((i,) for i in range(15)), np.full(15, 9), np.zeros(100), 99, np.ones(100))
        found, _ = left_out_margins(evidence, np.zeros_like(change), PLAIN, {})
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
    evidence = Evidence(change, tuple(targets), cells, draw.uniform(0.1, 0.2, 7), 50, draw.uniform(0.5, 3, 7))
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
    np.testing.assert_allclose(held_out(evidence, settings, {}), expected)
    for group in np.array_split(np.random.default_rng(0).permutation(7), min(folds, 7)):
        hit = [r for r in sorted(known) if set(targets[r]) & set(group.tolist())]
        rest = [r for r in range(11) if not set(targets[r]) & set(group.tolist())]
        fitted = fit_response(evidence.take(np.array(rest)), settings)
        unseen += [np.abs(change[r] - fitted.change([targets[r]])[0]) for r in hit]
        known -= set(hit)
    assert len(seen) and len(unseen) == 11
    found, margin = left_out_margins(evidence, expected, settings, {})
    own = [np.abs(change - expected)[r, gene] for r in range(11) for gene in targets[r]]
    assert margin == pytest.approx(np.quantile(own, 0.9, method="weibull"))
    for row, errors in zip(found, (seen, unseen), strict=True):
        np.testing.assert_allclose(row, np.quantile(errors, 0.9, axis=0, method="weibull"))
    monkeypatch.setattr(module, "ENOUGH", 12)
    pooled = np.quantile([*seen, *unseen], 0.9, axis=0, method="weibull")
    np.testing.assert_allclose(left_out_margins(evidence, expected, settings, {})[0], [pooled, pooled])


def test_a_network_learns_what_is_beyond_the_expectation(screen: Screen) -> None:
    train, validation = NAMES[:4], NAMES[4:]
    control = screen.control_halves(0)
    found = Expectations.of(screen, train, validation, control, PLAIN, {})
    part, whole = (Evidence.of(screen, names, control) for names in (train, [*train, *validation]))
    np.testing.assert_array_equal(found.train, held_out(part, PLAIN, {}))
    np.testing.assert_array_equal(found.both, held_out(whole, PLAIN, {}))
    np.testing.assert_array_equal(found.validation, fit_response(part, PLAIN).change(whole.targets[4:]))
    np.testing.assert_array_equal(found.response.effects, fit_response(whole, PLAIN).effects)
    np.testing.assert_array_equal(found.response.margins, left_out_margins(whole, found.both, PLAIN, {})[0])
    beyond = Perturbations(screen, train, control, torch.device("cpu"), found.train).change.numpy()
    np.testing.assert_allclose(beyond, part.change - found.train, atol=1e-5)


def test_expectations_see_training_and_validation_only(screen: Screen) -> None:
    train, validation, test = NAMES[:4], NAMES[4:5], NAMES[5:]
    control = screen.control_halves(0)
    found = Expectations.of(screen, train, validation, control, PLAIN, {})
    hidden = np.concatenate([control.reference, screen.cells(test[0])])
    expression = screen.expression.toarray()
    expression[hidden] += 3.0
    other = replace(screen, expression=type(screen.expression)(expression))
    again = Expectations.of(other, train, validation, control, PLAIN, {})
    for name in ("train", "validation", "both"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(again.response.effects, found.response.effects)
    expression[screen.cells(validation[0])] += 3.0
    later = Expectations.of(
        replace(other, expression=type(screen.expression)(expression)), train, validation, control, PLAIN, {}
    )
    np.testing.assert_array_equal(later.train, found.train)
    np.testing.assert_array_equal(later.validation, found.validation)
    assert not np.allclose(later.response.common, found.response.common)


def test_training_conditions_choose_the_knowledge(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and all is expected by it: the response that is kept is of the kind that the network is judged under."""
    train, validation = NAMES[:4], NAMES[4:]
    control, seen = screen.control_halves(0), []
    kernels = {"text": lambda a, b: np.exp(-np.abs(np.subtract.outer(a, b)))}

    def choose(evidence: Evidence, settings: ResponseConfig, of: object) -> object:
        seen.append(evidence.change)
        return of

    monkeypatch.setattr(module, "chosen_knowledge", choose)
    found = Expectations.of(screen, train, validation, control, PLAIN, kernels)
    part, whole = (Evidence.of(screen, names, control) for names in (train, [*train, *validation]))
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], part.change)
    np.testing.assert_array_equal(found.train, held_out(part, PLAIN, kernels))
    checked = fit_response(part, PLAIN, kernels).change(whole.targets[4:], kernels)
    np.testing.assert_array_equal(found.validation, checked)
    assert not np.allclose(checked, fit_response(part, PLAIN).change(whole.targets[4:]))
    np.testing.assert_array_equal(found.response.margins, left_out_margins(whole, found.both, PLAIN, kernels)[0])
    assert set(found.response.knowledge) == {"text"}
