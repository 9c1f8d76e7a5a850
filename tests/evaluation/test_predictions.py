"""The predictions file: written = read, foreign files, and what is wrong with broken ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from evaluation.screens import GENES, simulated
from grape_dgl.errors import DataError
from grape_dgl.evaluation.predictions import Predictions

NAMES = ("G00", "G00+G02", "G03")
MATRICES = ("change", "expected", "std", "observed")


def _predictions(matched: bool = False) -> Predictions:
    rng = np.random.default_rng(0)
    change = rng.normal(size=(3, 60)).astype(np.float32)
    control = rng.random(60).astype(np.float32)
    own = control + (rng.random((3, 60)).astype(np.float32) if matched else 0)
    observed = rng.random((3, 60)).astype(np.float32)
    observed[2] = np.nan
    return Predictions(
        conditions=NAMES,
        genes=np.array(GENES, dtype=object),
        change=change,
        control=control,
        expected=change + own,
        std=rng.random((3, 60)).astype(np.float32),
        observed=observed,
        split=("test", "test", "unseen"),
        n_cells=np.array([40, 30, 0]),
        info={"model": "GRAPE", "seed": 7, "ensemble": 3, "note": None},
    )


def _same(a: Predictions, b: Predictions) -> None:
    for field in MATRICES:
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)
    np.testing.assert_array_equal(a.control, b.control)
    assert (a.conditions, list(a.genes), a.split, a.n_cells.tolist()) == (
        b.conditions, list(b.genes), b.split, b.n_cells.tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("matched", [False, True])
def test_saved_is_loaded(tmp_path: Path, matched: bool) -> None:
    own = _predictions(matched)
    own.write(tmp_path / "p.h5ad")
    read = Predictions.read(tmp_path / "p.h5ad")
    _same(own, read)
    assert read.info == {"model": "GRAPE", "seed": 7, "ensemble": 3}
    assert isinstance(read.info["seed"], int)
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5ad"]


def test_the_file_is_what_others_build_on(tmp_path: Path) -> None:
    own = _predictions()
    own.write(tmp_path / "p.h5ad")
    data = ad.read_h5ad(tmp_path / "p.h5ad")
    assert tuple(data.obs_names) == NAMES
    assert tuple(data.var_names) == GENES
    assert set(data.layers) == {"change", "observed", "std"}
    assert data.obs["n_cells"].tolist() == [40, 30, 0]
    np.testing.assert_allclose(data.X, data.layers["change"] + data.var["control"].to_numpy(), atol=1e-6)
    assert np.isnan(data.layers["observed"][2]).all()
    matched = _predictions(matched=True).to_anndata()
    np.testing.assert_allclose(matched.X, matched.layers["change"] + matched.layers["control"], atol=1e-6)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.h5ad"
    path.write_text("old")
    monkeypatch.setattr(ad.AnnData, "write_h5ad", lambda self, name: (Path(name).write_text("half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        _predictions().write(path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_foreign_file_needs_only_expression_and_names(tmp_path: Path) -> None:
    screen = simulated(batches=2)
    halves = screen.control_halves(0)
    rng = np.random.default_rng(1)
    x = rng.random((3, 61)).astype(np.float32)
    order = rng.permutation(61)
    data = ad.AnnData(sp.csr_matrix(x[:, order]))
    data.obs_names = ["G02+G00", "G03+ctrl", "ctrl"]
    data.var_names = np.array([*GENES, "OTHER"])[order]
    data.write_h5ad(tmp_path / "foreign.h5ad")
    read = Predictions.read(tmp_path / "foreign.h5ad")
    assert np.isnan(read.change).all()
    found = read.against(screen, halves)
    assert found.conditions == ("G00+G02", "G03")
    assert tuple(found.genes) == GENES
    np.testing.assert_array_equal(found.expected, x[:2, :60])
    base = np.stack([screen.control_mean(halves.model, c) for c in found.conditions])
    np.testing.assert_allclose(found.change, x[:2, :60] - base, atol=1e-6)


def test_a_foreign_file_may_bring_its_control(tmp_path: Path) -> None:
    data = ad.AnnData(np.ones((1, 2), np.float32))
    data.obs_names, data.var_names = ["A"], ["X", "Y"]
    data.var["control"] = [0.25, 0.5]
    assert Predictions.from_anndata(data).change.tolist() == [[0.75, 0.5]]


def test_against_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    screen, own = simulated(), _predictions()
    halves = screen.control_halves(0)
    fewer = own.select([0, 1], range(50))
    with pytest.raises(DataError, match=r"lack 10 of the 60 measured genes: G50, G51, G52, G53, G54, \.\.\.; .*--hvg"):
        fewer.against(screen, halves)
    with pytest.raises(DataError, match="none of the 1 predicted conditions has cells in the data: nonsense; .*G00"):
        dataclasses.replace(own.select([0]), conditions=("nonsense",)).against(screen, halves)
    with pytest.raises(DataError, match=r"name a condition twice: G00\+G02"):
        dataclasses.replace(own.select([0, 1]), conditions=("G00+G02", "G02+G00")).against(screen, halves)
    renamed = dataclasses.replace(own, conditions=("G00", "G50", "elsewhere"))
    assert renamed.against(screen, halves).conditions == ("G00",)
    assert "2 predicted conditions have no cells and are not scored: G50, elsewhere" in caplog.text


def test_relabelled_genes_only_relabel() -> None:
    screen, own = simulated(), _predictions()
    order = np.random.default_rng(2).permutation(60)
    shuffled = own.select(range(3), order)
    halves = screen.control_halves(0)
    _same(shuffled.against(screen, halves), own.against(screen, halves))


def _broken(**changes: object) -> ad.AnnData:
    data = _predictions().to_anndata()
    if "X" in changes:
        data.X = changes["X"]
    if "change" in changes:
        data.layers["change"] = changes["change"]
    for names in ("obs_names", "var_names"):
        if names in changes:
            setattr(data, names, changes[names])
    return data


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_broken(X=None), "'p' has no X; expected the predicted mean expression"),
        (_broken(X=np.full((3, 60), np.nan)), "'p' holds NaN or infinite predictions in X"),
        (_broken(change=np.full((3, 60), np.inf)), r"'p' holds NaN or infinite values in layers\['change'\]"),
        (
            _broken(obs_names=["A", "A", "B"]),
            r"'p' repeats obs_names \(conditions\): A; expected one row per condition",
        ),
        (_broken(var_names=["G"] * 60), r"'p' repeats var_names \(genes\): G;"),
    ],
)
def test_broken_files_say_what_is_wrong(data: ad.AnnData, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions.from_anndata(data, "p")


def test_no_file_and_no_h5ad(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file '.*nothing.h5ad'; expected a predictions.h5ad"):
        Predictions.read(tmp_path / "nothing.h5ad")
    (tmp_path / "text.h5ad").write_text("hello")
    with pytest.raises(DataError, match=r"text.h5ad' is no .h5ad file"):
        Predictions.read(tmp_path / "text.h5ad")


def test_shapes_must_fit() -> None:
    with pytest.raises(DataError, match=r"'std' has shape \(2, 60\); expected \(3, 60\)"):
        dataclasses.replace(_predictions(), std=np.zeros((2, 60)))
