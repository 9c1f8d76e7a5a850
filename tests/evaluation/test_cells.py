"""Predicted cells: means as pandas has them, distances against what is known of the samples they come from."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from evaluation.screens import GENES, simulated
from grape_dgl.data.screen import Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.cells import cell_scores, pseudobulks, read_cells
from grape_dgl.evaluation.distances import e_distance
from grape_dgl.evaluation.views import halves


@pytest.fixture(scope="module")
def screen() -> Screen:
    return simulated(cells=120, controls=200)


def predicted(screen: Screen, rows: dict[str, np.ndarray]) -> ad.AnnData:
    """Cells of the screen that pose as predictions of conditions, genes in another order."""
    labels = np.repeat(list(rows), [len(found) for found in rows.values()])
    x = screen.expression[np.concatenate(list(rows.values()))]
    cells = ad.AnnData(x, pd.DataFrame({"condition": labels}, index=[f"c{i}" for i in range(len(labels))]))
    cells.var_names = GENES
    return cells[:, list(GENES[::-1])].copy()


def test_means_are_those_of_pandas(screen: Screen) -> None:
    cells = predicted(screen, {"G03": screen.cells("G03"), "G00": screen.cells("G00")[:7]})
    found = pseudobulks(cells).to_df()
    wanted = cells.to_df().groupby(cells.obs["condition"].to_numpy()).mean()
    np.testing.assert_allclose(found.loc[wanted.index, wanted.columns], wanted, rtol=1e-5)


def test_a_model_that_draws_true_cells_is_at_the_ceiling_and_one_that_draws_controls_at_the_floor(
    screen: Screen,
) -> None:
    control, labels = screen.control_halves(0), {name: name for name in screen.conditions}
    spare = {name: halves(screen, name, screen.cells(name), 0)[1] for name in labels}  # cells that are not observed
    good = cell_scores(screen, control, predicted(screen, spare), labels, "good")
    idle = cell_scores(screen, control, predicted(screen, dict.fromkeys(labels, control.model)), labels, "idle")
    for table, name, like in ((good, "good", "ceiling"), (idle, "idle", "control")):
        means = table.pivot_table(index="metric", columns="model", values="value")
        gap = means["control"] - means["ceiling"]
        assert (gap > 0.3 * means["control"]).all()
        assert ((means[name] - means[like]).abs() < 0.25 * gap).all(), means
    one = good[(good["model"] == "ceiling") & (good["metric"] == "e_distance")].iloc[0]
    observed, repeat = halves(screen, one["condition"], screen.cells(one["condition"]), 0)
    assert len(repeat) == 60  # fewer than the control cells: all of them are drawn, in whatever order
    wanted = e_distance(screen.expression[repeat].toarray(), screen.expression[observed].toarray())
    assert one["value"] == pytest.approx(wanted)


def test_no_sample_is_larger_than_another(screen: Screen) -> None:
    """A distance falls with the size of a sample: with 5 predicted cells, control and ceiling have 5 as well."""
    labels = {"G00": "G00"}
    few = predicted(screen, {"G00": screen.cells("G00")[:5]})
    table = cell_scores(screen, screen.control_halves(0), few, labels, "few").set_index(["model", "metric"])["value"]
    many = predicted(screen, {"G00": screen.cells("G00")})
    other = cell_scores(screen, screen.control_halves(0), many, labels, "many").set_index(["model", "metric"])["value"]
    assert table["ceiling", "e_distance"] > 2 * other["ceiling", "e_distance"]


def test_excluded_targets_count_for_nothing(screen: Screen) -> None:
    """Whatever is predicted of G00 in cells of G00: without it the distances are those of the other genes."""
    halves, labels, cells = screen.control_halves(0), {"G00": "G00"}, predicted(screen, {"G00": screen.cells("G00")})
    wrong = cells.copy()
    wrong.X = wrong.X.toarray() + 5 * (wrong.var_names == "G00")
    wrong.X = sp.csr_matrix(wrong.X)

    def values(given: ad.AnnData, exclude: bool) -> np.ndarray:
        table = cell_scores(screen, halves, given, labels, "m", exclude_targets=exclude)
        return table.set_index(["model", "metric"]).loc["m", "value"].to_numpy()

    np.testing.assert_array_equal(values(cells, True), values(wrong, True))
    assert (values(wrong, False) > values(cells, False) + 0.1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.obs.drop(columns="condition", inplace=True), "no predicted cells"),
        (lambda cells: cells.X.data.__setitem__(0, np.inf), "NaN or infinite"),
        (lambda cells: setattr(cells, "var_names", ["A"] * cells.n_vars), "repeats gene names"),
    ],
)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_bad_files_are_refused(screen: Screen, tmp_path: Path, change: object, message: str) -> None:
    cells = predicted(screen, {"G00": screen.cells("G00")})
    assert callable(change)
    change(cells)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(DataError, match=message):
        read_cells(tmp_path / "cells.h5ad")
    with pytest.raises(DataError, match="there is no file"):
        read_cells(tmp_path / "none.h5ad")
