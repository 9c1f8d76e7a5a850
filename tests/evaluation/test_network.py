"""AUROC of learned edges: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from grape_dgl.errors import DataError
from grape_dgl.evaluation.network import edge_auroc


def table(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def test_by_hand() -> None:
    """Edges ab .9 and bc .2, links ab and ac: ab beats the unlinked bc, ac (0) does not, so one of two."""
    edges = table(("b", "a", 0.9), ("b", "c", 0.2))
    network = table(("a", "b", 1.0), ("c", "a", 1.0), ("a", "elsewhere", 1.0))
    assert edge_auroc(edges, network, ["a", "b", "c"]) == pytest.approx((1 + 0) / 2)
    assert edge_auroc(table(("a", "b", 0.9), ("a", "c", 0.1)), network, ["a", "b", "c"]) == 1.0
    assert edge_auroc(table(), network, ["a", "b", "c"]) == 0.5


def test_equals_scikit_learn_and_ignores_direction() -> None:
    draw = np.random.default_rng(0)
    symbols = [f"g{i}" for i in range(20)]
    upper = np.triu_indices(20, k=1)
    weight = np.round(draw.random(len(upper[0])), 1) * (draw.random(len(upper[0])) < 0.4)
    linked = draw.random(len(upper[0])) < 0.2
    name = np.array(symbols)
    edges = pd.DataFrame({"source": name[upper[1]], "target": name[upper[0]], "weight": weight})[weight > 0]
    network = pd.DataFrame({"source": name[upper[0]], "target": name[upper[1]]})[linked]
    assert edge_auroc(edges, network, symbols) == pytest.approx(roc_auc_score(linked, weight))


def test_needs_links_and_pairs_without() -> None:
    with pytest.raises(DataError, match="0 of 1 pairs"):
        edge_auroc(table(("a", "b", 0.5)), table(("a", "x", 1.0)), ["a", "b"])
