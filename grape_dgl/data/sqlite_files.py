"""What becomes of a damaged SQLite file."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("grape_dgl")


def set_aside(path: Path, error: Exception) -> None:
    """Rename a damaged database, so that a new one can begin, and say so."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    log.warning("the cache '%s' is damaged (%s); it is set aside as '%s' and a new one begun", path, error, aside.name)
