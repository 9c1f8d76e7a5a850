"""Model files that ship inside Python packages: found without importing the package, and checked by their sha256."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from grape_dgl.errors import DataError


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packaged_file(module: str, name: str, digest: str, install: str) -> Path:
    """Path of the file ``name`` in the installed package ``module``, which is not imported.

    Raises DataError, with the command that installs it, where package or file is missing or the sha256 differs.
    """
    spec = importlib.util.find_spec(module)
    path = Path((spec.submodule_search_locations or [""])[0], name) if spec else Path(name)
    if spec is None or not path.is_file():
        raise DataError(f"the package that holds {path.name} is not installed; try: pip install {install}")
    if (found := sha256(path)) != digest:
        raise DataError(f"'{path}' has sha256 {found}; expected {digest}; try: pip install --force-reinstall {install}")
    return path
