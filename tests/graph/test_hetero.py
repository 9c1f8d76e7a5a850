"""From pairs to the heterograph (Eq. 9, 11)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engines import ENGINES

from grape_dgl.engine import Engine, TorchRelation
from grape_dgl.graph.hetero import GeneGraph, Pairs, gene_graph
from grape_dgl.graph.schema import BIOTYPE, HOMOGENEOUS

CODING = torch.tensor([True, False, True, False, True])
PAIRS = Pairs(torch.tensor([0, 0, 1]), torch.tensor([2, 1, 3]), torch.tensor([0.5, 0.25, 0.75]))


def ends(relation: Any) -> tuple[list[int], list[int]]:
    if isinstance(relation, TorchRelation):
        return relation.src.tolist(), relation.dst.tolist()
    src, dst = relation.edges()
    return src.tolist(), dst.tolist()


def directed(graph: GeneGraph) -> dict[tuple[int, int], float]:
    """Every directed edge in global gene ids and its similarity."""
    found = {}
    for source, relation, target in graph.schema.relations:
        src, dst = ends(graph.handle[source, relation, target])
        for a, b, value in zip(src, dst, graph.similarity[relation].tolist(), strict=True):
            found[int(graph.order[source][a]), int(graph.order[target][b])] = value
    return found


@pytest.mark.parametrize("biotypes", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_both_directions_and_one_self_loop_per_gene(engine: Engine, biotypes: bool) -> None:
    graph = gene_graph(PAIRS, CODING, engine, biotypes)
    wanted = {(0, 2): 0.5, (2, 0): 0.5, (0, 1): 0.25, (1, 0): 0.25, (1, 3): 0.75, (3, 1): 0.75}
    assert directed(graph) == wanted | {(i, i): 1.0 for i in range(5)}
    assert graph.schema is (BIOTYPE if biotypes else HOMOGENEOUS)


def test_relation_sizes_by_hand() -> None:
    """c = {0, 2, 4}, n = {1, 3}: cc 0-2 twice + 3 loops, nn 1-3 twice + 2 loops, 0-1 once each way."""
    graph = gene_graph(PAIRS, CODING, "torch")
    assert {r: len(v) for r, v in graph.similarity.items()} == {"cc": 5, "nn": 4, "cn": 1, "nc": 1}
    assert {k: rows.tolist() for k, rows in graph.order.items()} == {"c": [0, 2, 4], "n": [1, 3]}


def test_split_and_merge_are_inverse() -> None:
    graph = gene_graph(PAIRS, CODING, "torch")
    h = torch.arange(10.0).view(5, 2)
    parts = graph.split(h)
    assert parts["n"].tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert torch.equal(graph.merge(parts), h)
    assert torch.equal(graph.merge(dict(reversed(parts.items()))), h)


def test_schema_divisors() -> None:
    assert (BIOTYPE.incoming("c"), BIOTYPE.incoming("n"), HOMOGENEOUS.incoming("g")) == (2, 2, 1)


def test_degrees_count_each_pair_at_both_ends() -> None:
    assert PAIRS.degrees(5).tolist() == [2, 2, 1, 1, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_similarity_keeps_its_gradient(engine: Engine) -> None:
    """Every pair's value stands on two directed edges, so its gradient is 2; the self-loops have none."""
    value = PAIRS.value.clone().requires_grad_()
    graph = gene_graph(Pairs(PAIRS.first, PAIRS.second, value), CODING, engine)
    sum(part.sum() for part in graph.similarity.values()).backward()
    assert value.grad is not None and value.grad.tolist() == [2.0, 2.0, 2.0]
