"""The main job end to end, in process: artefacts, commands, real screens, the example."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy

from grape_dgl.cli import main
from grape_dgl.config import Config
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.blocks import gather, row_blocks
from grape_dgl.data.catalog import resolve
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen
from grape_dgl.data.splits import make_split
from grape_dgl.errors import DataError, ModelError
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.pipeline import train, variation
from grape_dgl.plots import change_figure
from grape_dgl.run import Run, warn_of_sameness
from grape_dgl.training import fit as fit_module
from grape_dgl.training.fit import Fit

DEMO = "demo:genes=80,conditions=14,cells=700"
SMALL = [
    "features.kmer=3", "model.hidden=32", "model.width=8", "model.heads=2", "structure.heads=2",
    "structure.sparsity=degree:6", "alignment.epochs=1", "training.epochs=2", "training.device=cpu",
]  # fmt: skip
FLAGS = [text for setting in SMALL for text in ("--set", setting)]
SCORES = {
    "rmse", "dac", "dac_nonzero", "pcc_delta", "pcc_delta_shared_control", "dac_de20", "pcc_delta_de20", "dac_de40",
    "pcc_delta_de40",
}  # fmt: skip
ARTEFACTS = {
    "config.toml", "split.json", "model", "log.csv", "graph.tsv.gz", "nodes.tsv", "predictions.h5ad", "metrics.csv",
    "metrics.json",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPE_DGL_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def screen() -> Screen:
    source = resolve(DEMO)
    return read_screen(source.path, annotation=Annotation.from_files(source.annotation, source.sequences))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "demo"
    assert main(["train", DEMO, "--out", str(out), "--seed", "3", *FLAGS]) == 0
    return out


def test_artefacts_are_exactly_those_documented(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == ARTEFACTS
    assert {path.name for path in (folder / "model").iterdir()} == {
        "model.json", "inputs.safetensors", "weights-0.safetensors",
    }  # fmt: skip


def test_config_and_split_are_those_asked_for(folder: Path, screen: Screen) -> None:
    config = Config.resolve(toml=folder / "config.toml")
    assert config == Config.resolve(settings=[*SMALL, "training.seed=3"])
    wanted = make_split(screen.conditions, config.split, 3)
    found = json.loads((folder / "split.json").read_text())
    assert all(tuple(found[part]) == getattr(wanted, part) for part in ("train", "val", "test"))


def test_predictions_file(folder: Path, screen: Screen) -> None:
    found = ad.read_h5ad(folder / "predictions.h5ad")
    test = json.loads((folder / "split.json").read_text())["test"]
    assert list(found.obs_names) == test and set(found.obs["split"]) == {"test"}
    assert list(found.var_names) == list(screen.genes.symbol[: screen.genes.measured])
    assert list(found.obs["n_cells"]) == [len(screen.cells(name)) for name in test]
    assert set(found.layers) == {"change", "observed", "control", "reference"}
    np.testing.assert_allclose(found.layers["control"], found.X - found.layers["change"], rtol=1e-5, atol=1e-6)
    halves = screen.control_halves(3)
    cells = screen.expression[np.concatenate([screen.cells(test[0]), halves.reference])].toarray()
    compared = ad.AnnData(cells, var=pd.DataFrame(index=found.var_names))
    compared.obs["group"] = ["a"] * len(screen.cells(test[0])) + ["b"] * len(halves.reference)
    scanpy.tl.rank_genes_groups(compared, "group", groups=["a"], reference="b", method="t-test", rankby_abs=True)
    assert set(found.obs["de_genes"].iloc[0].split()) == set(compared.uns["rank_genes_groups"]["names"]["a"][:20])
    half = halves.model
    np.testing.assert_allclose(found.var["control"], screen.control_mean(half), rtol=1e-5, atol=1e-6)
    for row, name in enumerate(test):
        np.testing.assert_allclose(found.layers["observed"][row], screen.mean(name), rtol=1e-5, atol=1e-6)
        apart = screen.control_mean(halves.reference, name)
        np.testing.assert_allclose(found.layers["reference"][row], apart, rtol=1e-5, atol=1e-6)
        wanted = found.layers["change"][row] + screen.control_mean(half, name)
        np.testing.assert_allclose(found.X[row], wanted, rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_a_number_leaves_the_run_as_of_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, loss = Fit.on_train_epoch_end, fit_module.structure_loss

    def broken(self: Fit) -> None:
        real(self)
        monkeypatch.setattr(fit_module, "structure_loss", lambda structure: math.nan * loss(structure))

    monkeypatch.setattr(Fit, "on_train_epoch_end", broken)
    out = tmp_path / "run"
    assert main(["train", DEMO, "--out", str(out), *FLAGS]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: the loss is nan in epoch 1, step 0; ") and f"'{out}' has the run as of" in said
    assert {path.name for path in out.iterdir()} == ARTEFACTS
    report = json.loads((out / "metrics.json").read_text())
    assert report["training"]["epochs"] == 1 and report["diverged"].startswith("the loss is nan in epoch 1")
    run = Run.load(out)
    assert np.isfinite(run.predict([str(run.genes.symbol[0])]).change).all()


def test_metrics_files(folder: Path) -> None:
    report = json.loads((folder / "metrics.json").read_text())
    assert list(report["test"]) == ["GRAPE", "control", "mean", "linear"] or set(report["test"]) == {
        "GRAPE", "control", "mean", "linear",
    }  # fmt: skip
    for scores in report["test"].values():
        assert set(scores) >= SCORES
        assert all(value is None or np.isfinite(value) for value in scores.values())
    found = ad.read_h5ad(folder / "predictions.h5ad")
    assert report["n_test"] == found.n_obs and report["peak_memory_mb"] > 0
    assert {"features", "align", "train", "predict", "baselines", "score", "total"} == set(report["seconds"])
    spent = report["training"]["seconds"]
    assert {"cells", "represent", "structure", "messages", "loss", "backward", "optimiser"} < set(spent)
    assert min(spent.values()) >= 0 and sum(spent.values()) <= report["seconds"]["train"] + 0.1  # no time counts twice
    assert report["training"]["epochs"] == len(pd.read_csv(folder / "log.csv"))
    rmse = np.sqrt(np.square(found.X - found.layers["observed"]).mean(axis=1)).mean()
    assert report["test"]["GRAPE"]["rmse"] == pytest.approx(rmse, rel=0.05)  # the reference half differs a little
    assert report["test"]["control"]["pcc_delta"] is None
    table = pd.read_csv(folder / "metrics.csv")
    assert {"model", "condition", "metric", "value"} <= set(table.columns)
    mean = table[(table.model == "mean") & (table.metric == "rmse")]
    assert len(mean) == report["n_test"]
    assert report["test"]["mean"]["rmse"] == pytest.approx(mean["value"].mean(), rel=1e-6)


def test_graph_and_nodes_files(folder: Path, screen: Screen) -> None:
    edges = pd.read_csv(folder / "graph.tsv.gz", sep="\t", keep_default_na=False)
    assert list(edges.columns) == ["source", "target", "relation", "weight"]
    nodes = pd.read_csv(folder / "nodes.tsv", sep="\t", keep_default_na=False)
    assert list(nodes["symbol"]) == list(screen.genes.symbol) and {"ensembl", "biotype"} <= set(nodes.columns)
    coding = dict(zip(screen.genes.symbol, screen.genes.coding, strict=True))
    for row in edges.itertuples():
        assert row.relation == {2: "cc", 1: "cn", 0: "nn"}[int(coding[row.source]) + int(coding[row.target])]
    assert (edges["source"] != edges["target"]).all() and edges["weight"].between(0.01, 1).all()
    assert len(edges)


def test_log_has_a_row_per_epoch(folder: Path) -> None:
    assert list(pd.read_csv(folder / "log.csv")["epoch"]) == [0, 1]


def test_run_is_usable(folder: Path) -> None:
    stored = ad.read_h5ad(folder / "predictions.h5ad")
    found = Run.load(folder).predict(list(stored.obs_names))
    np.testing.assert_allclose(found.change, stored.layers["change"], rtol=0, atol=1e-6)


def test_same_seed_same_run_with_cells_in_memory_or_on_disk(screen: Screen, tmp_path: Path) -> None:
    changes, kept = [], screen.expression
    on_disk = gather(row_blocks(kept, np.arange(kept.shape[0])), kept.shape[1], on_disk=True)
    for name, cells in (("a", screen), ("b", dataclasses.replace(screen, expression=on_disk))):
        run = train(cells, tmp_path / name, Config.resolve(settings=SMALL), cache=tmp_path)
        changes.append(run.predict(run.genes.symbol[:3].tolist()).change)
    np.testing.assert_array_equal(changes[0], changes[1])
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == (tmp_path / "b" / "metrics.csv").read_bytes()
    assert (tmp_path / "a" / "split.json").read_bytes() == (tmp_path / "b" / "split.json").read_bytes()


def test_nothing_is_overwritten_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "metrics.json").read_bytes()
    assert main(["train", DEMO, "--out", str(folder), *FLAGS]) == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
def test_a_failed_training_leaves_what_was_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    out = tmp_path / "run"
    if there:
        shutil.copytree(folder, out)
        (out / "notes.txt").write_text("mine")
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    flags = ["--set", "structure.sparsity=0.01", "--set", "structure.max_edges=10", "--force"]
    assert main(["train", DEMO, "--out", str(out), *FLAGS, *flags]) == 1
    assert "structure.max_edges allows 10" in capsys.readouterr().err
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if there else [])


def test_a_run_is_not_replaced_by_chance(folder: Path, screen: Screen) -> None:
    with pytest.raises(ModelError, match="holds a run already.*force=True"):
        train(screen, folder, Config.resolve(settings=SMALL))


def test_a_model_that_says_the_same_of_every_condition_is_called_so(caplog: pytest.LogCaptureFixture) -> None:
    """By hand: observed deviations +-1, predicted +-.01 and +-.5; what a target's own gene does is another matter."""
    observed = np.array([[3.0, 1.0], [1.0, 3.0]], np.float32)
    for size, said in ((0.01, True), (0.5, False)):
        caplog.clear()
        change = np.array([[2.0, 2.0], [2.0, 2.0]], np.float32) + size * np.array([[1, -1], [-1, 1]], np.float32)
        genes = np.array(["a", "b", "A", "B"], dtype=object)
        change, seen = (
            np.hstack([x, own]) for x, own in ((change, np.diag([-9.0, -7.0])), (observed, np.zeros((2, 2))))
        )
        found = Predictions(("A", "B"), genes, change, np.zeros(4), expected=change, observed=seen)
        share = variation(found)
        assert share == pytest.approx(size, abs=1e-4)
        warn_of_sameness(share)
        assert ("nearly the same change for every test condition" in caplog.text) == said


def test_split_file_in_the_labels_of_the_data(tmp_path: Path) -> None:
    """Guides and control labels that only the reading flags explain."""
    data = ad.read_h5ad(resolve(DEMO).path)
    names = [str(label) for label in data.obs["condition"].cat.categories]
    single = [name for name in names if name != "control" and "+" not in name]
    guide = {name: f"guide{i}" for i, name in enumerate(single)}
    data.obs["condition"] = [{**guide, "control": "mine"}.get(name, name) for name in data.obs["condition"].astype(str)]
    data.write_h5ad(tmp_path / "screen.h5ad")
    (tmp_path / "map.tsv").write_text("guide\ttarget\n" + "".join(f"{g}\t{t}\n" for t, g in guide.items()))
    labels = [guide[name] for name in single]
    split = {"train": labels[:4], "val": [], "test": [*labels[4:6], "mine"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    flags = ["--control", "mine", "--guide-map", str(tmp_path / "map.tsv"), "--split", str(tmp_path / "split.json")]
    out = tmp_path / "run"
    assert main(["train", str(tmp_path / "screen.h5ad"), "--min-cells", "5", "--out", str(out), *FLAGS, *flags]) == 0
    found = json.loads((out / "split.json").read_text())
    assert found["train"] == sorted(single[:4]) and found["test"] == sorted(single[4:6])
    read_with = json.loads((out / "metrics.json").read_text())["data"]["read_with"]
    assert read_with["control"] == ["mine"] and read_with["guide_map"] == str(tmp_path / "map.tsv")


def test_train_again_with_force_split_file_and_ensemble(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier run left is gone, other files stay; --json is the only thing on stdout."""
    out = tmp_path / "again"
    (out / "model").mkdir(parents=True)
    (out / "model" / "weights-7.safetensors").write_bytes(b"old")
    (out / "log-3.csv").write_text("old")
    (out / "notes.txt").write_text("mine")
    (out / "logbook.csv").write_text("mine")
    capsys.readouterr()
    flags = ["--split", str(folder / "split.json"), "--ensemble", "2", "--epochs", "1", "--force", "--json"]
    assert main(["train", DEMO, "--out", str(out), *FLAGS, *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "metrics.json").read_text())
    assert {path.name for path in out.iterdir()} == ARTEFACTS | {"notes.txt", "logbook.csv", "log-1.csv"}
    assert not (out / "model" / "weights-7.safetensors").exists()
    found = ad.read_h5ad(out / "predictions.h5ad")
    assert list(found.obs_names) == json.loads((folder / "split.json").read_text())["test"]
    assert (np.asarray(found.layers["std"]) > 0).any()


def test_build_graph_feeds_train(screen: Screen, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["build-graph", DEMO, "-o", str(tmp_path / "graph"), "--json", *FLAGS]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {path.name for path in (tmp_path / "graph").iterdir()} == {"graph.tsv.gz", "nodes.tsv", "graph.graphml"}
    edges = pd.read_csv(tmp_path / "graph" / "graph.tsv.gz", sep="\t", keep_default_na=False)
    assert sum(facts["nodes"].values()) == len(screen.genes) and sum(facts["edges"].values()) == len(edges)
    assert facts["mean_degree"] == pytest.approx(2 * len(edges) / len(screen.genes), abs=1e-3)
    assert facts["mean_degree"] <= 6 and "not evidence of causal" in facts["meaning"]

    run = train(screen, tmp_path / "run", Config.resolve(settings=SMALL), graph=tmp_path / "graph" / "graph.tsv.gz")
    given = run.ensemble.genes.given
    assert given is not None and len(given) == len(edges)
    back = Run.load(tmp_path / "run")
    table = tmp_path / "new.tsv"
    table.write_text("symbol\tdescription\nNEW1\tsomething new\n")
    with pytest.raises(ModelError, match="NEW1 is no node of this run, whose prior graph was given"):
        back.predict(["NEW1"], Annotation.from_files([table]))
    name = [str(screen.genes.symbol[0])]
    np.testing.assert_allclose(back.predict(name).change, run.predict(name).change, rtol=0, atol=1e-6)


def test_predict_prints_the_largest_changes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = pd.read_csv(folder / "nodes.tsv", sep="\t")["symbol"][:2]
    capsys.readouterr()
    assert main(["predict", str(folder), "--condition", f"{b}+{a}", "--top", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    change = Run.load(folder).predict([f"{a}+{b}"]).change[0]
    assert [abs(row["change"]) for row in rows] == pytest.approx(sorted(abs(change))[::-1][:4], abs=1e-4)
    assert {row["condition"] for row in rows} == {"+".join(sorted((a, b)))}
    assert main(["predict", str(folder), "--condition", a, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["condition", "gene", "change", "expected"] and len(lines) == 3


def test_predict_all_single_and_from_file(folder: Path, tmp_path: Path) -> None:
    symbols = list(pd.read_csv(folder / "nodes.tsv", sep="\t")["symbol"])
    out = tmp_path / "all.h5ad"
    assert main(["predict", str(folder), "--all-single", "-o", str(out)]) == 0
    described = Run.load(folder).described
    assert not described.all()  # what nothing is known of cannot be told from no perturbation
    assert list(ad.read_h5ad(out).obs_names) == [s for s, known in zip(symbols, described, strict=True) if known]
    assert main(["predict", str(folder), "--all-single", "-o", str(out)]) == 1  # exists
    report = json.loads((folder / "metrics.json").read_text())
    assert 0 < report["variation_elsewhere"] < 10
    (tmp_path / "list.txt").write_text(f"# mine\n{symbols[0]}\n\n{symbols[1]}+ctrl\n")
    flags = ["--from-file", str(tmp_path / "list.txt"), "-o", str(out), "--force"]
    assert main(["predict", str(folder), *flags]) == 0
    assert list(ad.read_h5ad(out).obs_names) == symbols[:2]
    deep = tmp_path / "new" / "folder" / "p.h5ad"
    assert main(["predict", str(folder), "--condition", symbols[0], "-o", str(deep)]) == 0 and deep.exists()
    assert main(["predict", str(folder), "--condition", symbols[0], "-o", str(tmp_path / "p.csv")]) == 1


def test_predict_all_single_prints_where_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["predict", str(folder), "--all-single", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * int(Run.load(folder).described.sum())


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--condition", "NOSUCHGENE"], 1, "NOSUCHGENE"),
        ([], 2, "Nothing to predict"),
        (["--from-file", "none.txt"], 1, "cannot read the conditions"),
    ],
)
def test_predict_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, message: str
) -> None:
    assert main(["predict", str(folder), *flags]) == code
    found = capsys.readouterr()
    assert message in found.err and not found.out


def test_plot(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condition = json.loads((folder / "split.json").read_text())["test"][0]
    gene = pd.read_csv(folder / "graph.tsv.gz", sep="\t")["source"][0]
    flags = ["--condition", condition, "--gene", gene, "-o", str(tmp_path / "plots")]
    for ending, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        capsys.readouterr()
        assert main(["plot", str(folder), *flags, "--format", ending, "--force"]) == 0
        paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
        assert {path.stem for path in paths} == {f"change-{condition}", f"network-{gene}", "training"}
        assert all(path.read_bytes().startswith(magic) for path in paths)
    assert main(["plot", str(tmp_path)]) == 1
    capsys.readouterr()
    assert main(["plot", str(folder), "--condition", condition, "-o", str(tmp_path / "more"), "--json"]) == 0
    stems = {Path(path).stem for path in json.loads(capsys.readouterr().out).values()}
    edges = pd.read_csv(folder / "graph.tsv.gz", sep="\t")
    linked = {target for target in condition.split("+") if target in {*edges["source"], *edges["target"]}}
    assert linked and stems == {f"change-{condition}", "training", *(f"network-{target}" for target in linked)}
    trained_on = json.loads((folder / "split.json").read_text())["train"][0]
    assert main(["plot", str(folder), "--condition", trained_on, "-o", str(tmp_path / "none")]) == 1
    assert f"no prediction of condition '{trained_on}' beside an observation; there are" in capsys.readouterr().err


def test_a_graph_of_a_network_that_stays_silent_is_called_hardly_trained(folder: Path, tmp_path: Path) -> None:
    """In the figure's title, by ``training.silent`` of metrics.json; not where one network of several speaks."""
    gene = pd.read_csv(folder / "graph.tsv.gz", sep="\t")["source"][0]
    report = json.loads((folder / "metrics.json").read_text())
    assert report["training"]["silent"] == [False]
    copy = shutil.copytree(folder, tmp_path / "run")
    for silent, said in (([False], False), ([True, False], False), ([True, True], True)):
        report["training"]["silent"] = silent
        (copy / "metrics.json").write_text(json.dumps(report))
        assert main(["plot", str(copy), "--gene", gene, "--format", "svg", "--force"]) == 0
        assert ("hardly trained" in (copy / "plots" / f"network-{gene}.svg").read_text()) == said


def test_names_of_genes_that_lie_together_do_not_cover_each_other() -> None:
    genes = np.array([f"GENE{number}" for number in range(12)], dtype=object)
    observed = np.array([[*np.linspace(0.5, 0.505, 8), -2.0, 2.0, 0.0, 0.0]], np.float32)
    nothing = np.zeros_like(observed[0])
    found = Predictions(("A",), genes, observed / 2, nothing, expected=observed / 2, observed=observed)
    figure = change_figure(found, "A")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) == 10
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


def test_a_modality_that_the_screen_lacks(tmp_path: Path) -> None:
    source = resolve(DEMO)
    screen = read_screen(source.path, annotation=Annotation.from_files(source.annotation))
    with pytest.raises(DataError, match="no gene has a DNA sequence; give --annotation or --sequences"):
        train(screen, tmp_path / "run", Config.resolve(settings=[*SMALL, "model.ablation=only_seq"]))
    assert not (tmp_path / "run").exists()


def test_an_ablation_to_what_some_targets_lack(
    screen: Screen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are named, and predicted as the mean of the training conditions is."""
    bare = str(screen.genes.symbol[screen.targets(screen.conditions[0])[0]])
    pairs = zip(screen.genes.symbol, screen.genes.sequence, strict=True)
    sequences = tuple("" if symbol == bare else dna for symbol, dna in pairs)
    lacking = dataclasses.replace(screen, genes=dataclasses.replace(screen.genes, sequence=sequences))
    run = train(lacking, tmp_path / "run", Config.resolve(settings=[*SMALL, "model.ablation=only_seq"]))
    assert f"perturbed genes ({bare}" in caplog.text or f", {bare}" in caplog.text
    assert run.predict([bare]).change.shape == (1, screen.genes.measured)


def test_progress_goes_to_stderr_and_data_to_stdout(tmp_path: Path) -> None:
    """With a terminal on stderr and a pipe on stdout."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")
    termios = pytest.importorskip("termios")
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 120))
    command = [sys.executable, "-m", "grape_dgl", "train", DEMO, "--out", str(tmp_path / "run"), "--json", *FLAGS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        said = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            said += part
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
    os.close(terminal)
    assert process.returncode == 0 and report["n_test"]
    assert b"train: 100%" in said and b"2/2" in said and b"val_rmse" in said


def test_unknown_settings_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["train", DEMO, "--out", out, "--set", "structure.haeds=5"]) == 1
    assert "did you mean 'heads'" in capsys.readouterr().err
    assert main(["train", DEMO]) == 2 and main(["train", DEMO, "--out", out, "--nonsense"]) == 2
    assert main(["train", str(tmp_path / "none.h5ad"), "--out", out]) == 1
    assert not Path(out).exists()


@pytest.mark.parametrize("name", ["norman_subset.h5ad", "papalexi_subset.h5ad"])
def test_real_screens(shared_data: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Two epochs with real annotation and promoters; every target is described, every score is finite or counted."""
    data, table, promoters = (shared_data(file) for file in (name, "annotables_grch38.tsv.gz", "epd_promoters.fa"))
    out = tmp_path / "run"
    flags = ["--annotation", str(table), "--sequences", str(promoters), *FLAGS, "--set", "features.kmer=2"]
    assert main(["train", str(data), "--out", str(out), "--cache", str(tmp_path / "cache"), *flags]) == 0
    report = json.loads((out / "metrics.json").read_text())
    assert report["n_test"] >= 3 and report["test"]["GRAPE"]["rmse"] > 0
    run = Run.load(out)
    test = json.loads((out / "split.json").read_text())["test"]
    assert np.isfinite(run.predict(test).change).all()
    assert set(run.ensemble.genes.widths) == {"seq", "text"}
    targets = {target for condition in run.conditions for target in condition.split("+")}
    rows = [run.genes.index(target) for target in targets]
    known = run.ensemble.genes.present["seq"] | run.ensemble.genes.present["text"]
    assert bool(known[rows].all())


def test_quickstart_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).parents[1] / "examples" / "01_quickstart.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "run")])
    runpy.run_path(str(script), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(len(line.split()) == 3 for line in lines)
    assert {path.name for path in (tmp_path / "run").iterdir()} == ARTEFACTS


def test_a_finished_run_is_not_gone_on_with_by_other_settings(
    folder: Path, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command ends at once, with nothing changed; another seed or other settings are refused."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = ["train", DEMO, "--out", str(folder), "--resume"]
    assert main([*again, "--seed", "3", *FLAGS]) == 0
    assert main([*again, "--seed", "4", *FLAGS]) == 1
    assert "began with other settings and other split" in capsys.readouterr().err
    assert main([*again, "--seed", "3", *FLAGS, "--set", "training.lr=0.5"]) == 1
    assert "began with other settings" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
