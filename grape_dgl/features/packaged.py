"""Model files that ship inside Python packages: found without importing the package, and checked by their sha256."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pooch

from grape_dgl.errors import DataError


def packaged_file(module: str, name: str, digest: str, install: str) -> Path:
    """Path of the file ``name`` in the installed package ``module``, which is not imported.

    Raises DataError, with the command that installs it, where package or file is missing or the sha256 differs.
    """
    spec = importlib.util.find_spec(module)
    path = Path((spec.submodule_search_locations or [""])[0], name) if spec else Path(name)
    if spec is None or not path.is_file():
        raise DataError(f"the package that holds {path.name} is not installed; try: pip install {install}")
    if (found := pooch.file_hash(str(path))) != digest:
        raise DataError(f"'{path}' has sha256 {found}; expected {digest}; try: pip install --force-reinstall {install}")
    return path
