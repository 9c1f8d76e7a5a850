"""A run folder that an earlier version wrote is loaded by this one, and predicts what it predicted then.

``format_1`` was written on 26 November 2026 by this file (``PYTHONPATH=tests python FILE FOLDER``; less its scores).
A new format gets a folder of its own; this one stays as it is.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from engines import ENGINES

from grape_dgl.cli import main
from grape_dgl.engine import Engine
from grape_dgl.run import Run

FOLDER = Path(__file__).parent / "format_1"
SCREEN = "demo:genes=30,conditions=8,cells=200"
SETTINGS = (
    "features.text_pooling=mean", "features.kmer=3", "model.hidden=8", "model.width=4", "model.heads=2",
    "structure.heads=2", "structure.sparsity=degree:4", "alignment.epochs=1", "training.epochs=2",
    "training.ensemble=2",
)  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_of_format_1(engine: Engine, tmp_path: Path) -> None:
    run = Run.load(FOLDER, engine=engine, device="cpu")
    before = ad.read_h5ad(FOLDER / "predictions.h5ad")
    now = run.predict(before.obs_names.tolist())
    np.testing.assert_allclose(now.change, before.layers["change"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(now.std, before.layers["std"], rtol=0, atol=1e-6)
    assert run.genes.symbol[: run.genes.measured].tolist() == before.var_names.tolist()
    for command in (
        "info {run}",
        "plot {run} --condition {condition} --out {out}",
        "predict {run} --all-single --out {out}.h5ad",
    ):
        given = {"run": FOLDER, "condition": before.obs_names[0], "out": tmp_path / "out"}
        assert main([word.format(**given) for word in command.split()]) == 0


if __name__ == "__main__":
    out = Path(sys.argv[1])
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    if main(["train", SCREEN, "--out", str(out), "--min-cells", "2", *settings]) == 0:
        shutil.rmtree(out / "cache", ignore_errors=True)
