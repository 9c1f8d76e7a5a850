"""Files from strangers run no program: pickles in the place of every file that is read, and names in XML."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from plain_screen import plain, write

from grape_dgl.cli import main
from grape_dgl.data.genes import Genes
from grape_dgl.errors import GrapeError
from grape_dgl.graph.files import write_graphml
from grape_dgl.training.progress import read_progress


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.open, (str(self.mark), os.O_CREAT | os.O_WRONLY)


@pytest.fixture
def bomb(tmp_path: Path) -> bytes:
    packed = pickle.dumps(Bomb(tmp_path / "exploded"))
    os.close(pickle.loads(packed))
    assert (tmp_path / "exploded").exists()  # it would
    (tmp_path / "exploded").unlink()
    return packed


@pytest.mark.parametrize(
    "words",
    [
        "inspect {bomb}.h5ad", "inspect {screen} --annotation {bomb}.tsv", "inspect {screen} --annotation {bomb}.json",
        "inspect {screen} --sequences {bomb}.fa", "inspect {screen} --embeddings x={bomb}.npz",
        "inspect {screen} --embeddings x={bomb}.npy", "inspect {screen} --embeddings x={bomb}.pkl",
        "inspect {screen} --embeddings x={bomb}.pt", "inspect {screen} --embeddings x={bomb}.csv",
        "inspect {screen} --guide-map {bomb}.tsv", "inspect {screen} --obs {bomb}.tsv",
        "train {screen} --config {bomb}.toml --out {out}", "train {screen} --split {bomb}.json --out {out}",
        "train {screen} --graph {bomb}.tsv --out {out}", "train {screen} --prior go={bomb}.gaf --out {out}",
        "evaluate {bomb}.h5ad --truth {screen}", "benchmark {bomb}.toml --out {out}",
        "predict {bomb} --all-single --out {out}",
    ],
)  # fmt: skip
def test_a_pickle_is_not_opened(words: str, bomb: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in ("", ".h5ad", ".tsv", ".json", ".fa", ".npz", ".npy", ".pkl", ".pt", ".csv", ".toml", ".gaf"):
        (tmp_path / f"bomb{ending}").write_bytes(bomb)
    places = {"bomb": tmp_path / "bomb", "screen": write(tmp_path), "out": tmp_path / "out"}
    assert main([word.format(**places) for word in words.split()]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "file", ["model/weights-0.safetensors", "model/inputs.safetensors", "model/model.json", "config.toml"]
)
def test_a_pickle_in_a_run_folder_is_not_opened(
    file: str, bomb: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))
    sizes = ["model.hidden=8", "model.width=4", "model.heads=1", "structure.heads=1", "alignment.epochs=0"]
    words = [text for size in sizes for text in ("--set", size)]
    assert main(["train", write(tmp_path), "--epochs", "1", "--out", str(tmp_path / "run"), *words]) == 0
    (tmp_path / "run" / file).write_bytes(bomb)
    words = ["predict", str(tmp_path / "run"), "--condition", "G1", "--out", str(tmp_path / "p.h5ad")]
    assert main(words) == 1 and not (tmp_path / "exploded").exists()


def test_a_pickle_as_progress_is_not_opened(bomb: bytes, tmp_path: Path) -> None:
    (tmp_path / "progress.safetensors").write_bytes(bomb)
    with pytest.raises(GrapeError, match="damaged"):
        read_progress(tmp_path / "progress.safetensors")


def test_an_array_of_objects_in_a_screen_is_not_unpickled(bomb: bytes, tmp_path: Path) -> None:
    """HDF5 has no pickles; bytes that look like one stay bytes."""
    adata = plain()
    adata.uns["note"] = np.frombuffer(bomb, dtype=np.uint8)
    assert main(["inspect", write(tmp_path, adata)]) == 0 and not (tmp_path / "exploded").exists()


def test_graphml_names_stay_names(tmp_path: Path) -> None:
    evil = '<!ENTITY x "y">&x;</graphml>'
    names = np.array([evil, "G1"])
    genes = Genes(names, np.array(["", ""]), np.array(["", evil]), np.array(["", ""]), ("", ""), 2)
    table = pd.DataFrame({"source": [evil], "target": ["G1"], "relation": ["cc"], "weight": [0.5]})
    write_graphml(table, genes, tmp_path / "g.graphml")
    assert set(nx.read_graphml(tmp_path / "g.graphml").nodes) == {evil, "G1"}
    assert b"<!ENTITY" not in (tmp_path / "g.graphml").read_bytes()
