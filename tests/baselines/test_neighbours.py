"""Nearest conditions by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation.screens import simulated

from grape_dgl.baselines.kernel_ridge import identity_kernel
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.neighbours import NeighboursBaseline
from grape_dgl.data.splits import Split

SPLIT = Split(("G00", "G01"), ("G00+G02",), ("G00+G01", "G03"), "condition", 0)


@pytest.mark.parametrize(("k", "near"), [(1, ["G00"]), (2, ["G00", "G01"]), (3, ["G00", "G01", "G00+G02"])])
def test_by_hand(k: int, near: list[str]) -> None:
    """By targets shared: cosines of G00+G01 to G00, G01, G00+G02 are .71, .71, .5."""
    screen = simulated(["G00", "G01", "G00+G02", "G00+G01", "G03"])
    control = screen.control_halves(0)
    model = NeighboursBaseline(identity_kernel, k)
    model.fit(screen, SPLIT, control)
    found = model.predict(SPLIT.test)
    changes = [screen.mean(name) - screen.control_mean(control.model, name) for name in near]
    np.testing.assert_allclose(found[0], np.mean(changes, axis=0), atol=1e-6)
    mean = MeanBaseline()
    mean.fit(screen, SPLIT, control)
    np.testing.assert_allclose(found[1], mean.predict(["G03"])[0], atol=1e-6)  # shares no target with any


def test_scale_of_the_kernel_does_not_matter() -> None:
    screen = simulated(["G00", "G01", "G00+G02", "G00+G01", "G03"])
    found = []
    for factor in (1.0, 37.0):
        model = NeighboursBaseline(lambda a, b, by=factor: by * identity_kernel(a, b), 2)
        model.fit(screen, SPLIT, screen.control_halves(0))
        found.append(model.predict(SPLIT.test))
    np.testing.assert_allclose(found[0], found[1], atol=1e-7)
