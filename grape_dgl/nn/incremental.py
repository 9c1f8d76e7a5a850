"""Message passing for many conditions at the price of one: the unmasked pass, and what each condition changes of it.

Masking a few genes changes only the states they reach. A receiver whose own state is unchanged gets the numerator and
denominator of its softmax corrected for its changed neighbours; one whose own state changed, or of whose softmax hardly
anything stays, is computed anew. Values and gradients equal a full pass per condition up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.engine import Triple, bipartite, pattern, weighted_sum
from grape_dgl.graph.hetero import GeneGraph
from grape_dgl.nn.biotype import LayerMasks, MessagePassing, edge_bias
from grape_dgl.nn.reached import Reached
from grape_dgl.sparse import Rows

LEAST_SHARE = 0.01
"""Where less of a softmax stays than this, subtraction would lose digits: the receiver is computed anew."""


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


def affected_edges(graph: GeneGraph, conditions: Sequence[Sequence[int]], layers: int) -> Float[Tensor, " conditions"]:
    """Edges that the incremental pass computes for each condition; a full pass computes ``edges * layers``."""
    start, heard = graph.hears.start.cpu(), graph.hears.column.cpu()  # not every device has sparse matrices
    hears, degree = Rows(start, heard, edge=heard, columns=len(start) - 1), start.diff().float()
    reached = degree.new_zeros(len(degree), len(conditions))
    for column, targets in enumerate(conditions):
        reached[list(targets), column] = 1
    matrix, work = hears.matrix(degree.new_ones(len(heard))), 2 * (degree @ reached)
    for _ in range(layers - 1):
        reached = (matrix @ reached).clamp_(max=1)
        work += 2 * (degree @ reached)  # corrected receivers, and changed receivers computed anew
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


class UnmaskedPass:
    """Eq. 11 with nobody perturbed, and what any conditions change of it (:meth:`reached`)."""

    def __init__(
        self,
        messages: MessagePassing,
        graph: GeneGraph,
        fused: Float[Tensor, "genes dim"],
        masks: list[LayerMasks] | None,
        similarity_bias: bool,
    ) -> None:
        self.messages, self.graph, self.masks, self.fused = messages, graph, masks, fused
        self.bias = edge_bias(graph, similarity_bias)
        self.size = {kind: len(rows) for kind, rows in graph.order.items()}
        self.pattern = {triple[1]: pattern(graph.handle[triple]) for triple in graph.schema.relations}
        self.passes: list[dict[str, RelationPass]] = []
        """By layer and relation"""
        states = graph.split(fused)
        for number in range(len(messages.layers)):
            if masks is not None:
                states = {kind: h * masks[number].features[kind][:, 0] for kind, h in states.items()}
            layer = {triple[1]: self._pass(number, triple, states) for triple in graph.schema.relations}
            self.passes.append(layer)
            states = self._finish(number, {relation: one.received for relation, one in layer.items()})
        self.states: Float[Tensor, "genes width"] = graph.merge(states)

    def reached(self, conditions: Sequence[Sequence[int]]) -> Reached:
        """All conditions at once; rows are the genes within reach of a condition's perturbed genes."""
        changed = _perturbed(self.graph, self.fused, conditions)
        for number in range(len(self.passes)):
            changed = self._layer(number, changed)
        columns, genes, rows = [], [], []
        for kind, part in changed.items():
            column, gene = _parts(part.key, self.size[kind])
            columns.append(column)
            genes.append(self.graph.order[kind][gene])
            rows.append(part.state)
        return Reached(self.states, torch.cat(columns), torch.cat(genes), torch.cat(rows))

    def _layer(self, number: int, changed: dict[str, Changed]) -> dict[str, Changed]:
        if self.masks is not None:
            features = self.masks[number].features
            changed = {
                kind: Changed(part.key, part.state * features[kind][part.key % max(self.size[kind], 1), 0])
                for kind, part in changed.items()
            }
        asked = self._receivers(changed)
        relations = self.graph.schema.relations
        heard = {triple[1]: self._correct(number, triple, changed, asked[triple[2]]) for triple in relations}
        return {kind: Changed(asked[kind], state) for kind, state in self._finish(number, heard).items()}

    def _attention_mask(self, number: int, relation: str) -> Float[Tensor, "edges heads 1"] | None:
        return None if self.masks is None else self.masks[number].attention[relation][:, 0]

    def _finish(
        self, number: int, heard: dict[str, Float[Tensor, "_ heads width"]]
    ) -> dict[str, Float[Tensor, "_ width"]]:
        """By type, from what its genes hear on each relation: mean over relations and heads, norm, and ReLU but for the
        last layer (Eq. 11)."""
        found = {}
        for kind in self.graph.schema.node_types:
            parts = [heard[relation] for _, relation, target in self.graph.schema.relations if target == kind]
            mean = torch.stack(parts).sum(0).mean(dim=1) / self.graph.schema.incoming(kind)
            normed = self.messages.norms[number](mean)
            found[kind] = normed if number + 1 == len(self.messages.layers) else torch.relu(normed)
        return found

    def _receivers(self, changed: dict[str, Changed]) -> dict[str, Int[Tensor, "_"]]:
        """Keys of all genes that hear a changed one; self-loops make these include the changed ones."""
        found: dict[str, list[Tensor]] = {kind: [] for kind in self.size}
        for source, relation, target in self.graph.schema.relations:
            condition, gene = _parts(changed[source].key, self.size[source])
            row, edge = self.pattern[relation].out_of.at(gene)
            found[target].append(condition[row] * self.size[target] + self.graph.ends[relation][1][edge])
        return {kind: torch.unique(torch.cat(keys)) for kind, keys in found.items()}

    def _pass(self, number: int, triple: Triple, states: dict[str, Tensor]) -> RelationPass:
        module, mask = self.messages.relation(number, triple[1]), self._attention_mask(number, triple[1])
        ends = self.graph.ends[triple[1]]
        source, target = module.source(states[triple[0]]), module.target(states[triple[2]])
        logits = module.logits(ends, source, target, self.bias[triple[1]])
        top = _segment_max(logits.detach(), ends[1], len(target))
        share = torch.exp(logits - top.index_select(0, ends[1]))
        numerator = weighted_sum(self.graph.handle[triple], source, share if mask is None else share * mask)
        return RelationPass(source, target, share, top, numerator, _segment_sum(share, ends[1], len(target)))

    def _correct(
        self, number: int, triple: Triple, changed: dict[str, Changed], asked: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows heads width"]:
        """What the ``asked`` receivers hear on one relation; edges come from rows of [old sources; changed sources]."""
        kind, relation, target_kind = triple
        module, mask = self.messages.relation(number, relation), self._attention_mask(number, relation)
        whole = self.passes[number][relation]
        sources, senders, owners = self.size[kind], changed[kind], changed[target_kind]
        src, dst = self.graph.ends[relation]
        condition, receiver = _parts(asked, self.size[target_kind])
        sender_condition, sender = _parts(senders.key, sources)
        row, edge = self.pattern[relation].out_of.at(sender)
        slot = torch.searchsorted(asked, sender_condition[row] * self.size[target_kind] + dst[edge])
        own = owners.find(asked)
        with torch.no_grad():
            leaving = _segment_sum(whole.share.index_select(0, edge), slot, len(asked))
            stays = 1 - leaving / whole.denominator[receiver].clamp(min=1e-30)
            anew = (own >= 0) | (stays < LEAST_SHARE).flatten(1).any(dim=1)

        corrected = ~anew[slot]
        chosen = torch.nonzero(anew).squeeze(1)
        place, edge_anew = self.pattern[relation].into.at(receiver[chosen])
        slot_anew = chosen[place]
        hit = senders.find(condition[slot_anew] * sources + src[edge_anew])
        rows = torch.cat([sources + row[corrected], torch.where(hit >= 0, sources + hit, src[edge_anew])])
        slots, edges = torch.cat([slot[corrected], slot_anew]), torch.cat([edge[corrected], edge_anew])

        heard = torch.cat([whole.source, module.source(senders.state)])
        asking = torch.cat([whole.target, module.target(owners.state)])
        asks = torch.where(own >= 0, self.size[target_kind] + own, receiver)[slots]
        logits = module.logits((rows, asks), heard, asking, self.bias[relation].index_select(0, edges))
        with torch.no_grad():
            again = anew[:, None, None]
            old_top, new_top = whole.top[receiver], _segment_max(logits, slots, len(asked))
            has_new = torch.zeros(len(asked), dtype=torch.bool, device=asked.device)
            has_new[slots] = True
            new_top = torch.where(has_new[:, None, None], new_top, old_top)
            top = torch.where(again, new_top, torch.maximum(old_top, new_top))
            keep = torch.where(again, torch.zeros_like(top), torch.exp(old_top - top))

        gone, gone_slot = edge[corrected], slot[corrected]
        new = torch.exp(logits - top.index_select(0, slots))
        old = whole.share.index_select(0, gone) * keep.index_select(0, gone_slot)
        share, slots = torch.cat([new, -old]), torch.cat([slots, gone_slot])
        moved = bipartite(self.messages.engine, torch.cat([rows, src[gone]]), slots, len(heard), len(asked))
        weight = share if mask is None else share * mask.index_select(0, torch.cat([edges, gone]))
        numerator = weighted_sum(moved, heard, weight) + keep * whole.numerator.index_select(0, receiver)
        denominator = _segment_sum(share, slots, len(asked)) + keep * whole.denominator.index_select(0, receiver)
        return _divide(numerator, denominator)


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
