"""Which code and libraries the rows of a long table are from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import grape_dgl
from grape_dgl.pipeline import versions


@cache
def row_versions() -> str:
    """Versions that decide the numbers, ``code`` among them: 12 digits of the sha256 of this package; JSON."""
    top = Path(grape_dgl.__file__).parent
    code = hashlib.sha256()
    for path in sorted(top.rglob("*.py")):
        code.update(f"{path.relative_to(top).as_posix()}:{hashlib.sha256(path.read_bytes()).hexdigest()};".encode())
    return json.dumps(versions() | {"code": code.hexdigest()[:12]}, sort_keys=True)


def rows_by_versions(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The sets of versions that the rows of ``table`` are of, with the number of their jobs, the most first.

    Failed jobs of an older grape_dgl name none and do not count.
    """
    jobs = table[["data", "split", "seed", "configuration", "versions"]].drop_duplicates()
    found = Counter(text for text in jobs["versions"] if text)
    return [{"jobs": number, "versions": json.loads(text)} for text, number in found.most_common()]


def difference(found: list[dict[str, Any]]) -> str:
    """What differs between the sets of :func:`rows_by_versions`, in one line; "" where there is but one."""
    if len(found) < 2:
        return ""
    names = sorted({name for one in found for name in one["versions"]})
    names = [name for name in names if len({one["versions"].get(name) for one in found}) > 1]
    return "; ".join(
        f"{one['jobs']} jobs of " + ", ".join(f"{name} {one['versions'].get(name, 'unknown')}" for name in names)
        for one in found
    )
