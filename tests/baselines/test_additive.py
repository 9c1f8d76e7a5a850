"""Single effects add up: by hand, on the real Norman labels, and what stands in for a gene that was not seen alone."""

from __future__ import annotations

import numpy as np
from evaluation.screens import simulated

from grape_dgl.baselines.additive import AdditiveBaseline
from grape_dgl.data.splits import Split


def change(screen, control, name):
    return screen.mean(name) - screen.control_mean(control.model, name)


def test_by_hand() -> None:
    screen = simulated(["G00", "G01", "G02", "G00+G01", "G00+G03", "G03+G04"])
    control = screen.control_halves(0)
    split = Split(("G00", "G01"), ("G02",), ("G00+G01", "G00+G03", "G03+G04"), "condition", 0)
    model = AdditiveBaseline()
    model.fit(screen, split, control)
    both, one, none = model.predict(split.test)
    singles = [change(screen, control, name) for name in ("G00", "G01", "G02")]
    np.testing.assert_allclose(both, singles[0] + singles[1], atol=1e-6)
    np.testing.assert_allclose(one, singles[0] + np.mean(singles, axis=0), atol=1e-6)
    np.testing.assert_allclose(none, 2 * np.mean(singles, axis=0), atol=1e-6)


def test_without_singles_the_mean_of_all_stands_in() -> None:
    screen = simulated(["G00+G01", "G01+G02", "G03"])
    control = screen.control_halves(0)
    model = AdditiveBaseline()
    model.fit(screen, Split(("G00+G01", "G01+G02"), (), ("G03",), "condition", 0), control)
    expected = (change(screen, control, "G00+G01") + change(screen, control, "G01+G02")) / 2
    np.testing.assert_allclose(model.predict(["G03"])[0], expected, atol=1e-6)
