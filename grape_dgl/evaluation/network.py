"""How well a learned gene graph recovers a network that is known, such as the planted one of ``demo``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from grape_dgl.errors import DataError


def edge_auroc(edges: pd.DataFrame, network: pd.DataFrame, symbols: Sequence[str]) -> float:
    """Area under the ROC curve of edge weights against the links of ``network``, over all unordered pairs of genes.

    Args:
        edges: learned graph, columns ``source``, ``target``, ``weight``; a pair that is no edge has weight 0.
        network: known links, columns ``source``, ``target``; links with a gene outside ``symbols`` are left out.
        symbols: genes whose pairs count.
    The chance that a linked pair has a higher weight than an unlinked one, ties counting half: .5 is chance.
    Raises DataError where no pair, or every pair, is linked.
    """
    place = {symbol: i for i, symbol in enumerate(symbols)}
    weight = _matrix(edges, place, edges["weight"].to_numpy())
    linked = _matrix(network, place, np.ones(len(network))) > 0
    upper = np.triu_indices(len(place), k=1)
    ranks, links = rankdata(weight[upper]), linked[upper]
    positive = int(links.sum())
    negative = len(links) - positive
    if not positive or not negative:
        raise DataError(f"{positive} of {len(links)} pairs of genes are linked; expected some, not none or all")
    return float((ranks[links].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _matrix(table: pd.DataFrame, place: dict[str, int], values: np.ndarray) -> np.ndarray:
    """Symmetric [genes, genes] of the rows whose two genes have a place, 0 elsewhere."""
    inside = (table["source"].isin(place.keys()) & table["target"].isin(place.keys())).to_numpy()
    a, b = (table[end][inside].map(place).to_numpy(dtype=np.int64) for end in ("source", "target"))
    dense = np.zeros((len(place), len(place)))
    dense[a, b] = dense[b, a] = values[inside]
    return dense
