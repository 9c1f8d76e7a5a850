"""Inputs that are broken, each as a user would hand it over: one line, exit code 1, nothing written; and odd ones that
are read as if they were plain.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from plain_screen import GENES, LABELS, plain
from plain_screen import write as screen

from grape_dgl.cli import main
from grape_dgl.data.read import read_screen

Words = list[str]
Broken = Callable[[Path], Words]
"""Makes files in a folder and returns the words of a command."""


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))


# --- what a screen may be broken in ----------------------------------------------------------------------------------


def changed(change: Callable[[ad.AnnData], ad.AnnData | None], *words: str) -> Broken:
    """A whole file of other content."""

    def make(folder: Path) -> Words:
        adata = plain()
        other = change(adata)
        return ["inspect", screen(folder, adata if other is None else other), *words]

    return make


def edited(edit: Callable[[h5py.File], object]) -> Broken:
    """A file that anndata would not have written."""

    def make(folder: Path) -> Words:
        path = screen(folder)
        with h5py.File(path, "r+") as file:
            edit(file)
        return ["inspect", path]

    return make


def truncated(place: int) -> Broken:
    def make(folder: Path) -> Words:
        path = Path(screen(folder))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * place // 20])
        return ["inspect", str(path)]

    return make


def put(value: float) -> Callable[[ad.AnnData], None]:
    def change(adata: ad.AnnData) -> None:
        adata.X[3, 4] = value

    return change


def labels(column: Any) -> Callable[[ad.AnnData], None]:
    def change(adata: ad.AnnData) -> None:
        adata.obs["condition"] = column

    return change


def replaced(name: str, values: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values)
        file[name].attrs.update(attributes)

    return edit


def last_index(file: h5py.File) -> None:
    file["X/indices"][-1] = 99


def backwards(file: h5py.File) -> None:
    file["X/indptr"][3] = file["X/indptr"][-1]


def shorter(file: h5py.File) -> None:
    replaced("X/data", file["X/data"][:-5])(file)


def nowhere(file: h5py.File) -> None:
    """What fuzz.py found: h5py has a KeyError for an address beyond the end of the file, as for this."""
    del file["X/indices"]
    file["X/indices"] = h5py.SoftLink("/nowhere")


def no_utf8(file: h5py.File) -> None:
    replaced("var/_index", np.array([b"G\xff\xfe"] * len(GENES), dtype="S3"))(file)


SCREENS: dict[str, Broken] = {
    **{f"truncated at {5 * place} %": truncated(place) for place in range(20)},
    "NaN": changed(put(np.nan)),
    "Inf": changed(put(np.inf)),
    "negative": changed(put(-2.0)),
    "huge": changed(put(3e38)),
    "no cells": changed(lambda adata: adata[:0].copy()),
    "no genes": changed(lambda adata: adata[:, :0].copy()),
    "only zeros": changed(lambda adata: ad.AnnData(adata.X * 0, obs=adata.obs, var=adata.var)),
    "only controls": changed(labels("control")),
    "no controls": changed(labels("G1")),
    "too few cells of each": changed(lambda adata: adata[: len(LABELS)].copy()),
    "no column": changed(lambda adata: ad.AnnData(adata.X, var=adata.var)),
    "a column of numbers": changed(labels(0.5)),
    "a column of nothing": changed(labels(np.nan)),
    "a column that is not there": changed(lambda adata: None, "--condition-key", "treatment"),
    "a layer that is not there": changed(lambda adata: None, "--layer", "counts"),
    "a control that is not there": changed(lambda adata: None, "--control", "vehicle"),
    "swapped axes": changed(lambda adata: adata.T.copy()),
    "text for expression": edited(replaced("X/data", np.array([b"a", b"b"]))),
    "complex numbers": edited(lambda file: replaced("X/data", file["X/data"][:] + 1j)(file)),
    "an index outside": edited(last_index),
    "row starts that go back": edited(backwards),
    "fewer values than indices": edited(shorter),
    "indices that lie nowhere": edited(nowhere),
    "no expression": edited(lambda file: file.__delitem__("X")),
    "no obs": edited(lambda file: file.__delitem__("obs")),
    "no var": edited(lambda file: file.__delitem__("var")),
    "fewer labels than cells": edited(replaced("obs/_index", np.array([b"a", b"b"]))),
    "names that are no UTF-8": edited(no_utf8),
    "an encoding from the future": edited(lambda file: file["X"].attrs.modify("encoding-version", "99.0")),
}

# --- files beside it -------------------------------------------------------------------------------------------------


def beside(option: str, name: str, content: str | bytes, command: str = "inspect", prefix: str = "") -> Broken:
    def make(folder: Path) -> Words:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        out = ["--out", str(folder / "out")] if command != "inspect" else []
        return [command, screen(folder), option, f"{prefix}{folder / name}", *out]

    return make


def configured(content: str | bytes) -> Broken:
    return beside("--config", "config.toml", content, "train")


def split(document: object) -> Broken:
    text = document if isinstance(document, str) else json.dumps(document)
    return beside("--split", "split.json", text, "train")


def edges(text: str) -> Broken:
    return beside("--graph", "graph.tsv", text, "train")


PARTS = {"train": ["G1", "G2"], "val": ["G3"], "test": ["G4"]}
FILES: dict[str, Broken] = {
    "settings: a wrong type": configured('[model]\nhidden = "many"\n'),
    "settings: an unknown key": configured("[model]\nhiden = 3\n"),
    "settings: an unknown section": configured("[modell]\nhidden = 3\n"),
    "settings: a section that is a number": configured("model = 3\n"),
    "settings: no TOML": configured("[model\n"),
    "settings: twice": configured("[model]\nhidden = 3\nhidden = 4\n"),
    "settings: no UTF-8": configured(b"[model]\n# \xff\xfe\nhidden = 3\n"),
    "settings: NaN": configured("[training]\nlr = nan\n"),
    "settings: a number of steps without end": configured("[training]\nepochs = 1e999\n"),
    "settings: no file": lambda folder: [
        "train",
        screen(folder),
        "--config",
        str(folder / "no.toml"),
        "--out",
        str(folder / "out"),
    ],
    "sequences: empty": beside("--sequences", "p.fa", ""),
    "sequences: before a name": beside("--sequences", "p.fa", "ACGT\n>G1\nACGT\n"),
    "sequences: no DNA": beside("--sequences", "p.fa", ">G1\nMSTWEEN!\n"),
    "sequences: a name without letters": beside("--sequences", "p.fa", ">\nACGT\n"),
    "sequences: binary": beside("--sequences", "p.fa", bytes(range(256))),
    "annotation: empty": beside("--annotation", "g.tsv", ""),
    "annotation: a row of nothing": beside("--annotation", "g.csv", '""\n'),
    "annotation: no gene column": beside("--annotation", "g.tsv", "a\tb\n1\t2\n"),
    "annotation: broken rows": beside("--annotation", "g.tsv", "symbol\tbiotype\nG1\tx\ty\tz\nG2\n"),
    "annotation: JSON that is a list": beside("--annotation", "g.json", "[1, 2]"),
    "annotation: JSON of numbers": beside("--annotation", "g.json", '{"G1": 3}'),
    "annotation: half a gzip": beside("--annotation", "g.tsv.gz", b"\x1f\x8b\x08\x00\x00\x00"),
    "annotation: GTF of few columns": beside("--annotation", "g.gtf", "chr1\tx\tgene\t1\n"),
    "annotation: GTF whose start is a word": beside(
        "--annotation", "g.gtf", 'chr1\tx\tgene\tone\t9\t.\t+\t.\tgene_id "G1"; gene_name "G1";\n'
    ),
    "embeddings: NaN": beside("--embeddings", "e.csv", "gene,a,b\nG1,nan,1\n", prefix="mine="),
    "embeddings: words": beside("--embeddings", "e.csv", "gene,a,b\nG1,x,y\n", prefix="mine="),
    "embeddings: rows of more values than names": beside(
        "--embeddings", "e.csv", "gene,a\nG1,1,2,3,4\nG2,1,2,3,4\n", prefix="mine="
    ),
    "embeddings: a carriage return in a row": beside(  # pandas read it for ever
        "--embeddings",
        "e.csv",
        "gene,a,b\nG0,0,0.5\nG1,1,0.5\nG2G2,2,0.5\nG3,3,0.5\nG\r\t4,4,0.5\nG5,5,0.5\n0.5\nG3,3,0.5\nG\t4,4,0.5\nG5inf0.5\n"
        "G6,6,0.5\nG7,,4,0.5\nG5,5,0.5\n.5\nG11,11\xef\xbb\xbf5\n",
        prefix="mine=",
    ),  # fmt: skip
    "embeddings: broken rows": beside("--embeddings", "e.csv", "gene,a,b\nG1,1\nG2,1,2,3\n", prefix="mine="),
    "guide map: one column": beside("--guide-map", "m.tsv", "G1\n"),
    "obs table: a header alone": beside("--obs", "o.tsv", "barcode\tcondition\n"),
    "obs table: other cells": beside("--obs", "o.tsv", "barcode\tcondition\nother1\tG1\n"),
    "edges: unknown genes": edges("source\ttarget\tweight\nX1\tX2\t0.5\n"),
    "edges: to itself": edges("source\ttarget\tweight\nG1\tG1\t0.5\n"),
    "edges: NaN": edges("source\ttarget\tweight\nG1\tG2\tnan\n"),
    "edges: a word for a weight": edges("source\ttarget\tweight\nG1\tG2\tstrong\n"),
    "edges: no column": edges("a\tb\nG1\tG2\n"),
    "edges: empty": edges(""),
    "split: overlaps": split(PARTS | {"test": ["G1"]}),
    "split: unknown condition": split(PARTS | {"test": ["G99"]}),
    "split: no part": split({"train": ["G1"]}),
    "split: a list": split([1]),
    "split: no JSON": split("{"),
    "split: nothing to test": split(PARTS | {"test": []}),
    "split: a word for a list": split(PARTS | {"test": "G4"}),
}


@pytest.mark.parametrize("broken", [pytest.param(make, id=name) for name, make in (SCREENS | FILES).items()])
def test_one_line_says_what_is_wrong(broken: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(broken(tmp_path), tmp_path, capsys)


def refused(words: Words, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path for path in folder.rglob("*") if "cache" not in path.parts}
    code = main(words)
    out, err = capsys.readouterr()
    assert code == 1, (code, out, err)
    assert out == "" and "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert errors == err.splitlines()[-1:], err
    assert {path for path in folder.rglob("*") if "cache" not in path.parts} == before


# --- a run folder ----------------------------------------------------------------------------------------------------

SMALL = ["model.hidden=8", "model.width=4", "model.heads=1", "structure.heads=1", "alignment.epochs=0",
         "training.epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPE_DGL_DATA", str(folder / "cache"))
        words = [text for setting in SMALL for text in ("--set", setting)]
        assert main(["train", screen(folder), "--out", str(folder / "run"), *words]) == 0
        yield folder / "run"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [Path.unlink, cut, noise, lambda path: path.write_bytes(b"")],
                         ids=["missing", "cut", "noise", "empty"])  # fmt: skip
@pytest.mark.parametrize(
    "file", ["model/model.json", "model/inputs.safetensors", "model/weights-0.safetensors", "config.toml"]
)
def test_a_damaged_run(
    trained: Path, file: str, damage: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    damage(tmp_path / "run" / file)
    words = ["predict", str(tmp_path / "run"), "--condition", "G1", "--out", str(tmp_path / "p.h5ad")]
    refused(words, tmp_path, capsys)


# --- odd, but right --------------------------------------------------------------------------------------------------


def wide(file: h5py.File) -> None:
    for name in ("X/indices", "X/indptr"):
        replaced(name, file[name][:].astype(np.int64))(file)


def of_2019(file: h5py.File) -> None:
    """As anndata 0.6 wrote it: obs and var are compound datasets, the matrix has attributes of h5sparse."""
    x = {name: file[f"X/{name}"][:] for name in ("data", "indices", "indptr")}
    shape = file["X"].attrs["shape"]
    condition = np.array(plain().obs["condition"], dtype="S8")
    names = {"obs": [b"cell%d" % i for i in range(shape[0])], "var": [gene.encode() for gene in GENES]}
    for name in list(file):
        del file[name]
    for name in list(file.attrs):
        del file.attrs[name]
    group = file.create_group("X")
    for name, values in x.items():
        group[name] = values
    group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", shape
    obs = np.zeros(shape[0], dtype=[("index", "S8"), ("condition", "S8")])
    obs["index"], obs["condition"] = names["obs"], condition
    var = np.zeros(shape[1], dtype=[("index", "S8")])
    var["index"] = names["var"]
    file["obs"], file["var"] = obs, var


ODD: dict[str, Callable[[Path], object]] = {
    "by columns": lambda path: rewritten(path, lambda a: setattr(a, "X", a.X.tocsc())),
    "dense": lambda path: rewritten(path, lambda a: setattr(a, "X", a.X.toarray())),
    "doubles": lambda path: rewritten(path, lambda a: setattr(a, "X", a.X.astype(np.float64))),
    "integers": lambda path: rewritten(path, lambda a: setattr(a, "X", a.X.astype(np.int32))),
    "small integers": lambda path: rewritten(path, lambda a: setattr(a, "X", a.X.astype(np.uint8))),
    "zeros that are stored": lambda path: rewritten(path, stored_zeros),
    "indices out of order": lambda path: rewritten(path, out_of_order),
    "unused categories": lambda path: rewritten(
        path,
        lambda a: a.obs.__setitem__(
            "condition", pd.Categorical(a.obs["condition"], [*sorted(set(LABELS)), "G7", "G8"])
        ),
    ),  # fmt: skip
    "categories in another order": lambda path: rewritten(
        path,
        lambda a: a.obs.__setitem__(
            "condition", pd.Categorical(a.obs["condition"], sorted(set(LABELS))[::-1], ordered=True)
        ),
    ),  # fmt: skip
    "the same cell names": lambda path: rewritten(path, lambda a: setattr(a, "obs_names", ["cell"] * a.n_obs)),
    "indices of 64 bits": lambda path: edit(path, wide),
    "an anndata of 2019": lambda path: edit(path, of_2019),
}


def rewritten(path: Path, change: Callable[[ad.AnnData], object]) -> None:
    adata = plain()
    change(adata)
    adata.write_h5ad(path)


def edit(path: Path, change: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def stored_zeros(adata: ad.AnnData) -> None:
    x = adata.X.toarray()
    full = sp.csr_matrix(np.ones_like(x))
    full.data = x.ravel()
    adata.X = full


def out_of_order(adata: ad.AnnData) -> None:
    x = adata.X
    for start, end in zip(x.indptr, x.indptr[1:], strict=False):
        x.indices[start:end], x.data[start:end] = x.indices[start:end][::-1].copy(), x.data[start:end][::-1].copy()
    x.has_sorted_indices = False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in ODD.items()])
def test_odd_files_are_read_as_the_plain_one(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = Path(screen(tmp_path))
    wanted = read_screen(path, min_cells=2)
    make(path)
    found = read_screen(path, min_cells=2)
    np.testing.assert_array_equal(found.expression.toarray(), wanted.expression.toarray())
    assert found.conditions == wanted.conditions
    assert all(set(found.cells(name)) == set(wanted.cells(name)) for name in wanted.conditions)
