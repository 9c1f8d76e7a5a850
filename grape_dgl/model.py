"""GRAPE: gene knowledge in, expression changes of perturbations out (Eq. 1-13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from grape_dgl.config import Config
from grape_dgl.engine import Engine
from grape_dgl.graph.hetero import GeneGraph, Pairs, Prior, gene_graph
from grape_dgl.graph.schema import BIOTYPE, HOMOGENEOUS
from grape_dgl.nn.alignment import Discriminator, Fusion, Projection
from grape_dgl.nn.biotype import MessagePassing
from grape_dgl.nn.incremental import UnmaskedPass, affected_edges
from grape_dgl.nn.reached import Reached
from grape_dgl.nn.readout import GeneReadout
from grape_dgl.nn.structure import Representation, Structure, StructureLearner

CHUNK_ELEMENTS = 2**25
"""Edge x condition x head x width elements of one chunk of full passes; backward computes a chunk again."""


@dataclass(frozen=True)
class GeneInputs:
    """What the model knows of genes: raw features [genes, d_m] and who has them by modality, who is coding.

    ``priors`` are further members of M in Eq. 5; ``given`` is a graph that replaces G_agg (Eq. 3-5).
    """

    values: Mapping[str, Float[Tensor, "genes features"]]
    present: Mapping[str, Bool[Tensor, " genes"]]
    coding: Bool[Tensor, " genes"]
    priors: tuple[Prior, ...] = ()
    given: Pairs | None = None

    def __len__(self) -> int:
        return len(self.coding)

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> GeneInputs:
        """The same inputs on another device, with values in ``dtype``."""
        return GeneInputs(
            {m: x.to(device, dtype) for m, x in self.values.items()},
            {m: x.to(device) for m, x in self.present.items()},
            self.coding.to(device),
            tuple(prior.to(device, dtype) for prior in self.priors),
            None if self.given is None else self.given.to(device, dtype),
        )

    def take(self, rows: Sequence[int]) -> GeneInputs:
        """Some of the genes; graphs are left behind."""
        return GeneInputs(
            {m: x[rows] for m, x in self.values.items()},
            {m: x[rows] for m, x in self.present.items()},
            self.coding[rows],
        )

    def like(self, other: GeneInputs) -> GeneInputs:
        """The same inputs where those of ``other`` are, and as precise."""
        return self.to(other.coding.device, next(iter(other.values.values())).dtype)

    @property
    def widths(self) -> dict[str, int]:
        return {m: x.shape[1] for m, x in self.values.items()}


class GRAPE(nn.Module):
    """The whole model; training and prediction call the same methods, which :meth:`forward` strings together.

    ``widths`` are the feature widths by modality (``text``, ``seq`` and any others), ``measured`` the number of genes
    with expression.
    """

    def __init__(self, config: Config, widths: Mapping[str, int], measured: int, engine: Engine) -> None:
        super().__init__()
        m, s = config.model, config.structure
        self.config, self.engine = config, engine
        known = sorted(widths, key=lambda name: ("seq", "text").index(name) if name in ("seq", "text") else 2)
        self.modalities = tuple(name for name in known if m.only in (None, name))
        self.project = nn.ModuleDict({name: Projection(widths[name], m.hidden) for name in self.modalities})
        self.discriminate = nn.ModuleDict({name: Discriminator(m.hidden) for name in self.modalities})
        self.fuse = Fusion(self.modalities, m.hidden)
        members = {"only_fusion": ("fus",)}.get(m.ablation, self.modalities if m.only else (*self.modalities, "fus"))
        self.structure = StructureLearner(members, m.hidden, s, engine, learn=m.ablation != "no_gsl")
        self.schema = HOMOGENEOUS if m.ablation == "no_biotype" else BIOTYPE
        self.messages = MessagePassing(m.hidden, m.width, m.heads, m.layers, m.dropout, self.schema, engine)
        self.readout = GeneReadout(measured, m.width)

    def described(self, genes: GeneInputs) -> Bool[Tensor, " genes"]:
        """Genes of which the model knows anything: perturbing another one could not be told from perturbing none."""
        return torch.stack([genes.present[m] for m in self.modalities]).any(dim=0)

    def freeze_statistics(self, genes: GeneInputs) -> None:
        """Fix the feature standardisation on the training genes; called once, before training."""
        for name in self.modalities:
            projection = self.project[name]
            assert isinstance(projection, Projection)
            projection.freeze_statistics(genes.values[name], genes.present[name])

    def represent(self, genes: GeneInputs) -> Representation:
        """Eq. 2 and the members of M: ``Z_m`` and ``Z_fus`` [genes, d]."""
        z = {m: self.project[m](genes.values[m]) for m in self.modalities}
        present = {m: genes.present[m] for m in self.modalities}
        return Representation(
            {**z, "fus": self.fuse(z, present)},
            {**present, "fus": self.described(genes)},
            genes.priors,
            genes.given,
        )

    def learn_graph(self, genes: Representation, refresh: bool = False) -> Structure:
        """Eq. 3-10: this step's graph."""
        return self.structure(genes, refresh)

    def graph(self, pairs: Pairs, coding: Bool[Tensor, " genes"]) -> GeneGraph:
        """Eq. 9, 11: the heterograph of ``pairs``."""
        if self.config.structure.gradient == "regulariser":
            pairs = Pairs(pairs.first, pairs.second, pairs.value.detach())
        return gene_graph(pairs, coding, self.engine, biotypes=self.schema == BIOTYPE)

    def forward(
        self, genes: GeneInputs, conditions: Sequence[Sequence[int]], refresh: bool = False
    ) -> tuple[Float[Tensor, "conditions measured"], Structure]:
        """Expression change (log1p units) of every measured gene for every condition, and the graph used.

        A condition is the node ids of its perturbed genes, any number; none is the unmasked pass. ``refresh``
        recomputes the thresholds of the target degree.
        """
        z = self.represent(genes)
        structure = self.learn_graph(z, refresh)
        return self.propagate(self.graph(structure.pairs, genes.coding), z.fused, conditions), structure

    def propagate(
        self,
        graph: GeneGraph,
        fused: Float[Tensor, "genes dim"],
        conditions: Sequence[Sequence[int]],
        plain: bool = False,
    ) -> Float[Tensor, "conditions measured"]:
        """Eq. 11-12 for all conditions on one graph, with the same dropout masks."""
        return self.read(self.states(self.unmasked(graph, fused), conditions, plain), len(conditions))

    def read(self, found: Reached, conditions: int) -> Float[Tensor, "conditions measured"]:
        """Eq. 12 on the states of so many conditions.

        ``model.readout = "centred"`` reads the difference from the unmasked pass: the same functions, since ``b_i`` may
        hold ``-<w_i, p_i>`` of the unmasked state, but no weight has to cancel what all conditions share.
        """
        seen = found.gene < len(self.readout.weight)
        column, gene, state = found.column[seen], found.gene[seen], found.state[seen]
        unmasked = found.unmasked
        if self.config.model.readout == "centred":
            state, unmasked = state - unmasked.index_select(0, gene), torch.zeros_like(unmasked)
        change = self.readout(unmasked[:, None, :]).repeat(conditions, 1)
        return change.index_put((column, gene), self.readout.of(gene, state))

    def unmasked(self, graph: GeneGraph, fused: Float[Tensor, "genes dim"]) -> UnmaskedPass:
        """Eq. 11 with nobody perturbed, with fresh dropout masks in training: the ``base`` of all conditions."""
        return UnmaskedPass(self.messages, graph, fused, self.messages.draw_masks(graph), self.similarity_bias)

    def states(self, base: UnmaskedPass, conditions: Sequence[Sequence[int]], plain: bool = False) -> Reached:
        """Eq. 11 for all conditions: what each changes of the unmasked pass.

        ``plain``, or a hub that makes it cheaper, takes a full pass for a condition; both give the same numbers.
        """
        if plain:
            whole = self._full_passes(base, [(), *conditions])
            return Reached.everywhere(whole[:, 0], whole[:, 1:])
        layers = self.config.model.layers
        cheap = affected_edges(base.graph, conditions, layers) <= base.graph.edges * layers
        light, heavy = torch.nonzero(cheap).squeeze(1), torch.nonzero(~cheap).squeeze(1)
        found = base.reached([conditions[i] for i in light.tolist()]).renumbered(light)
        if not len(heavy):
            return found
        whole = self._full_passes(base, [conditions[i] for i in heavy.tolist()])
        return found.joined(Reached.everywhere(found.unmasked, whole).renumbered(heavy))

    @property
    def similarity_bias(self) -> bool:
        """Whether an edge's similarity enters the attention (METHOD decision 2)."""
        return self.config.structure.gradient == "task"

    def _full_passes(
        self, base: UnmaskedPass, conditions: Sequence[Sequence[int]]
    ) -> Float[Tensor, "genes conditions width"]:
        """A whole pass per condition, in chunks that fit; backward computes a chunk again instead of keeping it."""
        graph, fused = base.graph, base.fused
        per_condition = max(graph.edges, len(fused)) * self.config.model.heads * self.config.model.width
        size = max(1, CHUNK_ELEMENTS // per_condition)

        def one(chunk: Sequence[Sequence[int]]) -> Tensor:
            return self.messages(graph, mask_perturbed(fused, chunk), base.masks, self.similarity_bias)

        chunks = [conditions[i : i + size] for i in range(0, len(conditions), size)]
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([one(chunk) for chunk in chunks], dim=1)
        parts = [checkpoint(one, chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def extend(self, old: GeneInputs, new: GeneInputs) -> tuple[GeneGraph, Float[Tensor, "genes dim"]]:
        """The frozen graph of ``old`` with genes attached that training did not know; no edge between others changes.

        Returns the graph and ``Z_fus`` of old genes, then new genes.
        """
        z_old, z_new = self.represent(old), self.represent(new)
        base = self.learn_graph(z_old)
        fresh, other, value = self.structure.attach(base, z_new, z_old)
        pairs = Pairs(
            torch.cat([base.pairs.first, other]),
            torch.cat([base.pairs.second, fresh]),
            torch.cat([base.pairs.value, value]),
        )
        coding = torch.cat([old.coding, new.coding])
        return self.graph(pairs, coding), torch.cat([z_old.fused, z_new.fused])


def mask_perturbed(
    fused: Float[Tensor, "genes dim"], conditions: Sequence[Sequence[int]]
) -> Float[Tensor, "genes conditions dim"]:
    """``P^(0)``: ``Z_fus`` for every condition, the rows of its perturbed genes set to zero (METHOD decision 3)."""
    keep = torch.ones(len(fused), len(conditions), 1, dtype=fused.dtype, device=fused.device)
    for column, targets in enumerate(conditions):
        keep[list(targets), column] = 0
    return fused[:, None, :] * keep
