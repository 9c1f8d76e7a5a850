"""How every artefact is written: beside its place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` to a name beside ``path`` (same ending), then rename: a reader sees the old or the new file.

    The name is the process's own, so two processes that write one cache do not disturb each other.
    """
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
