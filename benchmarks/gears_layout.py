"""Write a simulated screen in the exact layout of the files that GEARS processed, such as the Adamson file.

Run: python benchmarks/gears_layout.py adamson_genes.tsv.gz --out FOLDER/adamson.h5ad [--cells 68603] [--conditions 87]
     python benchmarks/gears_layout.py adamson_genes.tsv.gz --out FOLDER/norman.h5ad --cells 91205 --conditions 236 \\
         --doubles 131 --controls 7353 --cell-type A549

In a folder that GRAPE_DGL_DATA or --cache names, the file is the catalog's data set ``adamson`` (or ``norman``). It
proves that the real file can be read, fitted and scored at its size. The cells are simulated and know nothing of the
real genes whose names they carry: scores on it say nothing about models.

The layout (read in the source of cell-gears 0.1.2, and in descriptions of its files):

* ``X``: CSR float32, log1p of counts normalised to the median library size.
* ``var``: Ensembl ids, with the symbols in ``gene_name``; the genes of the table in its order.
* ``obs``, all categories: ``condition`` (``A+ctrl``, ``A+B``, ``ctrl``), ``cell_type``, ``dose_val`` (``1+1``, control
  ``1``), ``control`` (0 / 1), ``condition_name`` (``K562(?)_A+ctrl_1+1``, ``K562(?)_ctrl_1``). Where there are doubles,
  half of the cells of every other single perturbation are written ``ctrl+A``, as in the Norman file.
* ``uns``: dictionaries by ``condition_name``. ``rank_genes_groups_cov_all``: all Ensembl ids, ranked by scanpy's t-test
  against the control by absolute score. ``non_zeros_gene_idx``: positions of genes that the condition expresses;
  ``non_dropout_gene_idx``: these and the genes silent in condition and control. ``top_non_zero_de_20`` and
  ``top_non_dropout_de_20``: the first 20 of the ranking among these.

Differs from the real file: the targets are drawn from the coding genes that have a description, and all are measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

from grape_dgl.data import demo_biology
from grape_dgl.data.expression import normalise
from grape_dgl.data.simulate import assign, draw_cells
from grape_dgl.data.stored_de import KEY
from grape_dgl.errors import DataError, GrapeError
from grape_dgl.writing import write_beside

COLUMNS = ["ensgene", "symbol", "biotype", "description"]
COUNTS_PER_GENE = 0.22
"""Median library size over genes: one value in eight is not zero."""
TOP = 20


def read_genes(path: Path, number: int) -> pd.DataFrame:
    """The first ``number`` genes (0: all) of a tab-separated table with the columns ``COLUMNS``."""
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3, usecols=COLUMNS)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is no table of genes: {error}; expected the columns {', '.join(COLUMNS)}") from error
    return table[: number or None]


def make_plan(genes: pd.DataFrame, singles: int, doubles: int, rng: np.random.Generator) -> demo_biology.Plan:
    """A plan of the demo whose genes are the rows of the table: coding where these are, targets among described ones.

    Targets keep the modules that the demo gives them.
    """
    coding = (genes["biotype"] == "protein_coding").to_numpy()
    candidates = np.flatnonzero(coding & (genes["description"] != "").to_numpy())
    if singles > len(candidates) or not 2 <= singles <= len(genes) // 2 or doubles > singles * (singles - 1) // 2:
        raise DataError(
            f"{singles} single and {doubles} double perturbations of {len(genes)} genes, {len(candidates)} of them "
            "coding and described; expected 2 singles or more, at most half of the genes, and enough pairs of them"
        )
    drawn = demo_biology.draw_plan(len(genes), singles, doubles, rng)
    targets = rng.permutation(candidates)[:singles]
    others = np.setdiff1d(np.arange(len(genes)), targets)
    source = np.empty(len(genes), dtype=np.int64)  # gene of the demo's plan for each row of the table
    source[targets] = drawn.targets
    source[others] = rng.permutation(np.setdiff1d(np.arange(len(drawn.module)), drawn.targets))[: len(others)]
    row = dict(zip(drawn.targets.tolist(), targets.tolist(), strict=True))
    conditions = [tuple(row[gene] for gene in condition) for condition in drawn.conditions]
    return demo_biology.Plan(drawn.module[source], coding, targets, conditions)


def labels(plan: demo_biology.Plan, symbol: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Label of each cell as GEARS writes it."""
    names = [f"{symbol[genes[0]]}+{symbol[genes[1]] if len(genes) > 1 else 'ctrl'}" for genes in plan.conditions]
    found = np.array([*names, "ctrl"], dtype=object)[condition]
    if len(plan.conditions) > len(plan.targets):
        for place, target in list(enumerate(plan.targets))[::2]:
            found[np.flatnonzero(condition == place)[::2]] = f"ctrl+{symbol[target]}"
    return found


def screen(genes: pd.DataFrame, given: argparse.Namespace) -> ad.AnnData:
    """The screen, as GEARS leaves it."""
    if given.cells < given.controls + 3 * given.conditions or given.controls < 2:
        raise DataError(
            f"{given.cells} cells, {given.controls} of them controls, for {given.conditions} conditions; "
            "expected 2 controls or more, and at least 3 cells for each condition"
        )
    rng = np.random.default_rng(given.seed)
    plan = make_plan(genes, given.conditions - given.doubles, given.doubles, rng)
    effects = demo_biology.draw_effects(plan, demo_biology.draw_network(plan.module, rng), rng)
    condition = assign(given.cells, given.conditions, given.controls, rng)
    counts, _ = draw_cells(plan, effects, condition, 1, COUNTS_PER_GENE * len(genes), rng)
    library = np.asarray(counts.sum(axis=1)).ravel()
    obs = pd.DataFrame({"condition": labels(plan, genes["symbol"].to_numpy(), condition)})
    obs["cell_type"] = given.cell_type
    double = obs["condition"].str.contains("+", regex=False)
    obs["dose_val"] = np.where(double, "1+1", "1")
    obs["control"] = np.where(double, 0, 1)
    obs["condition_name"] = given.cell_type + "_" + obs["condition"] + "_" + obs["dose_val"]
    obs.index = pd.Index([f"CELL{number:07d}-1" for number in range(len(obs))], name="cell_barcode")
    found = ad.AnnData(
        X=normalise(counts, float(np.median(library))),
        obs=obs.astype("category"),
        var=pd.DataFrame({"gene_name": genes["symbol"].to_numpy()}, index=pd.Index(genes["ensgene"], name="gene_id")),
    )
    found.uns |= rankings(found, f"{given.cell_type}_ctrl_1")
    return found


def rankings(cells: ad.AnnData, control: str) -> dict[str, dict[str, Any]]:
    """What GEARS keeps in ``uns``."""
    sc.tl.rank_genes_groups(
        cells, "condition_name", reference=control, method="t-test", rankby_abs=True, n_genes=cells.n_vars
    )
    names = cells.uns.pop("rank_genes_groups")["names"]
    position = pd.Series(np.arange(cells.n_vars), index=cells.var_names)
    rows = cells.obs["condition_name"].to_numpy()
    silent = cells.X[rows == control].getnnz(axis=0) == 0
    answer: dict[str, dict[str, Any]] = {
        name: {}
        for name in (KEY, "non_zeros_gene_idx", "non_dropout_gene_idx", "top_non_zero_de_20", "top_non_dropout_de_20")
    }
    for name in names.dtype.names:
        order = np.asarray(names[name], dtype=object)
        expressed = cells.X[rows == name].getnnz(axis=0) > 0
        kept = {"non_zeros": expressed, "non_dropout": expressed | silent}
        answer[KEY][name] = order
        for word, genes in kept.items():
            answer[f"{word}_gene_idx"][name] = np.flatnonzero(genes)
            answer[f"top_{word.removesuffix('s')}_de_20"][name] = order[genes[position[order]]][:TOP]
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help=f"tab-separated genes: {', '.join(COLUMNS)}")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.h5ad")
    parser.add_argument("--genes", type=int, default=0, help="the first of the table; 0: all")
    parser.add_argument("--cells", type=int, default=68_603, help="with the controls")
    parser.add_argument("--controls", type=int, default=24_000, help="control cells")
    parser.add_argument("--conditions", type=int, default=87, help="without the control, doubles among them")
    parser.add_argument("--doubles", type=int, default=0, help="conditions of two genes")
    parser.add_argument("--cell-type", default="K562(?)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        found = screen(read_genes(given.table, given.genes), given)
        write_beside(given.out, lambda path: found.write_h5ad(path, compression="lzf"))
    except (GrapeError, OSError) as error:
        sys.exit(f"error: {error}")
    filled = found.X.nnz / np.prod(found.shape)
    sys.stderr.write(f"{given.out}: {found.n_obs} cells x {found.n_vars} genes, {filled:.1%} of the values not zero\n")


if __name__ == "__main__":
    main()
