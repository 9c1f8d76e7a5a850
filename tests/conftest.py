"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores; set before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command: threads that wait leave the core to others


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a real data file that lives outside the repository; skips, naming the file, where it is not there."""
    folder = Path(os.environ.get("GRAPE_DGL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"real data file {name} is not in {folder} (set GRAPE_DGL_TEST_DATA)")
        return path

    return find
