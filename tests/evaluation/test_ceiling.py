"""Noise ceilings against a real repeat of the experiment, and their behaviour at the edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from evaluation.screens import GENES, norman, simulated
from grape_dgl.data.genes import Genes
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.ceiling import ceiling, floor, normalised
from grape_dgl.evaluation.evaluate import COLUMNS, evaluate

NAMES = tuple(f"G{i:02d}" for i in range(20))


def _experiment(seed: int, cells: int = 30, controls: int = 120, effect: float = 0.25) -> Screen:
    """Normal cells around fixed means; the effects are those of every seed, the noise is its own."""
    change = np.random.default_rng(0).normal(0, effect, (len(NAMES), len(GENES)))
    label = np.repeat([-1, *range(len(NAMES))], [controls, *[cells] * len(NAMES)])
    x = np.random.default_rng([seed, 1]).normal(8, 1, (len(label), len(GENES)))
    x[label >= 0] += change[label[label >= 0]]
    batch = np.zeros(len(label), dtype=np.int64)
    return Screen(sp.csr_matrix(x, dtype=np.float32), label, NAMES, batch, Genes.from_symbols(GENES, len(GENES)))


def _means(table: pd.DataFrame, model: str) -> pd.Series:
    return table[table["model"] == model].groupby("metric")["value"].mean()


def test_the_ceiling_is_what_a_repeat_of_the_experiment_scores() -> None:
    """A repeat with as many cells of each condition and as many reference control cells predicts the first."""
    metrics = ["pcc_delta", "mae_delta", "rmse", "mse", "wmse"]
    repeats, ceilings = [], []
    for seed in range(4):
        first, second = _experiment(seed), _experiment(seed + 100)
        control = first.control_halves(seed)
        of_change = np.stack(
            [second.mean(c) - second.control_mean(second.control_halves(seed).reference) for c in NAMES]
        )
        of_expression = np.stack([second.mean(c) - first.control_mean(control.model) for c in NAMES])
        scores = [
            _means(evaluate(first, control, {"repeat": change}, NAMES, metrics=asked), "repeat")
            for change, asked in ((of_change, metrics[:2]), (of_expression, metrics[2:]))
        ]
        repeats.append(pd.concat(scores))
        ceilings.append(_means(ceiling(first, control, NAMES, seed, repeats=4, metrics=metrics), "ceiling"))
    expected, found = pd.DataFrame(repeats).mean(), pd.DataFrame(ceilings).mean()
    assert 0.3 < expected["pcc_delta"] < 0.8
    for metric in metrics:  # the weights of wmse are noisier in halves
        assert found[metric] == pytest.approx(expected[metric], rel=0.2 if metric == "wmse" else 0.06), metric


def test_the_bootstrap_brackets_a_prediction_without_noise() -> None:
    screen = _experiment(0)
    control = screen.control_halves(0)
    true = np.random.default_rng(0).normal(0, 0.25, (len(NAMES), len(GENES)))
    table = ceiling(screen, control, NAMES, repeats=4, metrics=["pcc_delta", "rmse"])
    best = _means(evaluate(screen, control, {"true": true}, NAMES, metrics=["pcc_delta", "rmse"]), "true")
    repeat, boot = _means(table, "ceiling"), _means(table, "ceiling_bootstrap")
    assert repeat["pcc_delta"] < best["pcc_delta"]
    assert best["pcc_delta"] == pytest.approx(np.sqrt(repeat["pcc_delta"]), abs=0.05)
    assert boot["pcc_delta"] > repeat["pcc_delta"]


def test_where_nothing_was_done_there_is_no_ceiling() -> None:
    screen = _experiment(3, effect=0.0)
    control = screen.control_halves(0)
    trained = np.stack([screen.mean(c) - screen.control_mean(control.model) for c in NAMES[10:]])
    asked = ["pcc_delta", "pcc_perturbed_mean"]
    table = ceiling(screen, control, NAMES[:10], repeats=8, metrics=asked, trained=trained)
    found = _means(table, "ceiling")
    assert abs(found["pcc_delta"]) < 0.15
    assert abs(found["pcc_perturbed_mean"]) < 0.15  # control cells do not stand in it
    halves = ceiling(screen, control, NAMES, repeats=8, metrics=["pcc_delta"])
    halves = halves[halves["model"] == "ceiling"]
    low = halves["value"] <= 0
    assert 2 < low.sum() < 18
    assert set(halves.loc[low, "reason"]) == {"the halves do not agree; the score of halves is kept"}
    assert set(halves.loc[~low, "reason"]) == {""}


def test_the_table_is_that_of_evaluate() -> None:
    screen = simulated(batches=2)
    names = list(screen.conditions)[::-1]
    trained = np.random.default_rng(0).normal(0, 0.1, (5, len(GENES)))
    control = screen.control_halves(0)
    scores = evaluate(screen, control, {"m": np.ones((4, len(GENES)))}, names, trained=trained)
    table = ceiling(screen, control, names, repeats=2, trained=trained)
    assert list(table.columns) == COLUMNS
    assert list(dict.fromkeys(table["model"])) == ["ceiling", "ceiling_bootstrap"]
    for model in ("ceiling", "ceiling_bootstrap"):
        one = table[table["model"] == model].reset_index(drop=True)
        pd.testing.assert_frame_equal(one[["condition", "metric"]], scores[["condition", "metric"]])
    pd.testing.assert_frame_equal(table, ceiling(screen, control, names, repeats=2, trained=trained))
    assert not table["value"].equals(ceiling(screen, control, names, 1, repeats=2, trained=trained)["value"])


def test_a_condition_of_one_cell_has_no_halves() -> None:
    screen = simulated(cells=1)
    table = ceiling(screen, screen.control_halves(0), ["G00", "G01"], repeats=2, metrics=["pcc_delta", "rmse"])
    halves = table[table["model"] == "ceiling"]
    assert halves["value"].isna().all()
    assert set(halves["reason"]) == {"halves need at least two cells of the condition"}
    with pytest.raises(DataError, match="at least two control cells"):
        ceiling(screen, ControlHalves(screen.control_cells[1:], screen.control_cells[:1]), ["G00"])


def test_the_floor_is_no_change_and_the_training_mean() -> None:
    screen = simulated()
    control = screen.control_halves(0)
    trained = np.random.default_rng(0).normal(0, 0.1, (5, len(GENES)))
    table = floor(screen, control, ["G00", "G01"], trained)
    changes = {"control": np.zeros((2, len(GENES))), "mean": np.tile(np.float32(trained.mean(0)), (2, 1))}
    pd.testing.assert_frame_equal(table, evaluate(screen, control, changes, ["G00", "G01"], trained=trained))
    own = table[(table["model"] == "mean") & (table["metric"] == "pcc_perturbed_mean")]
    assert own["value"].isna().all()


def test_normalised_by_hand() -> None:
    assert normalised(0.5, 0.2, 0.8) == pytest.approx(0.5)
    assert normalised(0.9, 0.2, 0.8) == pytest.approx(7 / 6)
    assert normalised(0.04, 0.06, 0.02, "low") == pytest.approx(0.5)
    assert np.isnan(normalised(0.5, 0.8, 0.2))
    assert np.isnan(normalised(0.5, 0.2, 0.2))
    assert np.isnan(normalised(0.5, 0.02, 0.06, "low"))
    found = normalised(np.array([0.5, np.nan, 0.1]), np.array([0.0, 0.0, np.nan]), np.array([1.0, 1.0, 1.0]))
    assert found[0] == 0.5 and np.isnan(found[1:]).all()


def test_on_real_cells_the_ceiling_is_above_the_floor(shared_data: Callable[[str], Path]) -> None:
    screen = norman(shared_data("norman_subset.h5ad"))
    control = screen.control_halves(0)
    train, test = screen.conditions[8:], screen.conditions[:8]
    trained = np.stack([screen.mean(c) - screen.control_mean(control.model) for c in train])
    metrics = ["rmse", "pcc_delta", "mae_delta", "wmse", "pcc_delta_de20_heldout", "discrimination_l1"]
    best = _means(ceiling(screen, control, test, repeats=3, metrics=metrics), "ceiling")
    mean = _means(floor(screen, control, test, trained, metrics=metrics), "mean")
    for metric in metrics:
        assert (best[metric] > mean[metric]) == (metric not in ("rmse", "mae_delta", "wmse")), metric
