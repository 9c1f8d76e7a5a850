"""The suite of Table 1 on small files of the GEARS layout, and that layout against AnnData's own account of it."""

from __future__ import annotations

import gzip
import runpy
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from grape_dgl.cli import main
from grape_dgl.data import demo_biology
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.read import read_screen
from grape_dgl.data.stored_de import KEY
from grape_dgl.evaluation.de import moments, t_scores
from grape_dgl.suite.jobs import collect, failures, jobs_of, run_job
from grape_dgl.suite.models import Bench, make_model
from grape_dgl.suite.peers import PeerModel
from grape_dgl.suite.spec import KINDS, Suite

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLE1 = BENCHMARKS / "suites" / "table1.toml"
CHEAP = ("ceiling", "control", "mean", "additive", "linear", "neighbours GO", "text .1", "kernel_ridge", "response",
         "SAMS-VAE", "GraphVCI")  # fmt: skip
"""A model of each kind but GRAPE and GEARS."""
NORMAN = ("norman", "simulation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the suite asks for, of 90 genes; ``adamson.h5ad`` and ``norman.h5ad`` in ``cache``.

    The Adamson file's rankings are reversed, so that whoever ranks the genes anew is found out.
    """
    folder = tmp_path_factory.mktemp("table1")
    rng = np.random.default_rng(0)
    plan = demo_biology.draw_plan(90, 20, 0, rng)
    genes, dna = demo_biology.draw_genes(plan, rng), demo_biology.draw_sequences(plan.module, 60, rng)
    for name in ("annotables_grch38.tsv.gz", "annotables_grch37.tsv.gz"):
        genes.to_csv(folder / name, sep="\t", index=False)
    promoters = [f"{symbol}_1\t{bases}\n" for symbol, bases in zip(genes["symbol"], dna, strict=True) if bases]
    (folder / "epd_promoters.fa").write_text("".join(promoters), encoding="ascii")
    terms = [f"{symbol}\tGO:{module:07d}\n" for symbol, module in zip(genes["symbol"], plan.module, strict=True)]
    with gzip.open(folder / "gene2go_human_direct.tsv.gz", "wt", encoding="ascii") as file:
        file.write("symbol\tgo_id\n" + "".join(terms))
    make(folder, "adamson", "--conditions", "12")
    make(folder, "norman", "--conditions", "14", "--doubles", "6", "--cell-type", "A549")
    with h5py.File(folder / "cache" / "adamson.h5ad", "r+") as file:
        for ranking in file["uns"][KEY].values():
            ranking[...] = ranking[...][::-1]
    return folder


def make(folder: Path, name: str, *given: str) -> None:
    """Run the script as a user does, in this process."""
    table, out = folder / "annotables_grch38.tsv.gz", folder / "cache" / f"{name}.h5ad"
    sizes = ["--genes", "85", "--cells", "1000", "--controls", "300", "--seed", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gears_layout.py", str(table), "--out", str(out), *sizes, *given])
        runpy.run_path(str(BENCHMARKS / "gears_layout.py"), run_name="__main__")


def test_the_command_runs_it_from_end_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of it: each data set and split more would cost a page of pictures."""
    before, _, models = TABLE1.read_text(encoding="utf-8").partition("[[model]]")
    head, adamson, _ = before.replace('splits = ["single", "simulation"]', 'splits = ["single"]').split("[[data]]")
    (folder / "table1.toml").write_text(f"{head}[[data]]{adamson}[[model]]{models}", encoding="utf-8")
    chosen = ["--model", "linear", "--model", "kernel_ridge", "--seeds", "1"]
    places = ["--cache", str(folder / "cache"), "--out", str(folder / "out")]
    assert main(["benchmark", str(folder / "table1.toml"), *places, *chosen, "-q"]) == 0
    table = pd.read_parquet(folder / "out" / "results.parquet")
    assert not list(failures(table))
    assert set(table["model"]) == {"linear", "kernel_ridge"} and set(table["split"]) == {"single"}
    assert (folder / "out" / "report.html").is_file()
    _the_paper_form_takes_the_ranking_of_the_file(folder, table)


def _the_paper_form_takes_the_ranking_of_the_file(folder: Path, table: pd.DataFrame) -> None:
    """By hand from the file: Pearson over the first 20 stored genes, where one control mean stands in both."""
    cells = ad.read_h5ad(folder / "cache" / "adamson.h5ad")
    cells = cells[:, cells.var["gene_name"].astype(str).argsort(kind="stable")]
    (path,) = (folder / "out" / "predictions").glob("adamson.single.000.linear.*.h5ad")
    predictions = ad.read_h5ad(path)
    scores = table[table["model"] == "linear"].set_index(["condition", "metric"])["value"]
    control = predictions.var["control"].to_numpy()
    for name in predictions.obs_names:
        top = cells.var_names.get_indexer(cells.uns[KEY][f"K562(?)_{name}+ctrl_1+1"][:20])
        observed = cells[cells.obs["condition"] == f"{name}+ctrl"].to_df().to_numpy().mean(axis=0) - control
        change = np.ravel(predictions[name].layers["change"])
        wanted = np.corrcoef(change[top], observed[top])[0, 1]
        assert scores[name, "pcc_delta_de20_shared_control"] == pytest.approx(wanted, abs=1e-5)
        assert scores[name, "pcc_delta_de20"] != pytest.approx(wanted, abs=1e-3)


def test_every_job_of_the_suite_runs_on_both_files(folder: Path, tmp_path: Path) -> None:
    """Each kind of model on Norman's `simulation`, the mean on all: what is tested is what the splits say."""
    suite = Suite.read(TABLE1, [folder])
    assert {model.kind for model in suite.models} == set(KINDS)
    benches = [Bench(spec, folder / "cache") for spec in suite.data]
    jobs = [job for job in jobs_of(suite) if job.seed == 0 and job.model.name in CHEAP]
    jobs = [job for job in jobs if job.model.name == "mean" or (job.data.name, job.split.kind) == NORMAN]
    for job in jobs:
        run_job(job, next(bench for bench in benches if bench.spec == job.data), tmp_path)
    table = collect(jobs, tmp_path)
    assert len(jobs) == len(CHEAP) + 3 and not list(failures(table))
    parts = {name: part for name, part in table[table["model"] == "mean"].groupby(["data", "split"], observed=True)}
    assert {(data, split) for data in ("adamson", "norman") for split in ("single", "simulation")} == set(parts)
    doubles = {name: part["condition"].astype(str).str.contains("+", regex=False) for name, part in parts.items()}
    assert doubles.pop(NORMAN).any() and not any(found.any() for found in doubles.values())
    seen = set(parts[NORMAN]["seen"])
    assert {"unseen_single", "combo_seen1"} <= seen <= {"unseen_single", *(f"combo_seen{n}" for n in range(3))}


def test_the_layout_is_that_of_gears(folder: Path) -> None:
    cells = ad.read_h5ad(folder / "cache" / "norman.h5ad")
    genes = pd.read_csv(folder / "annotables_grch38.tsv.gz", sep="\t")[:85]
    assert cells.var_names.tolist() == genes["ensgene"].tolist()
    assert cells.var["gene_name"].tolist() == genes["symbol"].tolist()
    assert cells.shape == (1000, 85) and cells.X.dtype == np.float32 and cells.X.format == "csr"
    library = np.expm1(cells.X.toarray().astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(library, library[0], rtol=1e-4)
    assert 0.05 < cells.X.nnz / np.prod(cells.shape) < 0.25

    obs = cells.obs.astype(str)
    assert list(obs) == ["condition", "cell_type", "dose_val", "control", "condition_name"]
    assert set(cells.obs.dtypes.astype(str)) == {"category"}
    control = obs[obs["condition"] == "ctrl"].drop_duplicates().to_numpy().tolist()
    assert control == [["ctrl", "A549", "1", "1", "A549_ctrl_1"]] and (obs["condition"] == "ctrl").sum() == 300
    perturbed = obs[obs["condition"] != "ctrl"]
    assert set(perturbed["dose_val"]) == {"1+1"} and set(perturbed["control"]) == {"0"}
    assert (perturbed["condition_name"] == "A549_" + perturbed["condition"] + "_1+1").all()
    both_ways = {label for label in perturbed["condition"] if label.startswith("ctrl+")}
    assert len(both_ways) == 4 and all(f"{label[5:]}+ctrl" in set(perturbed["condition"]) for label in both_ways)

    x, names = cells.to_df(), obs["condition_name"]
    silent = x.columns[(x[names == "A549_ctrl_1"] == 0).all()]
    for name in perturbed["condition_name"].unique():
        expressed = x.columns[(x[names == name] > 0).any()]
        kept = {"zero": expressed, "dropout": expressed.union(silent)}
        order = cells.uns[KEY][name]
        group, reference = (moments(cells.X[(names == one).to_numpy()]) for one in (name, "A549_ctrl_1"))
        scores = pd.Series(np.abs(t_scores(group, reference)), cells.var_names)[order]
        assert sorted(order) == sorted(cells.var_names) and (np.diff(scores) < 1e-3).all()
        for word, key in (("zero", "non_zeros_gene_idx"), ("dropout", "non_dropout_gene_idx")):
            assert cells.uns[key][name].tolist() == sorted(cells.var_names.get_indexer(kept[word]))
            wanted = [gene for gene in order if gene in kept[word]][:20]
            assert cells.uns[f"top_non_{word}_de_20"][name].tolist() == wanted


def test_it_is_read_as_the_screen_that_was_asked_for(folder: Path) -> None:
    known = Annotation.from_files([folder / "annotables_grch38.tsv.gz"], [])
    screen = read_screen(folder / "cache" / "norman.h5ad", annotation=known, min_cells=1)
    assert len(screen.conditions) == 14 and sum("+" in name for name in screen.conditions) == 6
    assert set(screen.stored_de) == set(screen.conditions) and len(screen.control_cells) == 300
    assert screen.notes["targets"] == 8 and not screen.notes["targets_not_measured"]


def test_the_warning_of_the_catalog_stands_in_the_screen(folder: Path) -> None:
    adamson, norman = Suite.read(TABLE1, [folder]).data
    assert "disagree with GEO's labels" in Bench(adamson, folder / "cache").screen.notes["labels_warning"]
    assert "labels_warning" not in Bench(norman, folder / "cache").screen.notes


def test_gears_gets_more_time_than_on_a_small_screen(folder: Path, tmp_path: Path) -> None:
    suite = Suite.read(TABLE1, [folder])
    (gears,) = (model for model in suite.models if model.kind == "peer")
    made = make_model(gears, Bench(suite.data[0], folder / "cache"), 0, tmp_path)
    assert isinstance(made, PeerModel) and made.time_limit == 172_800 > made.peer.time_limit


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--conditions", "60"], "60 single and 0 double perturbations of 85 genes"),
        (["--cells", "310"], "310 cells, 300 of them controls"),
    ],
)
def test_what_cannot_be_made_is_one_line(folder: Path, given: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        make(folder, "none", "--conditions", "12", *given)
    assert not (folder / "cache" / "none.h5ad").exists()
