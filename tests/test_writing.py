"""JSON as it is written: numbers of numpy are numbers, and nothing that is not finite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.writing import write_json


def test_numbers_of_numpy_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"sum": np.float32(1e4), "cells": np.int64(3), "file": Path("x"), "none": None})
    assert json.loads(path.read_text()) == {"sum": 1e4, "cells": 3, "file": "x", "none": None}


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf")])
def test_what_is_not_finite_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": value})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
