"""The benchmark of the encoders measures what it says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grape_dgl.features.kmer import KmerEncoder


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "features_speed.py"))


def test_rates(script: dict[str, Any]) -> None:
    sequences = script["dna"](12, 300)
    assert len(set(sequences)) == 12 and {len(sequence) for sequence in sequences} == {300}
    found, rows = script["rates"](KmerEncoder(3), sequences, 12, 3)
    assert 0 < found["least"] <= found["median"] <= found["largest"]
    np.testing.assert_array_equal(rows, KmerEncoder(3).encode(sequences))


def test_descriptions(script: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "genes.tsv"
    assert len(set(script["descriptions"](table, 50))) == 50
    table.write_text("symbol\tdescription\nA\tone\nB\t\nC\ttwo\nA\tone\n")
    assert sorted(script["descriptions"](table, 50)) == ["A: one", "C: two"]
