"""Distances of predicted cells in a suite that names them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from grape_dgl.suite.jobs import collect, jobs_of, run_job
from grape_dgl.suite.models import Bench
from grape_dgl.suite.spec import Suite
from suite.small_suite import SUITE, write_suite

MODELS = """
[[model]]
name = "{}"
kind = "sams_vae"
settings = ["epochs=2", "latent=2", "hidden=8", "draws=50"]

[[model]]
name = "ceiling of cells"
kind = "ceiling"
"""


def scored(folder: Path, name: str) -> pd.DataFrame:
    """All rows of one split of a suite in which SAMS-VAE is called ``name``."""
    head, data, *models = SUITE.replace("seeds = 2", 'seeds = 1\nmetrics = ["e_distance"]').split("[[")
    text = "[[".join([head, data, *models[:2]]).replace('name = "control"', 'name = "unchanged"\nkind = "control"')
    folder.mkdir()
    suite = Suite.read(write_suite(folder, text + MODELS.format(name)))
    jobs, bench = jobs_of(suite), Bench(suite.data[0], folder / "cache")
    for job in jobs:
        run_job(job, bench, folder)
    return collect(jobs, folder)


def test_models_that_predict_cells_have_distances_whatever_they_are_called(tmp_path: Path) -> None:
    table, other = scored(tmp_path / "one", "SAMS-VAE"), scored(tmp_path / "other", "control")
    found = table[table["metric"] == "e_distance"].pivot(index="condition", columns="model", values="value")
    assert set(found) == {"unchanged", "SAMS-VAE", "ceiling of cells"}  # the mean predicts no cells
    assert found.notna().all(axis=None) and len(found) == table["condition"].nunique()
    assert (found["ceiling of cells"] < found["unchanged"]).all()  # a repeat is nearer than the control
    again = other[other["metric"] == "e_distance"].pivot(index="condition", columns="model", values="value")
    assert again["control"].tolist() == pytest.approx(found["SAMS-VAE"].tolist())
    assert "mmd" not in set(table["metric"])
