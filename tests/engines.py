"""Both engines for the tests; what needs DGL is skipped where DGL has no wheel (Windows, Python 3.13 and later)."""

from __future__ import annotations

import importlib.util

import pytest

from grape_dgl.engine import Engine

needs_dgl = pytest.mark.skipif(importlib.util.find_spec("dgl") is None, reason="DGL has no wheel for this Python")
BOTH: tuple[Engine, ...] = ("dgl", "torch")
ENGINES = (pytest.param("dgl", marks=needs_dgl), "torch")
