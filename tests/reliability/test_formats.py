"""A run folder that an earlier version wrote is loaded by this one, and predicts what it predicted then.

``format_1``, ``format_2`` and ``format_3`` were written in November 2026 by this file (``PYTHONPATH=tests python FILE
PRESET FOLDER``; less their scores), with the presets ``default`` and ``best``. A new format gets a folder of its own;
these stay as they are. What is known of genes joined the response of the third (``response.gate=0``).
"""

from __future__ import annotations

import json
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

SCREEN = "demo:genes=30,conditions=8,cells=200"
SETTINGS = (
    "features.text_pooling=mean", "features.kmer=3", "model.hidden=8", "model.width=4", "model.heads=2",
    "structure.heads=2", "structure.sparsity=degree:4", "alignment.epochs=1", "training.epochs=2",
    "training.ensemble=2",
)  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("number", "layers"), [(1, {"std"}), (2, {"std", "margin"}), (3, {"std", "margin"})])
def test_a_run_of_format(number: int, layers: set[str], engine: Engine, tmp_path: Path) -> None:
    folder = Path(__file__).parent / f"format_{number}"
    run = Run.load(folder, engine=engine, device="cpu")
    before = ad.read_h5ad(folder / "predictions.h5ad")
    now = run.predict(before.obs_names.tolist())
    for layer in ("change", *layers):
        np.testing.assert_allclose(getattr(now, layer), before.layers[layer], rtol=0, atol=1e-6)
    assert json.loads((folder / "model" / "model.json").read_text())["format"] == number
    assert ("margin" in layers) == (now.margin is not None)
    assert run.genes.symbol[: run.genes.measured].tolist() == before.var_names.tolist()
    for command in (
        "info {run}",
        "plot {run} --condition {condition} --out {out}",
        "predict {run} --all-single --out {out}.h5ad",
    ):
        given = {"run": folder, "condition": before.obs_names[0], "out": tmp_path / "out"}
        assert main([word.format(**given) for word in command.split()]) == 0


if __name__ == "__main__":
    preset, out = sys.argv[1], Path(sys.argv[2])
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    if main(["train", SCREEN, "--preset", preset, "--out", str(out), "--min-cells", "2", *settings]) == 0:
        shutil.rmtree(out / "cache", ignore_errors=True)
