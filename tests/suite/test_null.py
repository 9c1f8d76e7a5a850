"""Every kind of model of a suite scores zero where nothing was done, GRAPE among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grape_dgl.evaluation.null import null_test
from grape_dgl.suite.models import Bench, make_model
from grape_dgl.suite.spec import KINDS, DataSpec, ModelSpec

OPTIONS: dict[str, dict[str, Any]] = {
    "neighbours": {"kernel": "text", "k": 3},
    "kernel_ridge_fixed": {"kernels": ("text", "identity"), "penalty": 0.1},
    "kernel_ridge": {"kernels": ("text", "seq", "identity")},
    "GRAPE": {
        "settings": (
            "training.epochs=1",
            "alignment.epochs=1",
            "model.hidden=8",
            "model.width=4",
            "structure.sparsity=degree:3",
        )
    },
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The trainings are small: threads would wait for each other, and for the tests that run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_every_kind_scores_zero_where_nothing_was_done(tmp_path: Path) -> None:
    bench = Bench(DataSpec("demo", "demo:genes=100,conditions=4,cells=3600"), tmp_path)
    kinds = [kind for kind in KINDS if kind not in ("ceiling", "peer")]  # no model; a program of others
    specs = [ModelSpec(kind, kind, OPTIONS.get(kind, {})) for kind in kinds]
    specs.append(ModelSpec("paper", "GRAPE", {"preset": "paper", **OPTIONS["GRAPE"]}))
    models = [make_model(spec, bench, 0, tmp_path / spec.name) for spec in specs]
    table = null_test(bench.screen, models, 6, n_conditions=9, cells_each=40).set_index(["model", "metric"])
    assert list(table.index.unique("model")) == [spec.name for spec in specs]
    scored = table.loc[table.index.get_level_values("model") != "control"]
    assert scored["zero"].all(), scored[~scored["zero"]]
    assert (scored["n"] == 6).all() and (scored["standard_error"] < 0.15).all(), scored
    assert (scored.xs("pcc_delta", level="metric")["standard_error"] < 0.05).all()
