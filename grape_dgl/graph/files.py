"""The gene graph as files that Cytoscape, igraph and pandas open: edge table, node table, GraphML."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import torch

from grape_dgl.data.genes import Genes
from grape_dgl.errors import DataError, did_you_mean
from grape_dgl.graph.hetero import Pairs
from grape_dgl.writing import write_beside

MEANING = "Undirected learned similarity of genes (GRAPE, Eq. 9): not evidence of causal regulation."


def edge_table(pairs: Pairs, genes: Genes) -> pd.DataFrame:
    """A row per undirected edge: ``source``, ``target``, ``relation`` (cc, cn, nn), ``weight``; strongest first."""
    table = pd.DataFrame(
        {
            "source": genes.symbol[pairs.first.cpu().numpy()],
            "target": genes.symbol[pairs.second.cpu().numpy()],
            "relation": edge_relations(pairs, genes),
            "weight": pairs.value.detach().cpu().numpy(),
        }
    )
    return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def edge_relations(pairs: Pairs, genes: Genes) -> np.ndarray:
    """cc, cn or nn of every pair [pairs]."""
    coding = genes.coding.astype(int)
    return np.array(["nn", "cn", "cc"])[coding[pairs.first.cpu().numpy()] + coding[pairs.second.cpu().numpy()]]


def write_edges(table: pd.DataFrame, path: Path) -> None:
    """Write an edge table as TSV (gzip by the name), beside and renamed."""
    write_beside(path, lambda beside: table.to_csv(beside, sep="\t", index=False, float_format="%.6g"))


def write_graphml(table: pd.DataFrame, genes: Genes, path: Path) -> None:
    """Write nodes (biotype, coding, measured) and edges (relation, weight) as GraphML."""
    network = nx.Graph(description=MEANING)
    columns = zip(genes.symbol, genes.ensembl, genes.biotype, genes.coding, strict=True)
    for place, (symbol, ensembl, biotype, coding) in enumerate(columns):
        network.add_node(
            str(symbol),
            ensembl=str(ensembl),
            biotype=str(biotype),
            coding=bool(coding),
            measured=place < genes.measured,
        )
    for row in table.itertuples():
        network.add_edge(str(row.source), str(row.target), relation=str(row.relation), weight=float(row.weight))
    write_beside(path, lambda beside: nx.write_graphml(network, beside))


def read_edges(path: Path, genes: Genes) -> Pairs:
    """Pairs from an edge table (``source``, ``target``, ``weight``); self-loops and repeated pairs are an error.

    Raises DataError for a missing column, an unknown gene, a weight outside (0, 1].
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype={"source": str, "target": str}, keep_default_na=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"cannot read the edge table '{path}': {error}; expected a TSV as build-graph writes it"
        ) from error
    missing = {"source", "target", "weight"} - set(table.columns)
    if missing:
        raise DataError(f"the edge table '{path}' lacks the column(s) {', '.join(sorted(missing))}")
    place = {symbol: row for row, symbol in enumerate(genes.symbol)}
    unknown = sorted({*table["source"], *table["target"]} - set(place))
    if unknown:
        hint = did_you_mean(unknown[0], place)
        raise DataError(
            f"the edge table '{path}' names {len(unknown)} gene(s) that are not nodes, first '{unknown[0]}'{hint}"
        )
    weight = pd.to_numeric(table["weight"], errors="coerce").to_numpy(dtype=np.float32)
    if not ((weight > 0) & (weight <= 1)).all():
        row = int(np.argmin((weight > 0) & (weight <= 1)))
        raise DataError(
            f"'{path}', row {row + 2}: weight {table['weight'][row]!r}; expected a number above 0 and at most 1"
        )
    a, b = (np.array([place[name] for name in table[end]], dtype=np.int64) for end in ("source", "target"))
    if (a == b).any():
        raise DataError(f"'{path}', row {int(np.argmax(a == b)) + 2}: self-loop; every gene has one already, remove it")
    first, second = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((second, first))
    first, second, weight = first[order], second[order], weight[order]
    if ((first[1:] == first[:-1]) & (second[1:] == second[:-1])).any():
        raise DataError(f"'{path}' lists a pair of genes twice; the graph is undirected, keep one row per pair")
    return Pairs(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(weight))
