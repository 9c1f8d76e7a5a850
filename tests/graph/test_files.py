"""Edge table, node attributes and GraphML, and back again."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from grape_dgl.data.genes import Genes
from grape_dgl.errors import DataError
from grape_dgl.graph.files import edge_table, read_edges, write_edges, write_graphml
from grape_dgl.graph.hetero import Pairs

GENES = Genes(
    np.array(["A", "NA", "C", "D"]), np.array(["", "ENSG1", "", ""]),
    np.array(["protein_coding", "lncRNA", "", "snRNA"]), np.array([""] * 4), ("",) * 4, 3,
)  # fmt: skip
PAIRS = Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]), torch.tensor([0.25, 0.5, 0.75]))


def test_edge_table_by_hand() -> None:
    rows = edge_table(PAIRS, GENES).values.tolist()
    assert rows == [["NA", "D", "nn", 0.75], ["A", "C", "cc", 0.5], ["A", "NA", "cn", 0.25]]


@pytest.mark.parametrize("name", ["graph.tsv", "graph.tsv.gz"])
def test_written_is_read(tmp_path: Path, name: str) -> None:
    write_edges(edge_table(PAIRS, GENES), tmp_path / name)
    back = read_edges(tmp_path / name, GENES)
    assert torch.equal(back.first, PAIRS.first) and torch.equal(back.second, PAIRS.second)
    assert torch.equal(back.value, PAIRS.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_swapped_ends_are_the_same_edge(tmp_path: Path) -> None:
    (tmp_path / "g.tsv").write_text("source\ttarget\tweight\nD\tNA\t0.5\nC\tA\t1\n")
    back = read_edges(tmp_path / "g.tsv", GENES)
    assert list(zip(back.first.tolist(), back.second.tolist(), strict=True)) == [(0, 2), (1, 3)]
    assert back.value.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source\tweight\nA\t0.5\n", "lacks the column.s. target"),
        ("source\ttarget\tweight\nA\tCC\t0.5\n", "not nodes, first 'CC'"),
        ("source\ttarget\tweight\nA\tC\t0\n", "row 2: weight"),
        ("source\ttarget\tweight\nA\tC\t0.5\nA\tD\t1.5\n", "row 3: weight"),
        ("source\ttarget\tweight\nA\tC\tx\n", "row 2: weight"),
        ("source\ttarget\tweight\nA\tA\t0.5\n", "row 2: self-loop"),
        ("source\ttarget\tweight\nA\tC\t0.5\nC\tA\t0.5\n", "a pair of genes twice"),
        ("", "cannot read the edge table"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "g.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_edges(tmp_path / "g.tsv", GENES)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the edge table"):
        read_edges(tmp_path / "none.tsv", GENES)


def test_graphml_opens_in_networkx(tmp_path: Path) -> None:
    table = edge_table(PAIRS, GENES)
    write_graphml(table, GENES, tmp_path / "graph.graphml")
    network = nx.read_graphml(tmp_path / "graph.graphml")
    assert sorted(network) == ["A", "C", "D", "NA"]
    assert network.nodes["D"] == {"ensembl": "", "biotype": "snRNA", "coding": False, "measured": False}
    assert network.nodes["C"]["coding"] and network.nodes["C"]["measured"]
    assert network.edges["A", "NA"] == {"relation": "cn", "weight": 0.25}
    assert network.number_of_edges() == len(table)
    assert "not evidence of causal" in network.graph["description"]


def test_no_edges(tmp_path: Path) -> None:
    none = torch.zeros(0, dtype=torch.long)
    table = edge_table(Pairs(none, none, torch.zeros(0)), GENES)
    write_edges(table, tmp_path / "g.tsv")
    assert list(pd.read_csv(tmp_path / "g.tsv", sep="\t")) == ["source", "target", "relation", "weight"]
    assert len(read_edges(tmp_path / "g.tsv", GENES)) == 0
