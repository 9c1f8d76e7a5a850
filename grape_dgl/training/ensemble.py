"""One or several trained models that predict together: the mean of their changes, and how far they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grape_dgl.graph.hetero import GeneGraph, Pairs
from grape_dgl.graph.similarity import average_pairs
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.nn.incremental import UnmaskedPass

STREAM = 256
"""Conditions predicted at once, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Change:
    """Predicted change [conditions, measured] in log1p units of some conditions; ``std`` over several members.

    ``margin``: half the width of the interval, where there is one.
    """

    mean: np.ndarray
    std: np.ndarray | None
    margin: np.ndarray | None = None


@dataclass(frozen=True)
class Ensemble:
    """Trained members, in eval mode, and the genes they were trained on."""

    members: tuple[GRAPE, ...]
    genes: GeneInputs

    def predict(self, conditions: Sequence[Sequence[int]], new: GeneInputs | None = None) -> Iterator[Change]:
        """Changes of the conditions, tuples of node ids, in parts of ``STREAM``; ids from ``len(genes)`` on are rows of
        ``new``.

        A gene of ``new`` is attached to the frozen graph (METHOD decision 5); attach only what one condition needs, so
        that conditions stay independent.
        """
        bases = self._bases(new)
        for start in range(0, len(conditions), STREAM):
            yield self._part(bases, conditions[start : start + STREAM])

    @torch.no_grad()
    def _bases(self, new: GeneInputs | None) -> list[UnmaskedPass]:
        """What every condition starts from, by member."""
        return [member.unmasked(*self._graph(member, new)) for member in self.members]

    @torch.no_grad()
    def _part(self, bases: Sequence[UnmaskedPass], conditions: Sequence[Sequence[int]]) -> Change:
        each = zip(self.members, bases, strict=True)
        changes = [member.read(member.states(base, conditions), len(conditions)) for member, base in each]
        stacked = np.stack([change.cpu().numpy() for change in changes])
        return Change(stacked.mean(axis=0), stacked.std(axis=0, ddof=1) if len(stacked) > 1 else None)

    def _graph(self, member: GRAPE, new: GeneInputs | None) -> tuple[GeneGraph, Float[Tensor, "genes dim"]]:
        if new is not None:
            return member.extend(self.genes, new.like(self.genes))
        z = member.represent(self.genes)
        return member.graph(member.learn_graph(z).pairs, self.genes.coding), z.fused

    @torch.no_grad()
    def pairs(self) -> Pairs:
        """The learned graph; of several members the strongest edges of their mean, as many as a member has on average.

        An edge that a member lacks counts as 0 there.
        """
        everyone = torch.ones_like(self.genes.coding)
        graphs = [member.learn_graph(member.represent(self.genes)).pairs for member in self.members]
        mean = average_pairs([(pairs, everyone) for pairs in graphs], len(self.genes))
        kept = mean.value.topk(round(sum(map(len, graphs)) / len(graphs))).indices.sort().values
        return Pairs(mean.first[kept], mean.second[kept], mean.value[kept])


def ready(members: Iterable[GRAPE], genes: GeneInputs) -> Ensemble:
    """An ensemble of ``members`` in eval mode, on the device of ``genes`` and in double precision (but on MPS).

    The large weights of a solved read-out magnify the rounding of single precision, in which engines differ, to 4e-5.
    """
    device = genes.coding.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    return Ensemble(tuple(member.eval().to(device, dtype) for member in members), genes.to(device, dtype))
