"""Graph structure learning: the prior graph, K graph channels over it and the graph they add up to (Eq. 3-10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from grape_dgl.config import StructureConfig
from grape_dgl.engine import Engine, simple_graph, weighted_sum
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.graph.search import LEAST, Search
from grape_dgl.graph.similarity import (
    FLOOR,
    average_pairs,
    degree_threshold,
    find_pairs,
    head_units,
    threshold_of,
    weigh_pairs,
)

OUTGROWN = 2.0
"""A training step with so many times the wanted edges recomputes its threshold: the first steps change much."""


@dataclass(frozen=True)
class Representation:
    """Gene representations that enter Eq. 4: ``z`` by member of M (the modalities and ``fus``), and who has them.

    ``priors`` are members of M that are not learned; ``given`` replaces G_agg (Eq. 3-5) as a whole.
    """

    z: dict[str, Float[Tensor, "genes dim"]]
    present: dict[str, Bool[Tensor, " genes"]]
    priors: tuple[Prior, ...] = ()
    given: Pairs | None = None

    @property
    def fused(self) -> Float[Tensor, "genes dim"]:
        return self.z["fus"]

    @property
    def known(self) -> Bool[Tensor, " genes"]:
        """Genes with at least one modality; the others keep their self-loop only."""
        return self.present["fus"]


@dataclass(frozen=True)
class Structure:
    """The graph of one step and what is needed to regularise it and to attach further genes.

    ``pairs`` are the edges E of Eq. 9 with G's values, ``prior`` those of G_agg (Eq. 5), ``channels`` the weights a of
    Eq. 8, ``hops`` the states H^0..H^K of Eq. 6, ``units`` the rows u^1..u^K of Eq. 7 (none without structure
    learning), ``learned_on_prior`` the values of G at the pairs of G_agg (Eq. 10).
    """

    pairs: Pairs
    prior: Pairs
    channels: Float[Tensor, " hops"]
    hops: list[Float[Tensor, "genes dim"]]
    units: list[Float[Tensor, "genes out"]]
    learned_on_prior: Float[Tensor, " pairs"]


def gcn_weights(pairs: Pairs, genes: int) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " genes"]]:
    """Kipf & Welling normalisation of G_agg, whose diagonal is 1: weight of every pair and of every self-loop."""
    degree = torch.ones(genes, dtype=pairs.value.dtype, device=pairs.value.device)
    degree = degree.index_add(0, pairs.first, pairs.value).index_add(0, pairs.second, pairs.value)
    root = degree.rsqrt()
    return root[pairs.first] * pairs.value * root[pairs.second], 1 / degree


class ChannelAttention(nn.Module):
    """Eq. 8: ``a = softmax(MLP(mean(G^1), ..., mean(G^K)))``, one weight per channel."""

    def __init__(self, hops: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(hops, 4 * hops), nn.ReLU(), nn.Linear(4 * hops, hops))

    def forward(self, units: list[Float[Tensor, "genes out"]]) -> Float[Tensor, " hops"]:
        """The mean of ``G^k = U_k U_k^T`` is ``|sum_i u_i|^2 / genes^2``: no genes x genes tensor."""
        means = torch.stack([(u.sum(dim=0) / len(u)).square().sum() for u in units])
        return torch.softmax(self.layers(means), dim=0)


class StructureLearner(nn.Module):
    """Eq. 3-10 over the members of M; thresholds are found by the target degree and frozen with the weights.

    ``members`` are the names that enter Eq. 5, beside the priors; ``learn=False`` is the ablation ``no_gsl``
    (G = G_agg).

    Differs: a threshold is recomputed at the first step of an epoch, and earlier where its graph has ``OUTGROWN`` it:
    on 5,060 genes G_agg had four times its edges after four steps.
    """

    thresholds: Tensor

    def __init__(
        self, members: tuple[str, ...], dim: int, config: StructureConfig, engine: Engine, learn: bool = True
    ) -> None:
        super().__init__()
        self.members, self.config, self.engine, self.learn = members, config, engine, learn
        shape = (config.heads, dim, dim // config.heads)
        self.similarity = nn.ParameterDict({m: nn.Parameter(torch.randn(shape) / dim**0.5) for m in members})
        self.searches = {name: Search() for name in (*members, "learned")}
        self.register_buffer("thresholds", torch.full((len(members) + 1,), config.epsilon or FLOOR))
        if learn:
            self.gcn = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.hops))
            self.channel_similarity = nn.ParameterList(torch.randn(shape) / dim**0.5 for _ in range(config.hops))
            self.channel_attention = ChannelAttention(config.hops)

    def epsilon(self, member: str) -> float:
        """Current threshold of a member of M, or of the ``learned`` graph."""
        return float(self.thresholds[self._place(member)])

    def searched(self) -> dict[str, int]:
        """Searches so far, where the genes are many enough to count: by few directions, over all pairs, and those over
        all pairs for a new threshold."""
        kinds = {"by the bound": "bounded", "of all pairs": "plain", "for a threshold": "thresholds"}
        return {kind: sum(getattr(one, name) for one in self.searches.values()) for kind, name in kinds.items()}

    def _place(self, member: str) -> int:
        return (*self.members, "learned").index(member)

    def _refresh(self, member: str, u: Tensor, allowed: Tensor) -> None:
        if self.config.degree is not None:
            self.thresholds[self._place(member)] = degree_threshold(u, self.config.degree, allowed)
            self.searches[member].thresholds += len(u) >= LEAST

    def _wanted(self, allowed: Tensor) -> float:
        """Edges among the ``allowed`` genes at the target degree; no limit where the sparsity is a threshold."""
        return math.inf if self.config.degree is None else self.config.degree * int(allowed.sum()) / 2

    def prior(self, genes: Representation, refresh: bool) -> Pairs:
        """Eq. 3-5: ``G_agg``."""
        parts = []
        for member in self.members:
            u, has = head_units(genes.z[member], self.similarity[member]), genes.present[member]
            parts.append((self._pairs(member, u, has, refresh), has))
        parts += [(prior.pairs, prior.present) for prior in genes.priors]
        return average_pairs(parts, len(genes.fused))

    def _pairs(self, member: str, u: Tensor, allowed: Tensor, refresh: bool, min_neighbours: int = 0) -> Pairs:
        """Eq. 3 / 9. In training a graph that has outgrown its degree gets a new threshold within the epoch."""
        if refresh:
            self._refresh(member, u, allowed)
        limits: dict[str, Any] = {
            "allowed": allowed,
            "min_neighbours": min_neighbours,
            "max_edges": self.config.max_edges,
            "search": self.searches[member],
        }
        found = find_pairs(u, self.epsilon(member), self.engine, **limits)
        if self.training and len(found) > OUTGROWN * self._wanted(allowed) + min_neighbours * len(u):
            self._refresh(member, u, allowed)
            found = find_pairs(u, self.epsilon(member), self.engine, **limits)
        return found

    def convolve(self, pairs: Pairs, h: Float[Tensor, "genes dim"]) -> list[Float[Tensor, "genes dim"]]:
        """Eq. 6: ``H^(l+1) = ReLU(norm(G_agg) H^(l) W)``, all of H^0..H^K."""
        weight, loop = gcn_weights(pairs, len(h))
        own = torch.arange(len(h), device=h.device)
        src, dst = torch.cat([pairs.first, pairs.second, own]), torch.cat([pairs.second, pairs.first, own])
        relation, norm = simple_graph(self.engine, src, dst, len(h)), torch.cat([weight, weight, loop])[:, None]
        states = [h]
        for layer in self.gcn:
            states.append(torch.relu_(weighted_sum(relation, layer(states[-1]), norm)))
        return states

    def forward(self, genes: Representation, refresh: bool = False) -> Structure:
        """The graph of this step; ``refresh`` recomputes the thresholds (first step of an epoch)."""
        prior = self.prior(genes, refresh) if genes.given is None else genes.given
        if not self.learn:
            return self.unlearned(prior, genes, refresh, cut=genes.given is None)
        hops = self.convolve(prior, genes.fused)
        units = [head_units(h, w) for h, w in zip(hops[1:], self.channel_similarity, strict=True)]
        channels = self.channel_attention(units)
        fused = fuse_channels(units, channels)  # [genes, hops * out]
        pairs = self._pairs("learned", fused, genes.known, refresh, self.config.min_neighbours)
        on_prior = weigh_pairs(fused, prior.first, prior.second, self.engine)
        return Structure(pairs, prior, channels, hops, units, on_prior.value)

    def unlearned(self, prior: Pairs, genes: Representation, refresh: bool, cut: bool = True) -> Structure:
        """``G = G_agg``: Eq. 9 on its values, no regulariser (its root has no gradient at 0).

        Without ``cut`` all of its edges stay, as those of a graph that the user gives.
        """
        if not cut:
            self.thresholds[-1] = FLOOR
        elif refresh and self.config.degree is not None:
            self.thresholds[-1] = threshold_of(prior.value, int(self._wanted(genes.known)))
        keep = prior.value >= self.thresholds[-1] if cut else torch.ones_like(prior.value, dtype=torch.bool)
        pairs = Pairs(prior.first[keep], prior.second[keep], prior.value[keep])
        return Structure(pairs, prior, prior.value.new_ones(1), [genes.fused], [], prior.value)

    def attach(self, base: Structure, genes: Representation, old: Representation) -> tuple[Tensor, Tensor, Tensor]:
        """Edges of ``genes`` added after training to the genes of ``base`` and to each other, as (new, other, value).

        Everything of the old genes is frozen (degrees, states, channel weights, thresholds): a new gene hears its old
        neighbours and nobody hears it, so it changes no edge between other genes (METHOD decision 5). ``other`` counts
        the old genes first, then the new ones.
        """
        total = base.prior.value.new_zeros((len(genes.fused), len(old.fused)))
        both = torch.zeros_like(total)
        for member in self.members:
            u_new, u_old = (head_units(g.z[member], self.similarity[member]) for g in (genes, old))
            shared = genes.present[member][:, None] & old.present[member][None, :]
            values = u_new @ u_old.T
            total += torch.where(shared & (values >= self.epsilon(member)), values, 0.0)
            both += shared
        prior = total / both.clamp(min=1)  # [new, old]
        if self.learn:
            _, loop = gcn_weights(base.prior, len(old.fused))
            degree = 1 + prior.sum(dim=1, keepdim=True)
            weight = prior * degree.rsqrt() * loop.sqrt()
            h, fresh = genes.fused, []
            for step, layer in enumerate(self.gcn):
                h = torch.relu(weight @ layer(base.hops[step]) + layer(h) / degree)
                fresh.append(head_units(h, self.channel_similarity[step]))
            u = fuse_channels(fresh, base.channels)
            values = u @ torch.cat([fuse_channels(base.units, base.channels), u]).T  # [new, old + new]
        else:
            values = torch.cat([prior, prior.new_zeros(len(prior), len(prior))], dim=1)
        known = torch.cat([old.known, genes.known])
        place = torch.arange(len(known), device=values.device)[None, :]
        mine = len(old.known) + torch.arange(len(values), device=values.device)[:, None]
        possible = (place < mine) & known[None, :] & genes.known[:, None]
        values = values.masked_fill(~possible, -torch.inf)
        keep = values >= self.thresholds[-1]
        if k := min(self.config.min_neighbours, values.shape[1]):
            best = values.topk(k, dim=1)
            keep = keep.scatter(1, best.indices, keep.gather(1, best.indices) | (best.values >= FLOOR))
        new, other = torch.nonzero(keep, as_tuple=True)
        return new + len(old.known), other, values[new, other]


def fuse_channels(
    units: list[Float[Tensor, "genes out"]], channels: Float[Tensor, " hops"]
) -> Float[Tensor, "genes all"]:
    """Rows ``concat_k sqrt(a_k) u_k``, whose dot products are Eq. 8's ``G = sum_k a_k G^k``."""
    roots = channels.clamp(min=1e-12).sqrt()  # a channel without weight keeps a finite gradient
    return torch.cat([u * root for u, root in zip(units, roots, strict=True)], dim=-1)
