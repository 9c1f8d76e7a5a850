"""Score a pair of files with cell-eval, in cell-eval's own environment: python score.py FOLDER OUT.json

FOLDER holds real.h5ad and predicted.h5ad as ``grape-dgl evaluate --export cell-eval`` writes them. OUT.json gets

* ``unchanged``: condition -> metric -> value, as ``cell-eval run`` computes them.
* ``means``: the same where a predicted mean stands for itself: every predicted gene is significant and ranked by its
  predicted change, and fold changes have a pseudocount of 1 (changes of log1p expression).
* ``p_values``: condition -> gene -> p-value of the rank-sum test on the real cells.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import polars as pl
from cell_eval import MetricsEvaluator

COLUMN, CONTROL = "target_gene", "non-targeting"


def mean_table(predicted: ad.AnnData) -> pl.DataFrame:
    """Differential expression of predicted means: log2 fold changes with pseudocount 1, all of them significant."""
    label = predicted.obs[COLUMN].astype(str).to_numpy()

    def mean(name: str) -> np.ndarray:
        return np.asarray(predicted.X[label == name].mean(axis=0), dtype=np.float64).ravel()

    rows = []
    for name in sorted({*label} - {CONTROL}):
        change = (mean(name) - mean(CONTROL)) / np.log(2)
        rows += [(name, gene, value, 0.0, 0.0) for gene, value in zip(predicted.var_names, change, strict=True)]
    return pl.DataFrame(rows, schema=["target", "feature", "log2_fold_change", "p_value", "fdr"], orient="row")


def scores(folder: Path, **settings: object) -> tuple[dict[str, dict[str, float | None]], Path]:
    out = Path(tempfile.mkdtemp())
    evaluator = MetricsEvaluator(
        ad.read_h5ad(folder / "predicted.h5ad"), ad.read_h5ad(folder / "real.h5ad"), control_pert=CONTROL,
        pert_col=COLUMN, num_threads=1, outdir=str(out), **settings,
    )  # fmt: skip
    results, _ = evaluator.compute(profile="full", skip_metrics=["clustering_agreement", "pearson_edistance"])
    return {row.pop("perturbation"): row for row in results.to_dicts()}, out


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    unchanged, made = scores(folder)
    means, _ = scores(folder, de_pred=mean_table(ad.read_h5ad(folder / "predicted.h5ad")), pdex_kwargs={"epsilon": 1.0})
    table = pl.read_csv(made / "real_de.csv")
    p_values: dict[str, dict[str, float]] = {}
    for target, gene, p in table.select("target", "feature", "p_value").iter_rows():
        p_values.setdefault(target, {})[gene] = p
    versions = {name: version(name) for name in ("cell-eval", "pdex")}
    found = {"versions": versions, "unchanged": unchanged, "means": means, "p_values": p_values}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
