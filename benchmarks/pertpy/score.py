"""Score a pair of files with pertpy, in pertpy's own environment (Python 3.12): python score.py FOLDER OUT.json

FOLDER holds real.h5ad and predicted.h5ad as ``grape-dgl evaluate --export cell-eval`` writes them. OUT.json gets

* ``distances``: condition -> name -> pertpy's Distance from real to predicted cells. ``*_of_changes``: from real to
  predicted mean change. ``t_test``: from real to control cells. ``scperturb*``: edist of the package scperturb.
* ``tests``: test -> p-values and adjusted p-values [genes] of the first condition's real cells; null where undefined.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pertpy as pt
import scperturb
from scipy.spatial.distance import pdist

COLUMN, CONTROL = "target_gene", "non-targeting"
OF_CELLS = ("edistance", "mmd", "root_mean_squared_error", "mse", "pearson_distance", "r2_distance")
OF_CHANGES = ("mean_absolute_error", "pearson_distance")
TESTS = {
    "student": (pt.tl.TTest, {}),
    "welch": (pt.tl.TTest, {"equal_var": False}),
    "wilcoxon": (pt.tl.WilcoxonTest, {}),
}


def rounded(values: Iterable[float]) -> list[float | None]:
    """To ten digits, which are the same from run to run."""
    return [None if math.isnan(value) else float(f"{value:.10g}") for value in values]


def distances(real: dict[str, np.ndarray], predicted: dict[str, np.ndarray], condition: str) -> dict[str, float | None]:
    x, y = real[condition], predicted[condition]
    found = {name: pt.tl.Distance(name)(x, y) for name in OF_CELLS}
    width = np.median(pdist(np.concatenate([x, y]), "sqeuclidean"))
    found["mmd_rbf"] = pt.tl.Distance("mmd")(x, y, kernel="rbf", gamma=1 / width)
    found["t_test"] = pt.tl.Distance("t_test")(x, real[CONTROL])
    changes = [(cells[condition].mean(axis=0) - cells[CONTROL].mean(axis=0))[None] for cells in (real, predicted)]
    found |= {f"{name}_of_changes": pt.tl.Distance(name)(*changes) for name in OF_CHANGES}
    both = ad.AnnData(obs={"of": ["real"] * len(x) + ["predicted"] * len(y)}, obsm={"cells": np.concatenate([x, y])})
    for name, settings in (("", {}), ("_euclidean", {"dist": "euclidean", "sample_correct": False})):
        found[f"scperturb{name}"] = scperturb.edist(both, "of", "cells", verbose=False, **settings).iloc[0, 1]
    return dict(zip(found, rounded(found.values()), strict=True))


def p_values(real: ad.AnnData, condition: str) -> dict[str, dict[str, list[float | None]]]:
    found = {}
    for name, (test, settings) in TESTS.items():
        with np.errstate(divide="ignore", invalid="ignore"):  # fold changes of silent genes
            table = test.compare_groups(real, COLUMN, CONTROL, condition, test_kwargs=settings)
        table = table.set_index("variable").loc[real.var_names]
        found[name] = {column: rounded(table[column]) for column in ("p_value", "adj_p_value")}
    return found


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    pair = [ad.read_h5ad(folder / name) for name in ("real.h5ad", "predicted.h5ad")]
    for data in pair:
        data.X = data.X.astype(np.float64)
    names = sorted({*pair[0].obs[COLUMN]})
    real, predicted = ({name: data[data.obs[COLUMN] == name].X.toarray() for name in names} for data in pair)
    conditions = [name for name in names if name != CONTROL]
    found = {
        "versions": {name: version(name) for name in ("pertpy", "scperturb", "scipy")},
        "distances": {condition: distances(real, predicted, condition) for condition in conditions},
        "tests": p_values(pair[0], conditions[0]),
    }
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
