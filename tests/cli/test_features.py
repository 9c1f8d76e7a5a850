"""``grape-dgl features`` on a small screen of our own: the table, the JSON and the .npz agree with the input files."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest

from grape_dgl.cli import main
from grape_dgl.features.kmer import spectrum

SEQUENCES = {"MYC": "ACGTTGCA", "JUN": "GGGTTTAA"}


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """80 cells, five measured genes of which two have a sequence and none a description, targets JUN and KLF1."""
    conditions = ["control"] * 40 + ["JUN"] * 40
    counts = np.random.default_rng(0).poisson(5.0, (80, 5)).astype(np.float32)
    screen = anndata.AnnData(counts)
    screen.var_names = ["MYC", "FOS", "JUN", "TP53", "GATA1"]
    screen.obs["condition"] = conditions
    screen.write_h5ad(tmp_path / "screen.h5ad")
    (tmp_path / "genes.fa").write_text("".join(f">{name}\n{dna}\n" for name, dna in SEQUENCES.items()))
    known = ["--sequences", str(tmp_path / "genes.fa"), "--cache", str(tmp_path / "cache")]
    return ["features", str(tmp_path / "screen.h5ad"), *known]


def test_table_json_and_file(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "features.npz"
    assert main([*arguments, "--set", "features.kmer=3", "-o", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    wanted = {"all": 5, "description": 0, "sequence": 2, "biotype": 0, "seq": 2}
    assert {name: row["genes"] for name, row in answer.items()} == wanted and answer["all"]["measured"] == 5
    assert answer["seq"]["source"]["dim"] == 2 + 10 + 32
    with np.load(out) as saved:
        assert saved["symbol"].tolist() == ["FOS", "GATA1", "JUN", "MYC", "TP53"]
        assert saved["present_seq"].tolist() == [False, False, True, True, False]
        np.testing.assert_array_equal(saved["seq"][2], spectrum(SEQUENCES["JUN"], 3))
        assert "text" not in saved

    assert main(arguments) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sequence", "2", "2", "0"] in rows and ["description", "0", "0", "0"] in rows
    assert next(row for row in rows if row[:1] == ["seq"])[-2:] == ["dim", "692"]


def test_nothing_is_overwritten(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "features.npz"
    out.write_text("mine")
    assert main([*arguments, "-o", str(out)]) == 1
    assert out.read_text() == "mine" and "--force" in capsys.readouterr().err
    assert main([*arguments, "-o", str(out), "--force"]) == 0
    assert np.load(out)["measured"].all()
    assert main([*arguments, "-o", str(tmp_path / "features.csv")]) == 1
    assert ".npz" in capsys.readouterr().err
