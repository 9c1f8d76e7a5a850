"""What ``inspect`` prints and writes as JSON, against the screen it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from grape_dgl.cli import inspect, main
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen


@pytest.fixture
def screen() -> Screen:
    labels = ["ctrl", *(f"G{i}+ctrl" for i in range(8)), "G1+G0", "G2+OUT"] * 5
    counts = np.random.default_rng(0).poisson(2.0, (len(labels), 9)).astype(np.float32)
    obs = pd.DataFrame({"condition": labels, "batch": "one"}, index=[f"cell{i}" for i in range(len(labels))])
    return read_screen(ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(9)])), min_cells=5)


def run(monkeypatch: pytest.MonkeyPatch, screen: Screen, *arguments: str) -> str:
    def load(**options: Any) -> Screen:
        assert options["data"] == "screen.h5ad"
        return screen

    monkeypatch.setattr(inspect, "load_screen", load)
    result = CliRunner().invoke(inspect.command, ["screen.h5ad", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_json_has_notes_and_counts(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    facts = json.loads(run(monkeypatch, screen, "--json"))
    assert facts["conditions"] == dict.fromkeys(screen.conditions, 5)
    assert facts["conditions_by_targets"] == {"1": 8, "2": 2}
    assert (facts["cells"], facts["control_cells"], facts["delimiter"]) == (55, 5, "+")
    assert facts["genes"]["nodes"] == facts["genes"]["coding"] == 10
    assert facts["genes"]["measured"] == 9
    for name, value in screen.notes.items():
        assert name in facts and (name in ("conditions", "genes") or facts[name] == json.loads(json.dumps(value)))
    for split in facts["splits"].values():
        assert split["train"] + split["val"] + split["test"] in (8, 10)


def test_table_tells_what_was_detected(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    lines = dict(line.split("  ", 1) for line in run(monkeypatch, screen).splitlines())
    lines = {name: value.strip() for name, value in lines.items()}
    assert lines["condition column"] == "condition"
    assert lines["control labels"] == "ctrl"
    assert lines["targets not measured"] == "OUT"
    assert lines["conditions"] == "10: 8 of 1 gene(s), 2 of 2 gene(s)"
    assert "G0 5" in lines["cells per condition"]


def test_a_split_that_is_not_possible_is_said(screen: Screen) -> None:
    few = read_screen(
        ad.AnnData(
            np.ones((4, 2), np.float32),
            obs=pd.DataFrame({"condition": ["control", "control", "A", "A"]}, index=list("wxyz")),
            var=pd.DataFrame(index=["A", "B"]),
        ),
        min_cells=2,
    )
    facts = inspect.describe(few)
    assert not facts["splits"]["condition"]["possible"]
    assert any("not possible" in line for line in inspect.table(facts))


def test_out_holds_what_json_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "screen.h5ad"
    counts = np.arange(24, dtype=np.float32).reshape(6, 4)
    obs = pd.DataFrame({"condition": ["ctrl", "ctrl", "ctrl", "A", "A", "A"]}, index=list("uvwxyz"))
    ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["A", "B", "C", "D"])).write_h5ad(path)
    out = tmp_path / "new" / "facts.json"
    assert main(["inspect", str(path), "--min-cells", "2", "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    assert main(["inspect", str(path), "--min-cells", "2", "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
