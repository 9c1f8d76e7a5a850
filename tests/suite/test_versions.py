"""What rows say about the code that they are from, and the line for a table of several codes."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from grape_dgl.suite import versions
from grape_dgl.suite.versions import difference, row_versions, rows_by_versions


def table(*jobs: tuple[str, int, dict[str, str] | None]) -> pd.DataFrame:
    """Two rows per job: model, seed and versions."""
    rows = [
        {
            "data": "d",
            "split": "s",
            "seed": seed,
            "configuration": model,
            "versions": json.dumps(known) if known else "",
        }
        for model, seed, known in jobs
    ]
    return pd.DataFrame(rows * 2).astype({"versions": "category"})


def test_another_line_of_code_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(row_versions())["torch"] == version("torch")
    found = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (tmp_path / "__init__.py").write_text(text, encoding="ascii")
        monkeypatch.setattr(versions.grape_dgl, "__file__", str(tmp_path / "__init__.py"))
        found.append(json.loads(row_versions.__wrapped__())["code"])
    assert found[0] == found[2] != found[1] and len(found[0]) == 12


def test_jobs_are_counted_by_what_differs() -> None:
    old, new = {"torch": "2.6", "grape_dgl": "0.1.0"}, {"torch": "2.6", "grape_dgl": "0.1.0", "code": "abc"}
    found = rows_by_versions(table(("a", 0, old), ("a", 1, new), ("b", 0, new), ("b", 1, None)))
    assert found == [{"jobs": 2, "versions": new}, {"jobs": 1, "versions": old}]
    assert difference(found) == "2 jobs of code abc; 1 jobs of code unknown"
    assert difference(found[:1]) == difference([]) == ""
