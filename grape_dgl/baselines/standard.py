"""The baselines that stand in every table."""

from __future__ import annotations

import numpy as np

from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.linear import LinearBaseline
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import Model


def standard_baselines(features: np.ndarray | None = None) -> list[Model]:
    """``control``, ``mean`` and ``linear``; ``features`` [genes, d] embed unmeasured targets (zeros: none)."""
    return [ControlBaseline(), MeanBaseline(), LinearBaseline(features)]
