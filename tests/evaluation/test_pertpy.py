"""Our numbers against those of pertpy, and of scPerturb's package, on the pair of files for cell-eval.

``pertpy.json`` holds their numbers, made by benchmarks/reference.py with the packages in a virtual environment of its
own. Where GRAPE_DGL_PERTPY names the Python of such an environment, pertpy runs here too.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats

from evaluation.test_cell_eval import small_pair
from grape_dgl.evaluation.cell_eval import COLUMN, CONTROL, write_pair
from grape_dgl.evaluation.de import moments, significant, t_scores, t_test, wilcoxon
from grape_dgl.evaluation.distances import e_distance, mmd
from grape_dgl.evaluation.metrics import mae_delta, mse, pcc_delta, pearson, r2, rmse

NUMBERS = Path(__file__).with_name("pertpy.json")
SCORE = Path(__file__).parents[2] / "benchmarks" / "pertpy" / "score.py"


def _distances(
    predicted: np.ndarray, real: np.ndarray, start: np.ndarray, control: np.ndarray
) -> dict[str, float | np.floating]:
    """Their distances in terms of our metrics, from cells [cells, genes] and the control cells of both files."""
    p, o = predicted.mean(axis=0), real.mean(axis=0)
    changes = p - start.mean(axis=0), o - control.mean(axis=0)
    of_p, of_o, of_control = (moments(sp.csr_matrix(cells)) for cells in (predicted, real, control))
    noise = np.sum(of_p.std**2 / of_p.n + of_o.std**2 / of_o.n)
    return {
        "edistance": e_distance(predicted, real),
        "scperturb": 2 * len(p) * mse(p, o) - 2 * noise,
        "scperturb_euclidean": e_distance(predicted, real),
        "mmd": len(p) * mse(p, o),
        "mmd_rbf": mmd(predicted, real),
        "root_mean_squared_error": np.sqrt(len(p)) * rmse(p, o),
        "mse": mse(p, o),
        "pearson_distance": 1 - pearson(p, o),
        "r2_distance": 1 - r2(p, o),
        "mean_absolute_error_of_changes": mae_delta(*changes),
        "pearson_distance_of_changes": 1 - pcc_delta(*changes),
        "t_test": np.abs(t_scores(of_o, of_control)).mean(),
    }


def _cells() -> list[dict[str, np.ndarray]]:
    """Group -> cells [cells, genes] of the real and of the predicted file."""
    return [{g: d[d.obs[COLUMN] == g].X.toarray().astype(float) for g in {*d.obs[COLUMN]}} for d in small_pair()]


def _check_distances(theirs: dict[str, dict[str, float]]) -> None:
    real, predicted = _cells()
    table = pd.DataFrame(theirs).T
    ours = {c: _distances(predicted[c], real[c], predicted[CONTROL], real[CONTROL]) for c in table.index}
    assert (table.std() > 0.003).all(), table.std()  # numbers that could disagree
    pd.testing.assert_frame_equal(pd.DataFrame(ours).T, table, check_like=True, rtol=1e-7, atol=1e-7)


def _check_tests(theirs: dict[str, dict[str, list[float | None]]]) -> None:
    real = _cells()[0]
    group, control = (sp.csr_matrix(real[name]) for name in ("G00", CONTROL))
    both = moments(group), moments(control)
    with np.errstate(invalid="ignore"):
        student = np.nan_to_num(stats.ttest_ind_from_stats(*both[0], *both[1]).pvalue, nan=1.0)
    assert np.abs(np.log(t_test(*both) / student)).max() > 0.05  # pertpy's t-test, and ours by equal_var=False
    for name, ours in (("student", student), ("welch", t_test(*both)), ("wilcoxon", wilcoxon(group, control))):
        p, adjusted = (np.array(theirs[name][column], dtype=float) for column in ("p_value", "adj_p_value"))
        assert np.isnan(p).tolist() == [False] * 55 + [True] * 5  # silent genes: p = 1 with us
        assert ours == pytest.approx(np.nan_to_num(p, nan=1.0), rel=1e-8)
        steps = np.unique(adjusted[adjusted < 55 / 60])
        assert len(steps) > 10
        for rate in np.concatenate([steps * (1 - 1e-6), steps * (1 + 1e-6)]):  # 55 tests with them, 60 with us
            assert significant(ours, rate * 60 / 55).tolist() == (adjusted < rate).tolist()


def _check(numbers: dict[str, Any]) -> None:
    _check_distances(numbers["distances"])
    _check_tests(numbers["tests"])


def test_our_numbers_are_those_of_pertpy() -> None:
    _check(json.loads(NUMBERS.read_text(encoding="utf-8")))


def test_pertpy_says_so_itself(tmp_path: Path) -> None:
    python = os.environ.get("GRAPE_DGL_PERTPY")
    if not python:
        pytest.skip("GRAPE_DGL_PERTPY names no Python with pertpy (see benchmarks/reference.py)")
    write_pair(tmp_path, *small_pair())
    subprocess.run([python, str(SCORE), str(tmp_path), str(tmp_path / "numbers.json")], check=True, timeout=600)
    _check(json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8")))
