"""Kernel ridge against scikit-learn and against the reference rows of data/README.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from evaluation.screens import norman, simulated
from sklearn.kernel_ridge import KernelRidge

from grape_dgl.baselines.kernel_ridge import (
    KernelRidgeBaseline,
    TunedKernelRidgeBaseline,
    identity_kernel,
    jaccard_kernel,
)
from grape_dgl.config import SplitConfig
from grape_dgl.data.splits import Split, make_split
from grape_dgl.training.knowledge import linear_kernel

NAMES = ("G00", "G01", "G00+G02", "G03", "G02+G03+G04")
SPLIT = Split(("G00", "G00+G02", "G03"), ("G01",), ("G02+G03+G04",), "custom", 0)


def test_against_scikit_learn() -> None:
    """A mixture of two kernels, unknown genes among the targets; validation conditions are learned from as well."""
    screen = simulated(NAMES)
    halves = screen.control_halves(0)
    draw = np.random.default_rng(0)
    values, present = draw.normal(size=(len(screen.genes), 6)), np.ones(len(screen.genes), dtype=bool)
    present[2] = False
    model = KernelRidgeBaseline([identity_kernel, linear_kernel(values, present)], 0.3)
    model.fit(screen, SPLIT, halves)
    found = model.predict(["G02+G03+G04", "G00"])

    train = ["G00", "G00+G02", "G03", "G01"]
    hot = {name: np.isin(np.arange(len(screen.genes)), screen.targets(name)).astype(float) for name in NAMES}
    centred = (values - values[present].mean(axis=0)) * present[:, None]

    def rows(names: list[str]) -> list[np.ndarray]:
        sums = np.stack([hot[name] for name in names])
        return [sums, sums @ centred]

    scales = [np.square(part).sum(axis=1).mean() for part in rows(train)]
    kernel = sum(part @ part.T / scale for part, scale in zip(rows(train), scales, strict=True)) / 2
    pairs = zip(rows(["G02+G03+G04", "G00"]), rows(train), scales, strict=True)
    new = sum(part @ other.T / scale for part, other, scale in pairs) / 2
    change = np.stack([screen.mean(name) - screen.control_mean(halves.model, name) for name in train]).astype(float)
    fitted = KernelRidge(alpha=0.3, kernel="precomputed").fit(kernel, change - change.mean(axis=0))
    np.testing.assert_allclose(found, fitted.predict(new) + change.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_jaccard_against_sets() -> None:
    draw = np.random.default_rng(1)
    table = draw.random((9, 20)) < 0.3
    table[4] = False
    sets = [set(np.flatnonzero(row)) for row in table]
    a, b = np.array([0, 4, 7, 8]), np.array([4, 1, 7])
    wanted = [[1.0 if i == j else len(sets[i] & sets[j]) / max(len(sets[i] | sets[j]), 1) for j in b] for i in a]
    np.testing.assert_allclose(jaccard_kernel(sp.csr_matrix(table))(a, b), wanted)


@pytest.mark.parametrize(("kind", "wanted"), [("condition", 0.396), ("gene", 0.247)])
def test_reference_row_of_the_additive_model(shared_data: Callable[[str], Path], kind: str, wanted: float) -> None:
    """data/README.md, identity of the targets, penalty .1, 200 splits; here 60, whose mean is within .03."""
    screen = norman(shared_data("norman_subset.h5ad"))
    scores = []
    for seed in range(60):
        halves = screen.control_halves(seed)
        split = make_split(screen.conditions, SplitConfig(kind=kind, validation=0.0), seed)  # type: ignore[arg-type]
        model = KernelRidgeBaseline([identity_kernel], 0.1)
        model.fit(screen, split, halves)
        reference = screen.control_mean(halves.reference)
        for name, change in zip(split.test, model.predict(split.test), strict=True):
            scores.append(np.corrcoef(change, screen.mean(name) - reference)[0, 1])
    assert np.mean(scores) == pytest.approx(wanted, abs=0.03)


def test_tuned_chooses_inside_the_training_part_and_equals_the_fixed_one() -> None:
    """The choice is that of a plain loop over inner splits, mixtures and penalties; test cells play no part in it."""
    names = [f"G{i:02d}" for i in range(12)] + ["G00+G01", "G02+G03", "G04+G05"]
    screen = simulated(names, cells=30)
    split = make_split(screen.conditions, SplitConfig(kind="gene"), 0)
    control = screen.control_halves(0)
    rng = np.random.default_rng(0)
    noise = linear_kernel(rng.normal(size=(60, 5)), np.ones(60, dtype=bool))
    kernels = {"identity": identity_kernel, "noise": noise}
    model = TunedKernelRidgeBaseline(kernels)
    model.fit(screen, split, control)
    assert model.trials == 3 * 7 and model.chosen is not None

    conditions = sorted((*split.train, *split.val))
    errors = {}
    for mixture in (("identity",), ("noise",), ("identity", "noise")):
        for penalty in model.PENALTIES:
            total = 0.0
            for seed in range(model.INNER):
                inner = make_split(conditions, SplitConfig(kind="gene", train=0.8, validation=0.0), seed)
                fixed = KernelRidgeBaseline([kernels[name] for name in mixture], penalty)
                fixed.fit(screen, inner, control)
                truth = [screen.mean(c) - screen.control_mean(control.model, c) for c in inner.test]
                total += float(np.square(fixed.predict(inner.test) - np.array(truth)).mean())
            errors[mixture, penalty] = total
    assert model.chosen == min(errors, key=errors.__getitem__)
    fixed = KernelRidgeBaseline([kernels[name] for name in model.chosen[0]], model.chosen[1])
    fixed.fit(screen, split, control)
    np.testing.assert_array_equal(model.predict(split.test), fixed.predict(split.test))

    other = screen.expression.copy().tolil()
    for name in split.test:
        other[screen.cells(name)] = 0
    blind = dataclasses.replace(screen, expression=other.tocsr())
    again = TunedKernelRidgeBaseline(kernels)
    again.fit(blind, split, control)
    np.testing.assert_array_equal(again.predict(split.test), model.predict(split.test))
