"""On our own simulator, five screens: GRAPE beats the mean and no change, and finds the planted network."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from grape_dgl.config import Config

DEMO = "demo:cells=4000"
QUICK = ["training.epochs=1", "training.least_steps=2", "training.device=cpu"]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "demo_sanity.py"))


def test_five_seeds(script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path))
    rows = [script["one_seed"](seed, DEMO, QUICK) for seed in range(5)]
    assert all(row["auroc"] > 0.6 for row in rows)
    for other in ("mean", "control"):
        found = script["difference"](rows, other, "rmse")
        assert found["high"] < 0 and found["better"] >= 0.8, (other, found)
    found = script["difference"](rows, "mean", "pcc_delta")
    assert found["low"] > 0 and found["better"] >= 0.8
    assert script["table"](rows).count("\n") == 6


def test_contract_names_the_defaults(script: dict[str, Any]) -> None:
    """The text beside the numbers says how they came about."""
    assert "disjoint controls" in script["__doc__"] and Config().split.train == 0.7 and "70 %" in script["__doc__"]
