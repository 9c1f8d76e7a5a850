"""What a peer is given and what it hands back: ``screen.h5ad``, and the predictions it makes of it.

``screen.h5ad`` holds the cells of the train and validation conditions and the model's half of the control cells, and no
other cell: what a peer cannot see it cannot learn from. One row per cell (``obs_names``: its row in the screen), one
column per measured gene (``var_names``: symbols):

* ``X`` log1p of library-size-normalised expression, sparse.
* ``obs["condition"]`` targets joined by ``+``, or ``control``; ``obs["batch"]``; ``obs["cell_type"]``, one for all.
* ``var``: ``ensembl``, ``biotype``, ``description``, empty where unknown.
* ``uns["control"]`` the label of the control; ``uns["unmeasured_targets"]`` the same columns as ``var`` for the targets
  of any condition, those of test among them, that are not measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from grape_dgl.data.conditions import CONTROL
from grape_dgl.data.h5ad import open_h5ad
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import DataError, did_you_mean, some
from grape_dgl.evaluation.predictions import Predictions


def peer_screen(screen: Screen, split: Split, control: ControlHalves) -> ad.AnnData:
    """The cells that a peer may see, as described on top of this module."""
    seen = [screen.cells(condition) for condition in (*split.train, *split.val)]
    rows = np.sort(np.concatenate([control.model, *seen]))
    names = np.array([*screen.conditions, CONTROL], dtype=object)  # -1 is the control
    obs = pd.DataFrame(
        {
            "condition": names[screen.condition[rows]],
            "batch": screen.batch[rows].astype(str),
            "cell_type": str(screen.notes.get("cell_type") or "cells"),
        },
        index=rows.astype(str),
        dtype="category",
    )
    genes = pd.DataFrame(
        {name: getattr(screen.genes, name).astype(str) for name in ("ensembl", "biotype", "description")},
        index=screen.genes.symbol.astype(str),
    ).astype({"biotype": "category"})
    measured = screen.genes.measured
    parts = (*split.train, *split.val, *split.test)
    targets = np.unique(np.concatenate([screen.targets(condition) for condition in parts]))
    return ad.AnnData(
        X=screen.expression[rows],
        obs=obs,
        var=genes[:measured],
        uns={"control": CONTROL, "unmeasured_targets": genes.iloc[targets[targets >= measured]]},
    )


def read_change(
    path: Path, screen: Screen, control: ControlHalves, conditions: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Predicted change [measured] of each of ``conditions``, and the peer's notes on some of them (``obs["note"]``).

    A peer predicts mean expression and knows no batch of a test cell: the change is from the plain mean of the control
    cells that it was given. More conditions than asked for are left out, and genes may stand in any order.
    Raises DataError for no file, missing or repeated conditions, other genes, NaN.
    """
    if not path.exists():
        raise DataError(f"no '{path.name}' was written; expected predictions in the file that --out names")
    found = open_h5ad(path)
    predictions = Predictions.from_anndata(found, path.name)
    genes = screen.genes.symbol[: screen.genes.measured]
    _none_missing("genes", list(predictions.genes), list(genes))
    _none_missing("conditions", predictions.conditions, conditions)
    if strange := sorted(set(predictions.genes) - set(genes)):
        raise DataError(f"'{path.name}' holds {len(strange)} genes that the screen has not: {some(strange)}")
    column = {gene: at for at, gene in enumerate(predictions.genes)}
    change = predictions.expected[:, [column[gene] for gene in genes]] - screen.control_mean(control.model)
    row = {name: at for at, name in enumerate(predictions.conditions)}
    notes = found.obs["note"].astype(str).to_list() if "note" in found.obs else [""] * len(row)
    return (
        {name: change[row[name]] for name in conditions},
        {name: notes[row[name]] for name in conditions if notes[row[name]]},
    )


def _none_missing(what: str, found: Collection[str], wanted: Collection[str]) -> None:
    if missing := sorted(set(wanted) - set(found)):
        close = did_you_mean(missing[0], set(found) - set(wanted))
        raise DataError(f"{len(missing)} of {len(wanted)} {what} are not predicted: {some(missing)}{close}")
