"""Opening a .h5ad file, or saying what else it is."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import h5py

from grape_dgl.errors import DataError


def open_h5ad(path: Path) -> ad.AnnData:
    """Read a .h5ad file; DataError that says what is wrong with it."""
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
            return ad.read_h5ad(path)
    except DataError:
        raise
    except Exception as error:  # anndata and h5py raise anything where a file is damaged
        raise DataError(f"'{path}' cannot be read as .h5ad: {' '.join(str(error).split())[:200]}") from error
