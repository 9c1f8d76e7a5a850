"""The null test passes models that use their own control cells only, and catches one that does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from evaluation.screens import simulated
from grape_dgl.baselines.standard import standard_baselines
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.evaluation.null import NULL_METRICS, is_zero, null_test


class Peeks:
    """Sees the reference control cells: its change is what their noise looks like in the truth."""

    name = "peeks"

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._change = screen.control_mean(control.model) - screen.control_mean(control.reference)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return np.tile(self._change, (len(conditions), 1))


def test_every_model_scores_zero_where_nothing_was_done() -> None:
    models = [*standard_baselines(), Peeks()]
    table = null_test(simulated(controls=700), models, 12, n_conditions=9, cells_each=40).set_index(["model", "metric"])
    assert len(table) == len(models) * len(NULL_METRICS)
    for name in ("mean", "linear"):
        assert table.loc[name, "zero"].all(), table.loc[name]
    assert table.loc["control", "zero"].isna().all()
    assert not table.loc[("peeks", "pcc_delta"), "zero"]
    assert table.loc[("control", "pcc_delta"), "n"] == 0
    assert table.loc[("control", "pcc_delta"), "n_undefined"] == 12 * 3
    row = table.loc[("mean", "pcc_delta")]
    assert row["n"] == 12 and row["n_undefined"] == 0
    assert 0 < row["standard_error"] < 0.1


def test_zero_by_hand() -> None:
    """Three errors off is zero with many values and 6.6 with five, more is not; nothing is known without an error."""
    mean, n = pd.Series([0.299, -0.301, 0.66, -0.67, 0.0, 1.0, np.nan]), pd.Series([10**6, 10**6, 5, 5, 2, 1, 0])
    found = is_zero(mean, pd.Series([0.1] * 5 + [np.nan] * 2), n)
    assert found.tolist()[:5] == [True, False, True, False, True] and found[5:].isna().all()


def test_the_numbers_are_those_of_the_repeats() -> None:
    screen = simulated(controls=400)
    model = standard_baselines()[1]
    many = null_test(screen, [model], 3, n_conditions=6, cells_each=30, metrics=["pcc_delta"]).iloc[0]
    one = [
        null_test(screen, [model], 1, seed, n_conditions=6, cells_each=30, metrics=["pcc_delta"]).iloc[0]["mean"]
        for seed in range(3)
    ]
    assert many["mean"] == pytest.approx(np.mean(one))
    assert many["standard_error"] == pytest.approx(np.std(one, ddof=1) / np.sqrt(3))
