"""Opening a .h5ad file, or saying what else it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
from anndata.experimental import read_dispatched

from grape_dgl.errors import DataError


def open_h5ad(path: Path, lazily: bool = False) -> ad.AnnData:
    """Read a .h5ad file; DataError that says what is wrong with it.

    With ``lazily``, its matrices (X, layers, raw) stay on disk until they are asked for, and of arrays beside cells and
    genes (``obsm``, ``varp``, ...) nothing is read; the file stays open as long as the object.
    """
    if not path.is_file():
        raise DataError(f"there is no file '{path}'")
    if not path.stat().st_size:
        raise DataError(f"'{path}' is an empty file")
    if not h5py.is_hdf5(path):
        raise DataError(f"'{path}' is no .h5ad file (not HDF5); expected an AnnData file as adata.write_h5ad writes it")
    try:
        with h5py.File(path) as file:
            missing = {"obs", "var"} - set(file)
        if missing:
            raise DataError(
                f"'{path}' is HDF5 but no .h5ad file (it has no '{min(missing)}'); "
                "read it with scanpy or pertpy and save it with adata.write_h5ad"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # duplicated names are handled, and old file formats are read all the same
            return _read_lazily(path) if lazily else ad.read_h5ad(path)
    except DataError:
        raise
    except Exception as error:  # anndata and h5py raise anything where a file is damaged
        raise DataError(f"'{path}' cannot be read as .h5ad: {' '.join(str(error).split())[:200]}") from error


def _read_lazily(path: Path) -> ad.AnnData:
    file = h5py.File(path)
    if "X" in file and "encoding-type" not in file["X"].attrs:
        file.close()
        return ad.read_h5ad(path)  # as anndata wrote before 0.7

    def read(function: Any, name: str, elem: Any, iospec: Any) -> Any:
        place = name.strip("/").split("/")
        if place in (["obsm"], ["obsp"], ["varm"], ["varp"]):
            return {}
        if place in (["X"], ["raw", "X"]) or (place[0] == "layers" and len(place) == 2):
            if iospec.encoding_type in ("csr_matrix", "csc_matrix"):
                return ad.io.sparse_dataset(elem)
            if iospec.encoding_type == "array":
                return elem
        return function(elem)

    found: ad.AnnData = read_dispatched(file, read)
    return found
