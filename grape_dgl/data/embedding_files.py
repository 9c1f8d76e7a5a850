"""Files with a vector per gene: tables, Parquet, NPZ, .h5ad, JSON.

Nothing that could run code is opened: pickles are refused, and so are object arrays inside of NPZ files.
"""

from __future__ import annotations

import json
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grape_dgl.data import columns
from grape_dgl.data.annotation_files import COLUMNS
from grape_dgl.data.h5ad import open_h5ad
from grape_dgl.data.text_files import reading
from grape_dgl.data.text_tables import TextTable
from grape_dgl.errors import DataError, did_you_mean

NAMES = ("genes", "names", "gene_names", "index", *COLUMNS["symbol"])
"""Names of the array of gene names in an NPZ file."""
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_ANNOTATION = tuple(name for field in ("biotype", "description", "chromosome") for name in COLUMNS[field])
_DIMENSIONS = ("", "dim", "d", "pc", "pca", "v", "x", "z", "e", "emb", "embedding", "f", "feature", "factor", "latent")
"""What dimensions are called, without their numbers."""
_NOT_NPZ = (
    OSError, EOFError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy.load raises for files that are damaged or something else."""


@dataclass(frozen=True)
class Table:
    """What a file holds, before it is checked; where there is one column of names, it is both kinds."""

    values: np.ndarray
    """[rows, d] of any number type."""
    ensembl: Sequence[str]
    symbol: Sequence[str]
    key: str = ""
    """Which of several matrices of the file it is."""


def read_vectors(path: Path, key: str = "") -> Table:
    """The matrix of a file, or its matrix ``key``; DataError that says what is wrong with the file."""
    if not path.is_file():
        raise DataError(f"there is no file '{path}' with embeddings")
    suffix = next((suffix.lower() for suffix in path.suffixes[::-1] if suffix.lower() != ".gz"), "")
    if suffix in PICKLES:
        raise DataError(
            f"'{path}' is a pickle, which can run any program when it is opened, so it is refused; where you trust it, "
            "convert it: numpy.savez('genes.npz', genes=list_of_names, values=matrix)"
        )
    readers = {
        ".csv": _read_text, ".tsv": _read_text, ".txt": _read_text, ".parquet": _read_parquet, ".pq": _read_parquet,
        ".npz": _read_npz, ".h5ad": _read_h5ad, ".json": _read_json,
    }  # fmt: skip
    if suffix not in readers:
        raise DataError(f"'{path}' has the ending '{suffix}'; expected embeddings as one of {', '.join(readers)}")
    if key and suffix not in (".npz", ".h5ad"):
        raise DataError(f"'{path}::{key}' asks for a matrix by name; only .npz and .h5ad files have several")
    return readers[suffix](path, key)


def _read_text(path: Path, key: str) -> Table:
    table = TextTable.peek(path, "the embeddings")
    named = (0, table.find(COLUMNS["ensembl"]), table.find(COLUMNS["symbol"]))
    frame = table.read({place: str for place in named if place is not None})
    header = list(table.header)
    if not isinstance(frame.index, pd.RangeIndex):  # as R writes it: no header above the names of the rows
        frame, header = table.read({}).reset_index(), ["", *header]
    if frame.shape[1] != len(header):
        raise DataError(f"the embeddings '{path}' have {len(header)} column names and rows of {frame.shape[1]} values")
    return _of_frame(path, frame.set_axis(header, axis=1))


def _read_parquet(path: Path, key: str) -> Table:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(f"reading '{path}' needs the package pyarrow; try: pip install pyarrow") from error
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"'{path}' is no Parquet file that can be read: {_line(error)}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    return _of_frame(path, frame)


def _frame(header: Iterable[Any]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(header))


def _of_frame(path: Path, frame: pd.DataFrame) -> Table:
    """Gene columns by name, else the first column; the others are numbers, but for annotation."""
    header = [str(cell) for cell in frame.columns]
    frame = frame.set_axis(range(len(header)), axis=1)
    position = {name: place for place, name in reversed(list(enumerate(header)))}
    named = {
        field: position[found[0]]
        for field in ("ensembl", "symbol")
        if (found := columns.find(_frame(position), COLUMNS[field]))
    }
    if not named:
        named = {"symbol": 0}
    leave = {*named.values(), *(position[name] for name in columns.find(_frame(position), _ANNOTATION))}
    leave |= {place for place, cell in enumerate(header) if cell in ("", "Unnamed: 0")}
    numbers = [place for place in range(len(header)) if place not in leave]
    if not len(frame) or not numbers:
        raise DataError(
            f"'{path}' has {len(frame)} rows and {len(numbers)} columns of numbers; expected a row per gene and a "
            "column per number"
        )
    names = {field: frame[place].fillna("").astype(str).tolist() for field, place in named.items()}
    _check_names(path, [header[place] for place in numbers], next(iter(names.values())))
    for place in numbers:
        if not pd.api.types.is_numeric_dtype(frame[place]) or pd.api.types.is_bool_dtype(frame[place]):
            bad = pd.to_numeric(frame[place], errors="coerce").isna().to_numpy()
            row = int(np.argmax(bad))
            raise DataError(
                f"'{path}', row {row + 2}, column '{header[place]}': '{frame[place].iloc[row]}' is no number; expected "
                "numbers in every column but those of gene names (is the file whole?)"
            )
    values = frame[numbers].to_numpy(dtype=np.float64)
    return Table(values, names.get("ensembl") or names["symbol"], names.get("symbol") or names["ensembl"])


def _check_names(path: Path, header: Sequence[str], names: Sequence[str]) -> None:
    """DataError where rows are called as dimensions are (0, 1, 2; PC1, PC2): perhaps the columns are genes."""
    if not _are_dimensions(names):
        return
    called = ", ".join(names[:3])
    if len(header) > 2 and not _are_dimensions(header):
        raise DataError(
            f"the rows of '{path}' are called {called}, its columns {', '.join(header[:3])}; "
            "expected a row per gene, so transpose the table"
        )
    raise DataError(
        f"'{path}' has no column of gene names (its rows are called {called}); expected symbols or Ensembl ids in the "
        "first column, or in one called symbol or ensembl"
    )


def _are_dimensions(names: Sequence[str]) -> bool:
    stems = {re.sub(r"[\d\W_]+(e[+-]?\d+)?", "", name.lower()) for name in names}
    return len(stems) == 1 and stems <= set(_DIMENSIONS)


def _read_npz(path: Path, key: str) -> Table:
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle
        raise DataError(f"'{path}' is no NPZ file; expected one as numpy.savez writes it")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: one for name in file.files if isinstance(one := file[name], np.ndarray)}
    except _NOT_NPZ as error:
        objects = "an array of objects, which could run code; save names as text: numpy.array(names, dtype=str)"
        said = objects if "allow_pickle" in str(error) else _line(error)
        raise DataError(f"'{path}' is no NPZ file of plain arrays: {said}") from error
    texts = {name: one for name, one in arrays.items() if one.dtype.kind in "US" and one.ndim == 1}
    matrices = {name: one for name, one in arrays.items() if one.ndim == 2 and one.dtype.kind in "iuf"}
    names = {
        field: [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in texts[found[0]]]
        for field, known in (("ensembl", COLUMNS["ensembl"]), ("symbol", NAMES))
        if (found := columns.find(_frame(texts), known))
    }
    if names and matrices:
        key = _choose(path, matrices, key)
        both = names.get("ensembl") or names["symbol"], names.get("symbol") or names["ensembl"]
        return Table(matrices[key], *both, key=key)
    if arrays and all(one.ndim == 1 and one.dtype.kind in "iuf" for one in arrays.values()):
        return _of_vectors(path, arrays.items())
    there = ", ".join(f"{name} {one.dtype}{list(one.shape)}" for name, one in list(arrays.items())[:6]) or "nothing"
    raise DataError(
        f"'{path}' holds {there}; expected an array of names (genes, symbol or ensembl) and one matrix, or one vector "
        "per gene"
    )


def _read_h5ad(path: Path, key: str) -> Table:
    data = open_h5ad(path)
    if not len(data.varm):
        raise DataError(f"'{path}' has no varm; expected embeddings of its genes there")
    key = _choose(path, data.varm, key)
    values = data.varm[key]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    names = {field: columns.find(data.var, COLUMNS[field]) for field in ("ensembl", "symbol")}
    index = data.var_names.astype(str).tolist()
    ensembl, symbol = (columns.text(data.var[found[0]]).tolist() if found else index for found in names.values())
    return Table(values, ensembl, symbol, key)


def _choose(path: Path, matrices: Mapping[str, Any], key: str) -> str:
    """The matrix that is asked for, or the only one."""
    there = ", ".join(matrices)
    if key and key not in matrices:
        raise DataError(f"'{path}' has no matrix '{key}'{did_you_mean(key, matrices)}; there are: {there}")
    if not key and len(matrices) > 1:
        raise DataError(f"'{path}' has several matrices: {there}; choose one as '{path}::{next(iter(matrices))}'")
    return key or next(iter(matrices))


def _read_json(path: Path, key: str) -> Table:
    try:
        with reading(path, "the embeddings") as file:
            text = file.read()
        document = json.loads(text, object_pairs_hook=tuple)  # pairs, so that a repeated name is seen
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON document that can be read: {_line(error)}") from error
    if not isinstance(document, tuple) or not document:
        raise DataError(f"'{path}' holds no JSON object with genes; expected {{symbol: [numbers], ...}}")
    return _of_vectors(path, document)


def _of_vectors(path: Path, pairs: Iterable[tuple[str, Any]]) -> Table:
    """Gene and vector of each; DataError where one is no vector of numbers, or of another length than the first."""
    names, vectors = list[str](), list[np.ndarray]()
    for name, vector in pairs:
        try:
            values = np.asarray(vector)
        except ValueError:  # a list of lists of different lengths
            values = np.asarray(None)
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise DataError(f"'{path}': the entry of gene '{name}' is no vector; expected a list of numbers")
        if vectors and len(values) != len(vectors[0]):
            raise DataError(
                f"'{path}': gene '{name}' has {len(values)} numbers, '{names[0]}' {len(vectors[0])}; expected as many"
            )
        names.append(name)
        vectors.append(values)
    return Table(np.stack(vectors), names, names)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
