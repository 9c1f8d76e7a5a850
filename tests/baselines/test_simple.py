"""Control and mean baselines against means taken by hand, and what every baseline must satisfy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evaluation.screens import GENES, simulated

from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.standard import standard_baselines
from grape_dgl.data.splits import Split

SPLIT = Split(("G00", "G01"), ("G00+G02",), ("G03",), "condition", 0)


def test_control_predicts_no_change() -> None:
    screen, model = simulated(), ControlBaseline()
    model.fit(screen, SPLIT, screen.control_halves(0))
    found = model.predict(["G03", "G01"])
    assert found.shape == (2, len(GENES))
    assert not found.any()


@pytest.mark.parametrize("batches", [1, 3])
def test_mean_weighs_each_condition_once_and_refits_on_validation(batches: int) -> None:
    screen = simulated(batches=batches)
    condition = screen.condition.copy()
    condition[screen.cells("G01")[5:]] = -1  # few cells: a mean over cells would weigh it less
    screen = dataclasses.replace(screen, condition=condition)
    halves, model = screen.control_halves(0), MeanBaseline()
    model.fit(screen, SPLIT, halves)
    changes = []
    for name in ("G00", "G01", "G00+G02"):
        cells = screen.cells(name)
        control = np.zeros(len(GENES))
        for batch in np.unique(screen.batch[cells]):
            rows = halves.model[screen.batch[halves.model] == batch]
            control += screen.expression[rows].toarray().mean(0) * np.mean(screen.batch[cells] == batch)
        changes.append(screen.expression[cells].toarray().mean(0) - control)
    np.testing.assert_allclose(model.predict(["G03", "G02"]), np.tile(np.mean(changes, 0), (2, 1)), atol=1e-5)


@pytest.mark.parametrize("place", range(3), ids=[m.name for m in standard_baselines()])
def test_no_baseline_sees_test_cells_or_reference_controls(place: int) -> None:
    screen = simulated()
    halves = screen.control_halves(0)
    hidden = np.concatenate([screen.cells("G03"), halves.reference])
    spoiled = screen.expression.toarray()
    spoiled[hidden] = 99
    other = dataclasses.replace(screen, expression=type(screen.expression)(spoiled))
    found = []
    for seen in (screen, other):
        model = standard_baselines()[place]
        model.fit(seen, SPLIT, halves)
        found.append(model.predict(["G03", "G00"]))
    np.testing.assert_array_equal(*found)


def test_the_standard_table_rows() -> None:
    assert [model.name for model in standard_baselines()] == ["control", "mean", "linear"]
