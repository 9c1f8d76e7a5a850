"""A screen in which nothing was done: control cells posing as conditions, to see what a score gives for no effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import stats

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import DataError


def null_screen(screen: Screen, n_conditions: int, cells_each: int, seed: int) -> Screen:
    """Control cells only: ``n_conditions`` fake conditions of ``cells_each`` cells, the others stay control.

    Cells are drawn without replacement by ``seed``. Each fake condition is named after a measured gene, one that has a
    description or a DNA sequence where any has, so that every model can be fitted; no stored DE genes are kept. On this
    screen a change score should be zero within its error.
    Raises DataError where there are too few control cells (four must remain) or genes.
    """
    control = screen.control_cells
    need = n_conditions * cells_each + 4
    if len(control) < need:
        raise DataError(
            f"found {len(control)} control cells; {n_conditions} null conditions of {cells_each} cells need {need}: "
            "ask for fewer"
        )
    names = _names(screen)
    if len(names) < n_conditions:
        raise DataError(f"found {len(names)} genes; {n_conditions} null conditions need one each as a name")
    rng = np.random.default_rng(seed)
    rows = rng.permutation(control)
    condition = np.full(len(rows), -1, dtype=np.int64)
    condition[: n_conditions * cells_each] = np.repeat(np.arange(n_conditions), cells_each)
    return dataclasses.replace(
        screen,
        expression=screen.expression[rows],
        condition=condition,
        conditions=tuple(sorted(str(s) for s in rng.choice(names, n_conditions, replace=False))),
        batch=screen.batch[rows],
        rank=None,
        stored_de={},
        notes={**screen.notes, "null": {"conditions": n_conditions, "cells_each": cells_each, "seed": seed}},
    )


def _names(screen: Screen) -> np.ndarray:
    genes = screen.genes
    known = (genes.description != "") | np.array([sequence != "" for sequence in genes.sequence])
    mine = known[: genes.measured]
    return genes.symbol[: genes.measured][mine if mine.any() else slice(None)]


NULL_METRICS = ("pcc_delta", "pcc_delta_de20", "pcc_delta_de40", "pcc_delta_de20_heldout", "pcc_delta_de40_heldout")
"""Scores that are zero in expectation where nothing was done, whatever a model predicts from its own control cells."""

WITHIN = 3
"""Standard errors from zero that count as zero, where the error is known."""


def is_zero(mean: pd.Series, error: pd.Series, n: pd.Series) -> pd.Series:
    """Whether each mean of ``n`` values is zero within three standard errors; missing where these are undefined.

    The error is estimated from the same values, so that Student's t says how many of it are as unlikely as three that
    are known: 6.6 for 5 values, 3.4 for 20.
    """
    found = (mean.abs() <= stats.t.isf(stats.norm.sf(WITHIN), n - 1) * error).astype("boolean")
    return found.mask(mean.isna() | error.isna())


class Predictor(Protocol):
    """What is tested: a model as in ``baselines.protocol``, which stands above this package."""

    name: str

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None: ...

    def predict(self, conditions: Sequence[str]) -> np.ndarray: ...


def null_test(
    screen: Screen,
    models: Sequence[Predictor],
    repeats: int = 20,
    seed: int = 0,
    *,
    n_conditions: int = 12,
    cells_each: int = 80,
    metrics: Sequence[str] = NULL_METRICS,
) -> pd.DataFrame:
    """Fit every model on ``repeats`` null screens (two thirds of the conditions train) and score the others.

    One row per model and metric: mean over repeats (each the mean over its test conditions), its standard_error,
    n repeats with a value, n_undefined scores, and ``zero``: whether the mean is within three standard errors of zero
    (missing with less than two repeats that have a value, as for a model that predicts no change). Raises DataError as
    ``null_screen``.
    """
    from grape_dgl.evaluation.evaluate import evaluate  # which offers null_screen

    tables = []
    for repeat in range(seed, seed + repeats):
        null = null_screen(screen, n_conditions, cells_each, repeat)
        cut = max(1, 2 * n_conditions // 3)
        split = Split(null.conditions[:cut], (), null.conditions[cut:], "condition", repeat)
        control = null.control_halves(repeat)
        changes = {}
        for model in models:
            model.fit(null, split, control)
            changes[model.name] = model.predict(split.test)
        tables.append(evaluate(null, control, changes, split.test, repeat, metrics=metrics).assign(repeat=repeat))
    table = pd.concat(tables)
    means = table.groupby(["model", "metric", "repeat"], sort=False)["value"].mean()
    found = means.groupby(["model", "metric"], sort=False).agg(mean="mean", standard_error="sem", n="count")
    found["n_undefined"] = table["value"].isna().groupby([table["model"], table["metric"]]).sum()
    found["zero"] = is_zero(found["mean"], found["standard_error"], found["n"])
    return found.reset_index()
