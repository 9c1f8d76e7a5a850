"""Message passing on the graph of coding and non-coding genes (Eq. 11).

States carry a conditions axis: every condition has its own masked genes and all share graph, weights and dropout masks,
so a prediction does not depend on which conditions are computed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grape_dgl.engine import Edges, Engine, edge_ends, hetero_conv, softmax, weighted_sum
from grape_dgl.graph.hetero import GeneGraph
from grape_dgl.graph.schema import Schema
from grape_dgl.nn.logits import attention_logits

States = dict[str, Float[Tensor, "_ conditions _"]]


class GATv2(nn.Module):
    """GATv2 (Brody, Alon, Yahav 2022) on one relation, with an additive bias per edge and dropout masks passed in.

    Parameters are named as in DGL's ``GATv2Conv``, which it equals at zero bias and without masks.
    Shapes: ``h`` [genes_of_type conditions d_in] of sources and targets -> [targets conditions heads width].
    """

    def __init__(self, d_in: int, width: int, heads: int, negative_slope: float = 0.2) -> None:
        super().__init__()
        self.heads, self.width, self.negative_slope = heads, width, negative_slope
        self.fc_src = nn.Linear(d_in, heads * width)
        self.fc_dst = nn.Linear(d_in, heads * width)
        self.attn = nn.Parameter(torch.empty(1, heads, width))
        gain = nn.init.calculate_gain("relu")
        for weight in (self.fc_src.weight, self.fc_dst.weight, self.attn):
            nn.init.xavier_normal_(weight, gain=gain)
        nn.init.zeros_(self.fc_src.bias)
        nn.init.zeros_(self.fc_dst.bias)

    def forward(
        self,
        relation: Any,
        ends: tuple[Float[Tensor, "sources conditions d_in"], Float[Tensor, "targets conditions d_in"]],
        bias: Float[Tensor, " edges"],
        mask: Float[Tensor, "edges #conditions heads #one"] | None = None,
    ) -> Float[Tensor, "targets conditions heads width"]:
        source, target = self.source(ends[0]), self.target(ends[1])
        attention = softmax(relation, self.logits(edge_ends(relation), source, target, bias))
        return weighted_sum(relation, source, attention if mask is None else attention * mask)

    def source(self, h: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows heads width"]:
        """What a gene sends."""
        return self.fc_src(h).unflatten(-1, (self.heads, self.width))

    def target(self, h: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows heads width"]:
        """What a gene compares the senders with."""
        return self.fc_dst(h).unflatten(-1, (self.heads, self.width))

    def logits(
        self,
        edges: Edges,
        source: Float[Tensor, "sources *conditions heads width"],
        target: Float[Tensor, "targets *conditions heads width"],
        bias: Float[Tensor, " edges"],
    ) -> Float[Tensor, "edges *conditions heads 1"]:
        """Attention logit of every edge, its bias added."""
        logits = attention_logits(edges, source, target, self.attn[0], self.negative_slope)
        return logits + bias.view(-1, *[1] * (logits.dim() - 1))


class BiotypeAttention(nn.Module):
    """One layer of Eq. 11 before norm and ReLU: a GATv2 per relation, averaged over heads and relations.

    The mean is over the relations of the schema that end in the receiver's type; one without edges contributes zero.
    Differs: both directions of coding-noncoding share one module, since the graph is undirected.
    """

    def __init__(self, d_in: int, width: int, heads: int, schema: Schema, engine: Engine) -> None:
        super().__init__()
        own = {r: GATv2(d_in, width, heads) for _, r, _ in schema.relations if r not in schema.shared}
        modules: dict[str, nn.Module] = {r: own[schema.shared.get(r, r)] for _, r, _ in schema.relations}
        self.conv = hetero_conv(engine, modules, lambda parts, kind: torch.stack(parts).sum(0) / schema.incoming(kind))

    def forward(self, graph: GeneGraph, h: States, bias: dict[str, Tensor], masks: LayerMasks | None = None) -> States:
        if masks is not None:
            h = {kind: h[kind] * masks.features[kind] for kind in h}
        edge_masks: dict[str, Tensor] = {} if masks is None else masks.attention
        kwargs = {r: {"bias": bias[r], "mask": edge_masks.get(r)} for _, r, _ in graph.schema.relations}
        received = self.conv(graph.handle, h, mod_kwargs=kwargs)
        return {kind: heads.mean(dim=2) for kind, heads in received.items()}


@dataclass(frozen=True)
class LayerMasks:
    """Dropout of one layer, the same for all conditions: 0 or 1 / (1 - p) per feature and per attention weight."""

    features: dict[str, Float[Tensor, "_ 1 _"]]
    attention: dict[str, Float[Tensor, "_ 1 heads 1"]]


class MessagePassing(nn.Module):
    """Eq. 11: ``P^(l+1) = ReLU(LayerNorm(BiotypeAttention(P^(l))))``, no ReLU after the last layer.

    Differs: an edge's similarity is added to the attention logit as ``log(max(G_ij, 0.01))``, so the prediction loss
    reaches the graph (METHOD decision 2).
    """

    def __init__(
        self, d_in: int, width: int, heads: int, layers: int, dropout: float, schema: Schema, engine: Engine
    ) -> None:
        super().__init__()
        sizes = [d_in] + [width] * layers
        self.heads, self.dropout, self.sizes, self.engine = heads, dropout, sizes, engine
        self.layers = nn.ModuleList(BiotypeAttention(d, width, heads, schema, engine) for d in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))

    def relation(self, layer: int, name: str) -> GATv2:
        """The attention of one relation in one layer."""
        return cast(GATv2, cast(Any, self.layers[layer]).conv.mods[name])

    def draw_masks(self, graph: GeneGraph) -> list[LayerMasks] | None:
        """Fresh dropout masks for one step; None where nothing is dropped."""
        if not self.training or self.dropout == 0:
            return None
        like = next(iter(graph.similarity.values()))

        def keep(*shape: int) -> Tensor:  # F.dropout takes four times as long on a CPU
            drawn = torch.rand(shape, dtype=like.dtype, device=like.device) >= self.dropout
            return drawn.to(like.dtype) / (1 - self.dropout)

        return [
            LayerMasks(
                {kind: keep(len(rows), 1, d) for kind, rows in graph.order.items()},
                {relation: keep(len(value), 1, self.heads, 1) for relation, value in graph.similarity.items()},
            )
            for d in self.sizes[:-1]
        ]

    def forward(
        self,
        graph: GeneGraph,
        h: Float[Tensor, "genes conditions d_in"],
        masks: list[LayerMasks] | None = None,
        similarity_bias: bool = True,
    ) -> Float[Tensor, "genes conditions width"]:
        bias = edge_bias(graph, similarity_bias)
        states = graph.split(h)
        for step, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            states = {kind: norm(p) for kind, p in layer(graph, states, bias, masks[step] if masks else None).items()}
            if step + 1 < len(self.layers):
                states = {kind: torch.relu(p) for kind, p in states.items()}
        return graph.merge(states)


def edge_bias(graph: GeneGraph, similarity_bias: bool) -> dict[str, Float[Tensor, "_"]]:
    """``log(max(G_ij, 0.01))`` by relation, 0 for self-loops; all 0 without ``similarity_bias``."""
    if not similarity_bias:
        return {relation: torch.zeros_like(value) for relation, value in graph.similarity.items()}
    return {relation: torch.log(value.clamp(min=0.01)) for relation, value in graph.similarity.items()}
