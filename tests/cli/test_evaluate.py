"""``grape-dgl evaluate``: the numbers of the Python functions, from files; what it says and refuses."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from grape_dgl.cli import main
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen
from grape_dgl.evaluation.evaluate import evaluate, metric_names, summary
from grape_dgl.evaluation.predictions import Predictions

NAMES = ("G0", "G0+G1", "G2")
SEED = 5


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.repeat(["ctrl", "G0+ctrl", "G1+G0", "G2+ctrl"], [60, 40, 40, 40])
    x = rng.poisson(2.0 + np.arange(30) % 3, (len(labels), 30)).astype(np.float32)
    x[labels == "G2+ctrl", 3:9] += 4
    obs = pd.DataFrame({"condition": labels}, index=[f"cell{i}" for i in range(len(labels))])
    ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(30)])).write_h5ad(tmp_path / "truth.h5ad")
    return tmp_path / "truth.h5ad"


@pytest.fixture
def screen(truth: Path) -> Screen:
    return read_screen(truth)


@pytest.fixture
def predictions(screen: Screen) -> Predictions:
    change = np.random.default_rng(1).normal(0, 0.2, (3, 30)).astype(np.float32)
    control = screen.control_mean(screen.control_halves(SEED).model)
    genes = screen.genes.symbol[:30]
    info = {"model": "GRAPE", "seed": SEED}
    return Predictions(NAMES, genes, change, control, change + control, split=("test",) * 3, info=info)


def test_files_give_the_scores_of_the_functions(
    truth: Path, screen: Screen, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write(tmp_path / "p.h5ad")
    out = tmp_path / "metrics.csv"
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "--json", "-o", str(out)]) == 0
    said = capsys.readouterr()
    changes = {"GRAPE": predictions.change, "control": np.zeros((3, 30))}
    table = evaluate(screen, screen.control_halves(SEED), changes, NAMES, SEED)
    assert json.loads(said.out) == {**summary(table), "seed": SEED}
    written = pd.read_csv(out, keep_default_na=True).fillna({"reason": ""})
    pd.testing.assert_frame_equal(written, table)
    assert "differs" not in said.err
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "-o", str(out), "--force"]) == 0


def test_the_table_has_a_line_per_metric(
    truth: Path, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write(tmp_path / "p.h5ad")
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["GRAPE", "control"]
    assert [line.split()[0] for line in lines[1 : 1 + len(metric_names())]] == metric_names()
    assert lines[1 + metric_names().index("pcc_delta")].split()[2] == "-"
    assert lines[1 + len(metric_names())].startswith("mean over 3 conditions")


def test_a_foreign_file_scores_as_ours(
    truth: Path, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = ad.AnnData(predictions.expected[:, ::-1].copy())
    foreign.obs_names, foreign.var_names = ["G0+ctrl", "G1+G0", "G2"], predictions.genes[::-1].astype(str)
    foreign.write_h5ad(tmp_path / "foreign.h5ad")
    predictions.write(tmp_path / "own.h5ad")
    found = []
    for name, more in (("own", []), ("foreign", ["--seed", str(SEED)])):
        assert main(["evaluate", str(tmp_path / f"{name}.h5ad"), "--truth", str(truth), "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["test"]["GRAPE" if name == "own" else "foreign"])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_other_controls_and_training_conditions_are_said(
    truth: Path, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataclasses.replace(predictions, split=("train", "test", "test")).write(tmp_path / "p.h5ad")
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "--seed", "9", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["n_test"] == 2
    assert "1 conditions were trained or validated on and are not scored" in said.err
    assert "--seed 9 is not the seed of the predictions (5)" in said.err
    assert "may have seen the reference cells" in said.err


def test_excluded_targets_reach_the_scores(
    truth: Path, screen: Screen, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write(tmp_path / "p.h5ad")
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "--exclude-targets", "--json"]) == 0
    halves = screen.control_halves(SEED)
    table = evaluate(screen, halves, {"GRAPE": predictions.change}, NAMES, SEED, exclude_targets=True)
    assert json.loads(capsys.readouterr().out)["test"]["GRAPE"] == summary(table)["test"]["GRAPE"]


def test_an_export_has_every_gene(predictions: Predictions, tmp_path: Path) -> None:
    predictions.write(tmp_path / "p.h5ad")
    asked = ["--export", "cell-eval", "-o", str(tmp_path / "pair"), "--exclude-targets"]
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", "demo", *asked]) == 2
    assert not (tmp_path / "pair").exists()


def test_only_the_asked_metrics(
    truth: Path, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write(tmp_path / "p.h5ad")
    asked = ["--metric", "mae_delta", "--metric", "direction_match_wilcoxon"]
    assert main(["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), *asked, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["test"]["GRAPE"]) == ["mae_delta", "direction_match_wilcoxon"]


def test_export_writes_the_pair_and_says_how_to_score_it(
    truth: Path, screen: Screen, predictions: Predictions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write(tmp_path / "p.h5ad")
    command = ["evaluate", str(tmp_path / "p.h5ad"), "--truth", str(truth), "--export", "cell-eval"]
    out = tmp_path / "a pair"
    assert main([*command, "-o", str(out)]) == 0
    said = capsys.readouterr().out.strip()
    assert said == f"cell-eval run -ap '{out / 'predicted.h5ad'}' -ar '{out / 'real.h5ad'}'"
    real, predicted = (ad.read_h5ad(out / name) for name in ("real.h5ad", "predicted.h5ad"))
    assert sorted(path.name for path in out.iterdir()) == ["predicted.h5ad", "real.h5ad"]
    control = screen.control_halves(SEED)
    for data, rows in ((real, control.reference), (predicted, control.model)):
        label = data.obs["target_gene"].astype(str)
        assert {*label} == {*NAMES, "non-targeting"}
        assert np.array_equal(data[label == "non-targeting"].X.toarray(), screen.expression[rows].toarray())
    cells = predicted[predicted.obs["target_gene"].astype(str) == "G0+G1"].X.toarray()
    expected = np.maximum(predictions.expected[NAMES.index("G0+G1")], 0)
    assert cells.mean(0) == pytest.approx(expected, abs=1e-4)
    assert main([*command, "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*command, "-o", str(out), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["real"] == str(out / "real.h5ad")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["TRUTH", "--truth", "TRUTH", "--export", "cell-eval"], 2, "say which with -o FOLDER"),
        (["TRUTH", "--truth", "TRUTH", "--metric", "rsme"], 1, "no metric 'rsme'; did you mean 'rmse'"),
        (["missing.h5ad", "--truth", "TRUTH"], 1, "error: there is no file 'missing.h5ad'"),
        (["TRUTH"], 2, "--truth"),
        (["TRUTH", "--truth", "missing.h5ad"], 1, "error: .*missing.h5ad"),
        (["TRUTH", "--truth", "TRUTH"], 1, "error: none of the 180 predicted conditions has cells"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, message: str, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *(str(truth) if a == "TRUTH" else a for a in arguments)]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(message, said.err)


def test_predicted_cells_are_scored_by_their_means_and_as_cells(
    truth: Path, screen: Screen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels as the file of the truth spells them; the means are those of a file of means."""
    draw = np.random.default_rng(3)
    labels = np.repeat(["G1+G0", "G2+ctrl"], 25)
    x = draw.gamma(2.0, 0.5, (50, 30)).astype(np.float32)
    cells = ad.AnnData(x, pd.DataFrame({"condition": labels}, index=[f"c{i}" for i in range(50)]))
    cells.var_names = [f"G{i}" for i in range(30)]
    cells.write_h5ad(tmp_path / "mine.h5ad")
    out = tmp_path / "scores.csv"
    assert (
        main(["evaluate", str(tmp_path / "mine.h5ad"), "--cells", "--truth", str(truth), "--json", "-o", str(out)]) == 0
    )
    scores = json.loads(capsys.readouterr().out)
    control = screen.control_halves(0)
    base = screen.control_mean(control.model)
    x = cells[:, screen.genes.symbol[:30]].X
    change = np.stack([x[labels == label].mean(axis=0) - base for label in ("G1+G0", "G2+ctrl")])
    wanted = summary(evaluate(screen, control, {"mine": change}, ["G0+G1", "G2"]))
    assert scores["test"]["mine"] == pytest.approx(wanted["test"]["mine"], rel=1e-5)
    assert set(scores["cells"]["test"]) == {"mine", "control", "ceiling"}
    table = pd.read_csv(out)
    distances = table[table["metric"] == "e_distance"].pivot_table(index="condition", columns="model", values="value")
    assert list(distances.index) == ["G0+G1", "G2"] and (distances["mine"] > distances["ceiling"]).all()
    assert main(["evaluate", str(tmp_path / "mine.h5ad"), "--cells", "--truth", str(truth)]) == 0
    assert "ceiling" in capsys.readouterr().out
