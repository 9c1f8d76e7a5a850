"""A screen in which nothing was done: control cells posing as conditions, to see what a score gives for no effect."""

from __future__ import annotations

import dataclasses

import numpy as np

from grape_dgl.data.screen import Screen
from grape_dgl.errors import DataError


def null_screen(screen: Screen, n_conditions: int, cells_each: int, seed: int) -> Screen:
    """Control cells only: ``n_conditions`` fake conditions of ``cells_each`` cells, the others stay control.

    Cells are drawn without replacement by ``seed``. Each fake condition is named after a measured gene, so that every
    model can be fitted; no stored DE genes are kept. On this screen a change score should be zero within its error.
    Raises DataError where there are too few control cells (four must remain) or genes.
    """
    control = screen.control_cells
    need = n_conditions * cells_each + 4
    if len(control) < need:
        raise DataError(
            f"found {len(control)} control cells; {n_conditions} null conditions of {cells_each} cells need {need}: "
            "ask for fewer"
        )
    if screen.genes.measured < n_conditions:
        raise DataError(f"found {screen.genes.measured} genes; {n_conditions} null conditions need one each as a name")
    rng = np.random.default_rng(seed)
    rows = rng.permutation(control)
    symbols = screen.genes.symbol[: screen.genes.measured]
    condition = np.full(len(rows), -1, dtype=np.int64)
    condition[: n_conditions * cells_each] = np.repeat(np.arange(n_conditions), cells_each)
    return dataclasses.replace(
        screen,
        expression=screen.expression[rows],
        condition=condition,
        conditions=tuple(sorted(str(s) for s in rng.choice(symbols, n_conditions, replace=False))),
        batch=screen.batch[rows],
        stored_de={},
        notes={**screen.notes, "null": {"conditions": n_conditions, "cells_each": cells_each, "seed": seed}},
    )
