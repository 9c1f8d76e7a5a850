"""Precomputed embeddings: one matrix in every format, and one line for everything that is wrong with a file."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from grape_dgl.data.embeddings import Embeddings
from grape_dgl.errors import DataError

SYMBOLS = ["MYC", "NA", "KLF1"]
IDS = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003"]
VALUES = np.array([[0.5, -1.0, 1e-3, 2.0], [0.0, 3.0, 4.0, 5.0], [7.25, 8.0, 1e6, -9.0]], dtype=np.float32)


def table(sep: str, names: bool = True, header: str = "") -> str:
    head = sep.join([header, "e0", "e1", "e2", "e3"] if names else ["e0", "e1", "e2", "e3"])
    rows = [sep.join([name, *map(repr, map(float, row))]) for name, row in zip(SYMBOLS, VALUES, strict=True)]
    return "\n".join([head, *rows]) + "\n"


def text(content: str) -> Callable[[Path], object]:
    def write(path: Path) -> object:
        return path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())

    return write


def npz(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


def h5ad(**varm: Any) -> Callable[[Path], object]:
    var = pd.DataFrame({"gene_name": SYMBOLS}, index=[f"{name}.7" for name in IDS])
    return lambda path: ad.AnnData(sp.csr_matrix((2, 3)), var=var, varm=varm).write_h5ad(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("e.csv", text(table(","))),
        ("e.csv.gz", text(table(",", header="symbol"))),
        ("e.tsv", text(table("\t", header="gene"))),
        ("e.txt", text(table(" ", names=False))),  # R: write.table
        ("e.csv", text("\ufeff" + table(";", header="Gene name").replace("\n", "\r\n"))),
        ("e.npz", npz(genes=np.array(SYMBOLS), values=VALUES)),
        ("e.npz", npz(symbol=np.array(SYMBOLS).astype(bytes), x=VALUES.astype(np.float64))),
        ("e.npz", npz(**dict(zip(SYMBOLS, VALUES, strict=True)))),
        ("e.h5ad", h5ad(genept=VALUES)),
        ("e.h5ad", h5ad(sparse=sp.csr_matrix(VALUES))),
        ("e.json", text(json.dumps(dict(zip(SYMBOLS, VALUES.astype(float).tolist(), strict=True))))),
        ("e.json.gz", text(json.dumps(dict(zip(SYMBOLS, VALUES.astype(float).tolist(), strict=True))))),
    ],
)
def test_one_matrix_in_every_format(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    read = Embeddings.read(tmp_path / name, "mine")
    values, present = read.rows(["KLF1", "GATA1", "MYC", "NA"], ["", "", "", ""])
    assert values.dtype == np.float32 and present.tolist() == [True, False, True, True]
    assert np.array_equal(values, [VALUES[2], [0] * 4, VALUES[0], VALUES[1]])
    assert read.name == "mine" and read.source["file"] == name and read.source["dim"] == 4
    json.dumps(read.source)


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(VALUES, columns=list("abcd"))
    frame.set_axis(SYMBOLS, axis=0).to_parquet(tmp_path / "index.parquet")
    frame.assign(ensembl=IDS).to_parquet(tmp_path / "column.pq")
    assert np.array_equal(Embeddings.read(tmp_path / "index.parquet", "x").rows(SYMBOLS, [""] * 3)[0], VALUES)
    assert np.array_equal(Embeddings.read(tmp_path / "column.pq", "x").rows(["a", "b", "c"], IDS)[0], VALUES)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="no Parquet file"):
        Embeddings.read(tmp_path / "bad.parquet", "x")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "e.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="needs the package pyarrow; try: pip install pyarrow"):
        Embeddings.read(tmp_path / "e.parquet", "x")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("e.csv", text(f"symbol,ensembl_id,biotype,x,y\nA,{IDS[0]}.3,lncRNA,1,2\nB,,,3,4\nC,{IDS[2]},,5,6\n")),
        ("e.npz", npz(symbol=np.array(["A", "B", "C"]), ensembl=np.array([f"{IDS[0]}.3", "", IDS[2]]),
                      m=np.arange(1, 7).reshape(3, 2))),
    ],
)  # fmt: skip
def test_the_id_decides_before_the_symbol(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    read = Embeddings.read(tmp_path / name, "x")
    symbols, ids = ["C", "other", "B", "A", "ENSG00000000003", "none"], [IDS[0], IDS[2] + ".9", "", "ENSG9", "", ""]
    values, present = read.rows(symbols, ids)
    assert values.tolist() == [[1, 2], [5, 6], [3, 4], [1, 2], [5, 6], [0, 0]]
    assert present.tolist() == [True] * 5 + [False]


def test_the_first_of_repeated_genes_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    text("gene,x\nA,1\nB,2\nA,3\n,4\n")(tmp_path / "e.csv")
    text('{"A": [1], "B": [2], "A": [3], "": [4]}')(tmp_path / "e.json")
    for name in ("e.csv", "e.json"):
        caplog.clear()
        assert Embeddings.read(tmp_path / name, "x").rows(["A", "B"], ["", ""])[0].tolist() == [[1], [2]]
        assert "2 genes, 1 numbers each; 2 rows are left out (repeated or without a name)" in caplog.messages[0]
        assert caplog.messages[1] == "embeddings 'x': 2 of 2 genes have a vector"


def test_row_numbers_are_no_part_of_the_vector(tmp_path: Path) -> None:
    pd.DataFrame({"symbol": ["A", "B"], "x": [1.0, 2.0]}).to_csv(tmp_path / "e.csv")
    assert Embeddings.read(tmp_path / "e.csv", "x").rows(["B"], [""])[0].tolist() == [[2.0]]


def test_genes_that_share_a_stem_are_genes(tmp_path: Path) -> None:
    text("gene,d1,d2\nHOXA1,1,2\nHOXA2,3,4\n")(tmp_path / "e.csv")
    assert Embeddings.read(tmp_path / "e.csv", "x").values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["e.h5ad", "e.npz"])
def test_one_of_several_matrices(tmp_path: Path, name: str) -> None:
    both = {"first": VALUES, "second": VALUES + 1}
    (h5ad(**both) if name == "e.h5ad" else npz(genes=np.array(SYMBOLS), **both))(tmp_path / name)
    read = Embeddings.read(Path(f"{tmp_path / name}::second"), "x")
    assert np.array_equal(read.values, VALUES + 1) and read.source["key"] == "second"
    with pytest.raises(DataError, match=f"several matrices: first, second; choose one as '.*{name}::first'"):
        Embeddings.read(tmp_path / name, "x")
    with pytest.raises(DataError, match="no matrix 'secnd'; did you mean 'second'"):
        Embeddings.read(f"{tmp_path / name}::secnd", "x")


class Marker:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "unpickled")


@pytest.mark.parametrize("name", ["e.pkl", "e.pickle", "e.pt", "e.pkl.gz", "e.npz", "e.csv", "e.json", "e.h5ad"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps(Marker(marker))
    pickle.loads(content)  # the pickle works
    assert marker.exists()
    marker.unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is a pickle, .* refused.*convert it" if ".p" in name else name):
        Embeddings.read(tmp_path / name, "x")
    assert not marker.exists()


@pytest.mark.parametrize("where", ["genes", "values"])
def test_an_object_array_in_an_npz_is_not_unpickled(tmp_path: Path, where: str) -> None:
    evil = np.array([Marker(tmp_path / "marker")] * 3, dtype=object)
    np.savez(tmp_path / "e.npz", **{"genes": np.array(SYMBOLS), "values": VALUES} | {where: evil})
    with pytest.raises(DataError, match="no NPZ file of plain arrays: .*; save names as text"):
        Embeddings.read(tmp_path / "e.npz", "x")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", "gene,x,y\nA,1,2\nB,nan,4\n", "row 3, column 'x': 'nan' is no number"),
        ("e.csv", "gene,x,y\nA,1,2\nB,inf,4\n", "number 1 of gene 'B' is inf"),
        ("e.csv", "gene,x,y\nA,1,2\nB,3,1e300\n", r"number 2 of gene 'B' is 1e\+300"),
        ("e.csv", "gene,x,y\nA,1,2\nB,3,four\n", "row 3, column 'y': 'four' is no number"),
        ("e.csv", "gene,x,y\nA,1,2\nB,3\n", "row 3, column 'y': '.*' is no number.*whole"),
        ("e.csv", "gene,x,y\nA,1,2\nB,3,4,5\n", "Expected 3 fields in line 3, saw 4"),
        ("e.csv", "gene,x,y\n", "0 rows and 2 columns of numbers"),
        ("e.csv", "gene,biotype\nA,lncRNA\n", "1 rows and 0 columns"),
        ("e.csv", "gene\nA\n", "1 rows and 0 columns"),
        ("e.csv", "x,y\n0.1,0.2\n0.3,0.4\n", "no column of gene names .its rows are called 0.1, 0.3"),
        ("e.csv", ",e0,e1\n0,1,2\n1,3,4\n", "no column of gene names"),
        (
            "e.csv",
            ",MYC,TP53,KLF1\ne0,1,2,3\ne1,4,5,6\n",
            "columns MYC, TP53, KLF1; expected a row per gene, so transp",
        ),
        ("e.csv", f",{','.join(IDS)}\n0,1,2,3\n1,4,5,6\n", "so transpose the table"),
        ("e.csv", "gene,x\n,1\n", "no column of gene names"),
        ("e.json", '{"": [1, 2]}', "no row of .* has a gene name"),
        ("e.csv", "", "is empty"),
        ("e.csv", "gene,x\nA,\x00\n", "e.csv"),
        ("e.json", '{"A": [1, 2], "B": [3]}', "gene 'B' has 1 numbers, 'A' 2; expected as many"),
        ("e.json", '{"A": [1, 2], "B": [NaN, 1]}', "number 1 of gene 'B' is nan"),
        ("e.json", '{"A": [1, null]}', "entry of gene 'A' is no vector"),
        ("e.json", '{"A": ["1", "2"]}', "entry of gene 'A' is no vector"),
        ("e.json", '{"A": [[1], [2, 3]]}', "entry of gene 'A' is no vector"),
        ("e.json", '{"A": {"x": 1}}', "entry of gene 'A' is no vector"),
        ("e.json", '{"A": [true]}', "entry of gene 'A' is no vector"),
        ("e.json", '{"A": []}', "shape .1, 0."),
        ("e.json", '{"A": 1}', "entry of gene 'A' is no vector"),
        ("e.json", "{}", "holds no JSON object"),
        ("e.json", "[[1, 2]]", "holds no JSON object"),
        ("e.json", '{"A": [1, 2', "no JSON document"),
        ("e.json", "[" * 100_000, "no JSON document"),
        ("e.npz", "PK no zip", "no NPZ file"),
        ("e.h5ad", "no hdf5", "no .h5ad file"),
        ("e.npy", "x", "the ending '.npy'; expected embeddings as one of .csv"),
        ("e", "x", "the ending ''"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(DataError, match=message) as raised:
        Embeddings.read(tmp_path / name, "x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"values": VALUES}, "holds values float32.3, 4.; expected an array of names"),
        ({"genes": np.array(SYMBOLS)}, "expected an array of names .* and one matrix"),
        ({"genes": np.array(SYMBOLS[:2]), "values": VALUES}, "2 gene names and 3 vectors"),
        ({"genes": np.array(SYMBOLS), "values": VALUES[:, :0]}, "shape .3, 0."),
        ({"genes": np.array(SYMBOLS), "values": np.where(VALUES == 3, np.nan, VALUES)}, "number 2 of gene 'NA' is nan"),
        ({"A": VALUES[0], "B": VALUES[1][:2]}, "gene 'B' has 2 numbers, 'A' 4"),
        ({}, "holds nothing"),
    ],
)
def test_npz_that_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(DataError, match=message):
        Embeddings.read(tmp_path / "e.npz", "x")


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    """At every length a file is read whole, or refused in one line; never half of it."""
    for name, write in {
        "e.csv.gz": text(table(",")),
        "e.json.gz": text(json.dumps(dict(zip(SYMBOLS, VALUES.astype(float).tolist(), strict=True)))),
        "e.npz": npz(genes=np.array(SYMBOLS), values=VALUES),
    }.items():
        path = tmp_path / name
        write(path)
        whole = path.read_bytes()
        for length in range(0, len(whole), 7):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError):
                Embeddings.read(path, "x")


def test_bytes_that_are_changed(tmp_path: Path) -> None:
    """A damaged NPZ gives a matrix or one line, never another exception."""
    path = tmp_path / "e.npz"
    np.savez(path, genes=np.array(SYMBOLS), values=VALUES)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    for place, byte in zip(draw.integers(len(whole), size=300), draw.integers(256, size=300), strict=True):
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        try:
            Embeddings.read(path, "x")
        except DataError as error:
            assert "\n" not in str(error)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(DataError, match="holds nothing"):
        Embeddings.read(path, "x")


def test_other_refusals(tmp_path: Path) -> None:
    h5ad()(tmp_path / "e.h5ad")
    with pytest.raises(DataError, match="has no varm"):
        Embeddings.read(tmp_path / "e.h5ad", "x")
    with pytest.raises(DataError, match="there is no file"):
        Embeddings.read(tmp_path / "none.csv", "x")
    text(table(","))(tmp_path / "e.csv")
    with pytest.raises(DataError, match="only .npz and .h5ad"):
        Embeddings.read(f"{tmp_path}/e.csv::x", "x")
