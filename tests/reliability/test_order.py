"""Numbers do not depend on what cannot matter: the order in the file, the hash seed, the number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from plain_screen import SMALL, plain, write

from grape_dgl.config import Config
from grape_dgl.data.read import read_screen
from grape_dgl.pipeline import train

SETTINGS = [*SMALL, "training.epochs=3"]


def test_order_of_cells_and_genes_in_the_file(tmp_path: Path) -> None:
    """The same run, bit for bit, batches and DE genes included."""
    adata = plain()
    adata.obs["batch"] = np.resize(["a", "b", "b"], adata.n_obs)
    draw = np.random.default_rng(1)
    mixed = adata[draw.permutation(adata.n_obs), draw.permutation(adata.n_vars)].copy()
    found = {}
    for name, one in (("as it is", adata), ("mixed", mixed)):
        one.write_h5ad(tmp_path / "screen.h5ad")
        train(read_screen(tmp_path / "screen.h5ad"), tmp_path / name, Config.resolve(settings=SETTINGS))
        predictions = ad.read_h5ad(tmp_path / name / "predictions.h5ad")
        found[name] = {
            "scores": (tmp_path / name / "metrics.csv").read_text(),
            "genes": predictions.var_names.tolist(),
            "predicted": np.asarray(predictions.X).tobytes(),
            "observed": np.asarray(predictions.layers["observed"]).tobytes(),
            "obs": predictions.obs.to_csv(),
        }
    assert found["as it is"] == found["mixed"]


def run(folder: Path, screen: str, **environment: str) -> pd.DataFrame:
    command = [sys.executable, "-m", "grape_dgl", "train", screen, "--out", str(folder)]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    subprocess.run([*command, *settings], check=True, env=os.environ | environment, capture_output=True)
    return ad.read_h5ad(folder / "predictions.h5ad").to_df()


def test_hash_seed_and_threads(tmp_path: Path) -> None:
    screen = write(tmp_path)
    one = run(tmp_path / "one", screen, PYTHONHASHSEED="1", OMP_NUM_THREADS="2")
    two = run(tmp_path / "two", screen, PYTHONHASHSEED="2", OMP_NUM_THREADS="2")
    np.testing.assert_array_equal(one, two)
    facts = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    for fact in facts:
        for name in ("seconds", "training", "peak_memory_mb"):
            del fact[name]
    assert facts[0] == facts[1]
    alone = run(tmp_path / "alone", screen, PYTHONHASHSEED="1", OMP_NUM_THREADS="1")
    np.testing.assert_allclose(one, alone, rtol=0, atol=1e-4)
