"""From a list of similar gene pairs to the heterograph that messages run on (Eq. 9, 11)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grape_dgl.engine import Engine, Triple, graph
from grape_dgl.graph.schema import BIOTYPE, HOMOGENEOUS, Schema
from grape_dgl.sparse import Rows


@dataclass(frozen=True)
class Pairs:
    """Undirected edges without self-loops: ``first[e] < second[e]`` and the similarity of the two genes."""

    first: Int[Tensor, " pairs"]
    second: Int[Tensor, " pairs"]
    value: Float[Tensor, " pairs"]

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Pairs:
        """The same pairs on another device, with values in ``dtype``."""
        return Pairs(self.first.to(device), self.second.to(device), self.value.to(device, dtype))

    def degrees(self, genes: int) -> Int[Tensor, " genes"]:
        """Number of neighbours of every gene (self-loops not counted)."""
        return torch.bincount(torch.cat([self.first, self.second]), minlength=genes)


@dataclass(frozen=True)
class Prior:
    """A fixed member of M (Eq. 5): weighted pairs, and the genes that its source knows, with an edge or without."""

    name: str
    pairs: Pairs
    """``first < second`` in row order, weights above 0 and at most 1."""
    present: Bool[Tensor, " genes"]
    source: Mapping[str, Any] = field(default_factory=dict)
    """Kind, settings, and name and sha256 of each file; JSON-able."""

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Prior:
        """The same prior on another device, with weights in ``dtype``."""
        return Prior(self.name, self.pairs.to(device, dtype), self.present.to(device), self.source)


@dataclass(frozen=True)
class GeneGraph:
    """A heterograph with a self-loop at every gene, and the similarity of every directed edge by relation.

    ``ends`` are the source and target of every edge, counted within their node type; ``order`` lists the genes of each
    type; ``handle`` belongs to the engine.
    """

    schema: Schema
    handle: Any
    ends: dict[str, tuple[Int[Tensor, "_"], Int[Tensor, "_"]]]
    similarity: dict[str, Float[Tensor, "_"]]
    order: dict[str, Int[Tensor, "_"]]

    @functools.cached_property
    def hears(self) -> Rows:
        """All relations in one: gene ``i`` hears the genes of row ``i``; as often as they are heard by it."""
        ends = [
            (self.order[source][self.ends[relation][0]], self.order[target][self.ends[relation][1]])
            for source, relation, target in self.schema.relations
        ]
        src, dst = (torch.cat(side) for side in zip(*ends, strict=True))
        genes = sum(len(rows) for rows in self.order.values())
        return Rows.of(dst, src, genes, genes)

    @property
    def edges(self) -> int:
        """Of all relations, self-loops among them."""
        return sum(len(value) for value in self.similarity.values())

    def split(self, h: Float[Tensor, "genes *rest"]) -> dict[str, Float[Tensor, "_ *rest"]]:
        """Rows of ``h`` by node type."""
        return {kind: h.index_select(0, rows) for kind, rows in self.order.items()}

    def merge(self, parts: dict[str, Float[Tensor, "_ *rest"]]) -> Float[Tensor, "genes *rest"]:
        """Inverse of :meth:`split`."""
        rows = torch.cat([self.order[kind] for kind in parts])
        return torch.cat(list(parts.values())).index_select(0, torch.argsort(rows))


def gene_graph(pairs: Pairs, coding: Bool[Tensor, " genes"], engine: Engine, biotypes: bool = True) -> GeneGraph:
    """The heterograph of ``pairs``: both directions of every pair and one self-loop of similarity 1 per gene.

    ``biotypes=False`` gives one node type and one relation (ablation ``no_biotype``).
    """
    genes = len(coding)
    loops = torch.arange(genes, device=coding.device)
    src = torch.cat([pairs.first, pairs.second, loops])
    dst = torch.cat([pairs.second, pairs.first, loops])
    weight = torch.cat([pairs.value, pairs.value, torch.ones(genes, dtype=pairs.value.dtype, device=coding.device)])

    schema = BIOTYPE if biotypes else HOMOGENEOUS
    kind = (~coding).long() if biotypes else torch.zeros_like(loops)
    order = {name: torch.nonzero(kind == code).squeeze(1) for code, name in enumerate(schema.node_types)}
    local = torch.zeros_like(loops)
    for rows in order.values():
        local[rows] = torch.arange(len(rows), device=rows.device)

    code_of = {name: code for code, name in enumerate(schema.node_types)}
    edges: dict[Triple, tuple[Tensor, Tensor]] = {}
    similarity: dict[str, Tensor] = {}
    for source, relation, target in schema.relations:
        mine = torch.nonzero((kind[src] == code_of[source]) & (kind[dst] == code_of[target])).squeeze(1)
        edges[source, relation, target] = (local[src[mine]], local[dst[mine]])
        similarity[relation] = weight[mine]
    handle = graph(engine, edges, {name: len(rows) for name, rows in order.items()})
    return GeneGraph(schema, handle, {t[1]: e for t, e in edges.items()}, similarity, order)
