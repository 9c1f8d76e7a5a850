"""How far a slow step has come, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

log = logging.getLogger("grape_dgl")


def bar(what: str, total: int, items: Iterable[Any] | None = None, **more: Any) -> tqdm[Any]:
    """A progress bar, over ``items`` or to be updated; none under --quiet or where stderr is no terminal."""
    shown = total and log.isEnabledFor(logging.INFO)
    return tqdm(items, **{"desc": what, "total": total, "unit": "gene", "disable": None if shown else True} | more)
