"""What a gene graph is like: edges, degrees, isolated genes, and conditions that the graph cannot carry further."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from grape_dgl.data.conditions import targets
from grape_dgl.data.genes import Genes
from grape_dgl.graph.files import edge_relations
from grape_dgl.graph.hetero import Pairs


def graph_facts(pairs: Pairs, genes: Genes, conditions: Iterable[str]) -> dict[str, Any]:
    """Nodes by type, edges by relation, degrees (no self-loops), isolated genes by type; plain values for JSON.

    ``isolated_targets`` are the canonical ``conditions`` whose targets have no neighbour: they reach no one else.
    """
    degree = pairs.degrees(len(genes)).cpu().numpy()
    relations = edge_relations(pairs, genes)
    by_type = {"c": genes.coding, "n": ~genes.coding}
    return {
        "nodes": {kind: int(mask.sum()) for kind, mask in by_type.items()},
        "edges": {relation: int((relations == relation).sum()) for relation in ("cc", "cn", "nn")},
        "mean_degree": round(float(degree.mean()), 3),
        "degree_quantiles": {f"{q}%": int(np.percentile(degree, q)) for q in (0, 25, 50, 75, 95, 100)},
        "isolated": {kind: int((degree[mask] == 0).sum()) for kind, mask in by_type.items()},
        "isolated_targets": [
            name for name in conditions if not any(degree[genes.index(gene)] for gene in targets(name))
        ],
    }


def as_text(facts: dict[str, Any]) -> str:
    """One line for a reader."""
    edges, isolated = facts["edges"], facts["isolated"]
    text = (
        f"{sum(edges.values()):,} edges (cc {edges['cc']:,}, cn {edges['cn']:,}, nn {edges['nn']:,}), "
        f"mean degree {facts['mean_degree']:.1f}; "
        f"without neighbours: {isolated['c']:,} coding and {isolated['n']:,} non-coding genes"
    )
    alone = facts["isolated_targets"]
    return text + (f"; conditions whose targets have no neighbour: {', '.join(alone)}" if alone else "")
