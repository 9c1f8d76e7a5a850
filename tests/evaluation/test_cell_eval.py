"""The pair of files for cell-eval, and our numbers against cell-eval's own on it.

``cell_eval.json`` holds cell-eval's numbers, made by benchmarks/reference.py with the package in a virtual
environment of its own. Where GRAPE_DGL_CELL_EVAL names the Python of such an environment, cell-eval runs here too.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

from evaluation.screens import GENES, simulated
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.evaluation.cell_eval import CONTROL, cell_eval_pair, predicted_cells, write_pair
from grape_dgl.evaluation.de import wilcoxon
from grape_dgl.evaluation.evaluate import evaluate

NUMBERS = Path(__file__).with_name("cell_eval.json")
SCORE = Path(__file__).parents[2] / "benchmarks" / "cell_eval" / "score.py"
SAME = {
    "pcc_delta": "pearson_delta",
    "mse": "mse",
    "mae_delta": "mae_delta",
    "discrimination_l1": "discrimination_score_l1",
    "discrimination_l2": "discrimination_score_l2",
    "discrimination_cosine": "discrimination_score_cosine",
    "overlap_at_N_wilcoxon": "overlap_at_N",
    "overlap_at_50_wilcoxon": "overlap_at_50",
    "precision_at_50_wilcoxon": "precision_at_50",
    "direction_match_wilcoxon": "de_direction_match",
}


def small_case() -> tuple[Screen, ControlHalves, np.ndarray]:
    """Eight single conditions, and predictions between the truth and noise, none below zero."""
    screen = simulated(conditions=[f"G{i:02d}" for i in range(8)], cells=50, controls=120)
    control = screen.control_halves(0)
    base = screen.control_mean(control.model)
    truth = np.stack([screen.mean(c) - base for c in screen.conditions])
    noise = np.random.default_rng(0).normal(0, 0.25, truth.shape)
    return screen, control, np.maximum(0.15 * truth + noise, -base)


def small_pair() -> tuple[ad.AnnData, ad.AnnData]:
    screen, control, changes = small_case()
    return cell_eval_pair(screen, control, screen.conditions, changes)


def _check(numbers: dict[str, Any]) -> None:
    screen, control, changes = small_case()
    table = evaluate(screen, control, {"m": changes}, screen.conditions, metrics=list(SAME))
    spread = table.groupby("metric")["value"].std()
    assert (spread > 0.005).all(), spread  # numbers that could disagree
    for row in table.itertuples():
        theirs = numbers["means"][row.condition][SAME[row.metric]]
        assert row.value == pytest.approx(theirs, abs=2e-6), (row.condition, row.metric)
    for condition in screen.conditions:
        p = wilcoxon(screen.expression[screen.cells(condition)], screen.expression[control.reference])
        theirs = numbers["p_values"][condition]
        assert p == pytest.approx(np.array([theirs[gene] for gene in GENES]), rel=1e-5)
    means = [name for name in SAME if not name.endswith("_wilcoxon")]
    for row in table[table["metric"].isin(means)].itertuples():
        assert row.value == pytest.approx(numbers["unchanged"][row.condition][SAME[row.metric]], abs=2e-6)


def test_our_numbers_are_those_of_cell_eval() -> None:
    _check(json.loads(NUMBERS.read_text(encoding="utf-8")))


def test_cell_eval_says_so_itself(tmp_path: Path) -> None:
    python = os.environ.get("GRAPE_DGL_CELL_EVAL")
    if not python:
        pytest.skip("GRAPE_DGL_CELL_EVAL names no Python with cell-eval (see benchmarks/reference.py)")
    write_pair(tmp_path, *small_pair())
    subprocess.run([python, str(SCORE), str(tmp_path), str(tmp_path / "numbers.json")], check=True, timeout=300)
    _check(json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8")))


def test_the_pair_holds_real_cells_and_disjoint_controls() -> None:
    screen, control, changes = small_case()
    real, predicted = small_pair()
    for data, rows in ((real, control.reference), (predicted, control.model)):
        there = data[data.obs["target_gene"] == CONTROL].X.toarray()
        assert np.array_equal(there, screen.expression[rows].toarray())
        assert list(data.var_names) == list(GENES)
        assert {*data.obs["target_gene"]} == {*screen.conditions, CONTROL}
        assert data.X.data.min() >= 0
    for condition, change in zip(screen.conditions, changes, strict=True):
        own = real[real.obs["target_gene"] == condition].X.toarray()
        assert np.array_equal(own, screen.expression[screen.cells(condition)].toarray())
        cells = predicted[predicted.obs["target_gene"] == condition].X.toarray()
        assert len(cells) == len(own)
        assert cells.mean(0) == pytest.approx(screen.control_mean(control.model) + change, abs=1e-6)


def test_predicted_cells_have_the_predicted_mean(caplog: pytest.LogCaptureFixture) -> None:
    screen, control, changes = small_case()
    mean = np.array([0.0, 3.0, 0.1, -0.2] * 15)
    cells = predicted_cells(screen.expression[control.model], mean).toarray()
    assert cells.mean(0) == pytest.approx(np.maximum(mean, 0), abs=1e-5)
    assert cells.min() >= 0
    cell_eval_pair(screen, control, screen.conditions[:1], changes[:1] - 5)
    assert "60 predicted means are below zero and stand as zero" in caplog.text
