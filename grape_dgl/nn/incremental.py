"""Message passing for many conditions at the price of one: the unmasked pass, and what each condition changes of it.

Masking a few genes changes only the states they reach. A receiver whose own state is unchanged gets the numerator and
denominator of its softmax corrected for its changed neighbours; one whose own state changed, or of whose softmax hardly
anything stays, is computed anew. Values and gradients equal a full pass per condition up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.engine import bipartite, weighted_sum
from grape_dgl.graph.hetero import GeneGraph
from grape_dgl.nn.biotype import GATv2, LayerMasks, MessagePassing, edge_bias
from grape_dgl.nn.reached import Reached

LEAST_SHARE = 0.01
"""Where less of a softmax stays than this, subtraction would lose digits: the receiver is computed anew."""


@dataclass(frozen=True)
class Incidence:
    """Edges by one of their ends."""

    start: Int[Tensor, " nodes_and_one"]
    edge: Int[Tensor, " edges"]

    @classmethod
    def by(cls, end: Int[Tensor, " edges"], nodes: int) -> Incidence:
        start = torch.zeros(nodes + 1, dtype=torch.long, device=end.device)
        start[1:] = torch.bincount(end, minlength=nodes).cumsum(0)
        return cls(start, torch.argsort(end, stable=True))

    def of(self, nodes: Int[Tensor, " rows"]) -> tuple[Int[Tensor, " found"], Int[Tensor, " found"]]:
        """All edges at ``nodes``, as (row of ``nodes``, edge)."""
        count = self.start[nodes + 1] - self.start[nodes]
        row = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), count)
        place = torch.arange(len(row), device=nodes.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return row, self.edge[self.start[nodes][row] + place]


@dataclass(frozen=True)
class Changed:
    """States of one type that differ from the unmasked pass; ``key`` = condition * genes_of_type + gene, sorted."""

    key: Int[Tensor, " rows"]
    state: Float[Tensor, "rows dim"]

    def find(self, key: Int[Tensor, " asked"]) -> Int[Tensor, " asked"]:
        """Row of every key, -1 where it is not there."""
        if not len(self.key):
            return torch.full_like(key, -1)
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        return torch.where(self.key[place] == key, place, -1)


@dataclass(frozen=True)
class RelationPass:
    """The unmasked pass on one relation: what is needed to correct it. ``share`` = exp(logit - top of its receiver)."""

    source: Float[Tensor, "sources heads width"]
    target: Float[Tensor, "targets heads width"]
    share: Float[Tensor, "edges heads 1"]
    top: Float[Tensor, "targets heads 1"]
    numerator: Float[Tensor, "targets heads width"]
    denominator: Float[Tensor, "targets heads 1"]

    @property
    def received(self) -> Float[Tensor, "targets heads width"]:
        return _divide(self.numerator, self.denominator)


def masked_states(
    messages: MessagePassing,
    graph: GeneGraph,
    fused: Float[Tensor, "genes dim"],
    conditions: Sequence[Sequence[int]],
    masks: list[LayerMasks] | None,
    similarity_bias: bool,
) -> Reached:
    """Eq. 11 for all conditions at once; rows are the genes within reach of a condition's perturbed genes."""
    step = _Step(messages, graph, edge_bias(graph, similarity_bias))
    states = graph.split(fused)
    changed = _perturbed(graph, fused, conditions)
    for number in range(len(messages.layers)):
        states, changed = step(number, states, changed, masks[number] if masks else None)
    columns, genes, rows = [], [], []
    for kind, part in changed.items():
        of_type = max(len(graph.order[kind]), 1)
        columns.append(part.key // of_type)
        genes.append(graph.order[kind][part.key % of_type])
        rows.append(part.state)
    return Reached(graph.merge(states), torch.cat(columns), torch.cat(genes), torch.cat(rows))


def affected_edges(graph: GeneGraph, conditions: Sequence[Sequence[int]], layers: int) -> Float[Tensor, " conditions"]:
    """Edges that the incremental pass computes for each condition; a full pass computes ``edges * layers``."""
    genes = sum(len(rows) for rows in graph.order.values())
    ends = [
        (graph.order[source][graph.ends[relation][0]], graph.order[target][graph.ends[relation][1]])
        for source, relation, target in graph.schema.relations
    ]
    src, dst = (torch.cat(side) for side in zip(*ends, strict=True))
    degree = torch.bincount(dst, minlength=genes).float()  # the graph is undirected: in = out
    reached = torch.zeros(genes, len(conditions), device=src.device)
    for column, targets in enumerate(conditions):
        reached[list(targets), column] = 1
    work = torch.zeros(len(conditions), device=src.device)
    for _ in range(layers):
        work += 2 * (degree @ reached)  # corrected receivers, and changed receivers computed anew
        reached = torch.zeros_like(reached).index_add_(0, dst, reached[src]).clamp_(max=1)
    return work


def _perturbed(
    graph: GeneGraph, fused: Float[Tensor, "genes dim"], conditions: Sequence[Sequence[int]]
) -> dict[str, Changed]:
    """The masked rows of P^(0): zero states of the perturbed genes."""
    pairs = sorted({(column, gene) for column, targets in enumerate(conditions) for gene in targets})
    column, gene = torch.tensor(pairs, dtype=torch.long, device=fused.device).reshape(-1, 2).T
    found = {}
    for kind, rows in graph.order.items():
        local = torch.full((len(fused),), -1, dtype=torch.long, device=fused.device)
        local[rows] = torch.arange(len(rows), device=fused.device)
        mine = local[gene] >= 0
        key = (column[mine] * len(rows) + local[gene[mine]]).sort().values
        found[kind] = Changed(key, fused.new_zeros(len(key), fused.shape[1]))
    return found


class _Step:
    """One layer for the unmasked pass and for everything that differs from it."""

    def __init__(self, messages: MessagePassing, graph: GeneGraph, bias: dict[str, Tensor]) -> None:
        self.messages, self.graph, self.bias = messages, graph, bias
        self.size = {kind: len(rows) for kind, rows in graph.order.items()}
        self.outgoing, self.incoming = {}, {}
        for source, relation, target in graph.schema.relations:
            src, dst = graph.ends[relation]
            self.outgoing[relation] = Incidence.by(src, self.size[source])
            self.incoming[relation] = Incidence.by(dst, self.size[target])

    def __call__(
        self, number: int, states: dict[str, Tensor], changed: dict[str, Changed], masks: LayerMasks | None
    ) -> tuple[dict[str, Tensor], dict[str, Changed]]:
        schema = self.graph.schema
        if masks is not None:
            states = {kind: h * masks.features[kind][:, 0] for kind, h in states.items()}
            changed = {
                kind: Changed(part.key, part.state * masks.features[kind][part.key % max(self.size[kind], 1), 0])
                for kind, part in changed.items()
            }
        asked = self._receivers(changed)
        unmasked: dict[str, list[Tensor]] = {kind: [] for kind in schema.node_types}
        differing: dict[str, list[Tensor]] = {kind: [] for kind in schema.node_types}
        for source, relation, target in schema.relations:
            mask = None if masks is None else masks.attention[relation][:, 0]
            module = self.messages.relation(number, relation)
            whole = self._pass(module, (source, relation, target), states, mask)
            unmasked[target].append(whole.received)
            differing[target].append(
                self._correct(module, (source, relation, target), whole, changed, asked[target], mask)
            )
        after = {kind: self._finish(number, parts, kind) for kind, parts in unmasked.items()}
        return after, {
            kind: Changed(asked[kind], self._finish(number, parts, kind)) for kind, parts in differing.items()
        }

    def _finish(self, number: int, parts: list[Tensor], kind: str) -> Float[Tensor, "rows width"]:
        """Mean over relations and heads, norm, and ReLU but for the last layer (Eq. 11)."""
        mean = torch.stack(parts).sum(0).mean(dim=1) / self.graph.schema.incoming(kind)
        normed = self.messages.norms[number](mean)
        return normed if number + 1 == len(self.messages.layers) else torch.relu(normed)

    def _receivers(self, changed: dict[str, Changed]) -> dict[str, Int[Tensor, "_"]]:
        """Keys of all genes that hear a changed one; self-loops make these include the changed ones."""
        found: dict[str, list[Tensor]] = {kind: [] for kind in self.size}
        for source, relation, target in self.graph.schema.relations:
            condition, gene = _parts(changed[source].key, self.size[source])
            row, edge = self.outgoing[relation].of(gene)
            found[target].append(condition[row] * self.size[target] + self.graph.ends[relation][1][edge])
        return {kind: torch.unique(torch.cat(keys)) for kind, keys in found.items()}

    def _pass(
        self, module: GATv2, triple: tuple[str, str, str], states: dict[str, Tensor], mask: Tensor | None
    ) -> RelationPass:
        handle, (_, dst) = self.graph.handle[triple], self.graph.ends[triple[1]]
        source, target = module.source(states[triple[0]]), module.target(states[triple[2]])
        logits = module.logits(handle, source, target, self.bias[triple[1]])
        top = _segment_max(logits.detach(), dst, len(target))
        share = torch.exp(logits - top[dst])
        numerator = weighted_sum(handle, source, share if mask is None else share * mask)
        return RelationPass(source, target, share, top, numerator, _segment_sum(share, dst, len(target)))

    def _correct(
        self,
        module: GATv2,
        triple: tuple[str, str, str],
        whole: RelationPass,
        changed: dict[str, Changed],
        asked: Int[Tensor, " rows"],
        mask: Tensor | None,
    ) -> Float[Tensor, "rows heads width"]:
        """What the ``asked`` receivers hear on one relation; edges come from rows of [old sources; changed sources]."""
        kind, relation, target_kind = triple
        sources, senders, owners = self.size[kind], changed[kind], changed[target_kind]
        src, dst = self.graph.ends[relation]
        condition, receiver = _parts(asked, self.size[target_kind])
        sender_condition, sender = _parts(senders.key, sources)
        row, edge = self.outgoing[relation].of(sender)
        slot = torch.searchsorted(asked, sender_condition[row] * self.size[target_kind] + dst[edge])
        own = owners.find(asked)
        with torch.no_grad():
            leaving = _segment_sum(whole.share[edge], slot, len(asked))
            stays = 1 - leaving / whole.denominator[receiver].clamp(min=1e-30)
            anew = (own >= 0) | (stays < LEAST_SHARE).flatten(1).any(dim=1)

        corrected = ~anew[slot]
        chosen = torch.nonzero(anew).squeeze(1)
        place, edge_anew = self.incoming[relation].of(receiver[chosen])
        slot_anew = chosen[place]
        hit = senders.find(condition[slot_anew] * sources + src[edge_anew])
        rows = torch.cat([sources + row[corrected], torch.where(hit >= 0, sources + hit, src[edge_anew])])
        slots, edges = torch.cat([slot[corrected], slot_anew]), torch.cat([edge[corrected], edge_anew])

        heard = torch.cat([whole.source, module.source(senders.state)])
        asking = torch.cat([whole.target, module.target(owners.state)])
        asking = asking[torch.where(own >= 0, self.size[target_kind] + own, receiver)]
        fresh = self._relation(rows, slots, len(heard), len(asked))
        logits = module.logits(fresh, heard, asking, self.bias[relation][edges])
        with torch.no_grad():
            again = anew[:, None, None]
            old_top, new_top = whole.top[receiver], _segment_max(logits, slots, len(asked))
            has_new = torch.zeros(len(asked), dtype=torch.bool, device=asked.device)
            has_new[slots] = True
            new_top = torch.where(has_new[:, None, None], new_top, old_top)
            top = torch.where(again, new_top, torch.maximum(old_top, new_top))
            keep = torch.where(again, torch.zeros_like(top), torch.exp(old_top - top))
        share = torch.exp(logits - top[slots])
        numerator = weighted_sum(fresh, heard, share if mask is None else share * mask[edges])
        denominator = _segment_sum(share, slots, len(asked))

        gone, gone_slot = edge[corrected], slot[corrected]
        old = whole.share[gone]
        stale = self._relation(src[gone], gone_slot, sources, len(asked))
        gone_numerator = weighted_sum(stale, whole.source, old if mask is None else old * mask[gone])
        numerator = numerator + keep * (whole.numerator[receiver] - gone_numerator)
        denominator = denominator + keep * (whole.denominator[receiver] - _segment_sum(old, gone_slot, len(asked)))
        return _divide(numerator, denominator)

    def _relation(self, src: Tensor, dst: Tensor, sources: int, targets: int) -> Any:
        return bipartite(self.messages.engine, src, dst, sources, targets)


def _parts(key: Int[Tensor, " rows"], of_type: int) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
    """Condition and gene of a key."""
    return key // max(of_type, 1), key % max(of_type, 1)


def _divide(
    numerator: Float[Tensor, "rows heads width"], denominator: Float[Tensor, "rows heads 1"]
) -> Float[Tensor, "rows heads width"]:
    """0 where nothing is received."""
    return numerator / torch.where(denominator > 0, denominator, 1.0)


def _segment_sum(
    values: Float[Tensor, "edges heads 1"], index: Int[Tensor, " edges"], size: int
) -> Float[Tensor, "rows heads 1"]:
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


def _segment_max(
    values: Float[Tensor, "edges heads 1"], index: Int[Tensor, " edges"], size: int
) -> Float[Tensor, "rows heads 1"]:
    """0 where a segment is empty."""
    spread = index.view(-1, 1, 1).expand_as(values)
    top = values.new_full((size, *values.shape[1:]), -torch.inf).scatter_reduce_(0, spread, values, "amax")
    return torch.where(top.isinf(), 0.0, top)
