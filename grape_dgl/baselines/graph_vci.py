"""GraphVCI: variational causal inference with a gene graph (Wu, Barton, Wang, Ioannidis et al., ICLR 2023).

A cell has an outcome Y (expression), covariates X (its batch) and a treatment T. What would it be under T'? The numbers
are ours:

(1)  ``G = GAT(V, A)``                                  genes by attention over a prior network whose edges are refined
(2)  ``q(Z | Y, X, T) = N(mu, sigma^2)``                 a cell's features by an encoder that sees G
(3)  ``p(Y | Z, T) = N(<h, G_g>, ...) for each gene g``  a decoder: ``h`` of Z and T, read out by the gene's own row
(4)  ``Y' ~ p(Y | Z, T')``, ``Z ~ q(Z | Y, X, T)``       the cell under another treatment of its batch of cells

The bound on ``log p(Y' | Y, X, T, T')``, with weights w, is ascended:

(5)  ``w0 E log p(Y | Z, T) + w1 log p^(Y' | X, T') - w2 KL(q(Z | Y, X, T) || q(Z | Y', X, T'))``

the likelihood of the cell itself, that of its counterfactual among the cells that did receive T' with the same
covariates (``p^``, a normal per gene fitted to these), and a divergence by which features are no matter of treatment.

A condition is predicted from cells of the control: their mean outcome (3) under its treatment, less that under none.

Differs: T is the sum of the rows of G of a condition's targets, so that a gene which no training cell has as a target
is known by its place in the graph (``treatment = "graph"``); one without neighbours there, and with ``one_hot``, as
released, any such gene, is in each cell one of the trained ones, all equally often: their mean effect. (5) draws one
sample of a cell. The encoder of its last term is the one that is trained. Log densities are means over genes and
features, so that the weights do not depend on their numbers. The estimator of the marginal effect needs cells that did
receive the treatment, which a test condition has none of. Written from the published description and the settings of
the released program; where both are silent, ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import anndata as ad
import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from grape_dgl import engine
from grape_dgl.baselines.cell_fit import (
    CellLoss,
    FitSettings,
    TrainedCells,
    centre_and_deviation,
    drawn_targets,
    fit_cells,
)
from grape_dgl.baselines.protocol import Model, cells_of
from grape_dgl.baselines.variational import mlp, positive
from grape_dgl.data.conditions import CONTROL
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.engine import Engine
from grape_dgl.graph.hetero import Prior
from grape_dgl.settings import check

ENOUGH = 10
"""Cells of a treatment and a covariate for a normal; with fewer, (5) says nothing of this counterfactual."""
DRAWS = 4000
"""Cells, at least, whose mean is predicted: those of the control, several times, so that each trained target stands
often enough for one that is not."""
LEAST_SPREAD = 0.1
"""Standard deviation of such a normal at least: a gene that is silent in some cells has none."""


@dataclass(frozen=True)
class GraphVciSettings(FitSettings):
    """Of model and training; widths and batch as released, ten times the rate for a tenth of the epochs."""

    may_be_0: ClassVar[tuple[str, ...]] = ("layers", "individual", "counterfactual", "divergence")

    lr: float = 3e-3
    batch: int = 64
    patience: int = 30
    latent: int = 128
    hidden: int = 128
    layers: int = 2
    width: int = 128
    """Of a gene's row in the graph."""
    heads: int = 2
    treatment: Literal["graph", "one_hot"] = "graph"
    individual: float = 1.0
    """w0 of (5)."""
    counterfactual: float = 50.0
    """w1 of (5), as the released program is run."""
    divergence: float = 0.1
    """w2 of (5)."""
    cells: int = 1000
    """Of the control, from which a condition is predicted, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width = {self.width}")


class GeneGraphAttention(nn.Module):
    """(1): one layer of dot-product attention; ``log A`` is added to the logit of an edge and learned on."""

    def __init__(self, genes: int, priors: Sequence[Prior], width: int, heads: int, kernels: Engine) -> None:
        super().__init__()
        pairs = [prior.pairs for prior in priors]
        first, second, loops = [p.first for p in pairs], [p.second for p in pairs], torch.arange(genes)
        src, dst = torch.cat([*first, *second, loops]), torch.cat([*second, *first, loops])
        self.relation = engine.simple_graph(kernels, src, dst, genes)
        self.alone = torch.bincount(src, minlength=genes) == 1
        """bool [genes]: no neighbour but itself"""
        self.edge = nn.Parameter(torch.cat([*[p.value for p in pairs] * 2, torch.ones(genes)]).float().log())
        self.node = nn.Parameter(torch.randn(genes, width))
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self) -> Float[Tensor, "genes width"]:
        parts = (part(self.node) for part in (self.query, self.key, self.value))
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        src, dst = engine.edge_ends(self.relation)
        logits = (query[dst] * key[src]).sum(dim=-1, keepdim=True) / query.shape[-1] ** 0.5
        share = engine.softmax(self.relation, logits + self.edge.view(-1, 1, 1))
        return torch.relu(engine.weighted_sum(self.relation, value, share).flatten(1) + self.node)


@dataclass(frozen=True)
class VciCells:
    """What is trained on."""

    expression: sp.csr_matrix
    """[cells, genes] log1p of normalised counts"""
    covariate: np.ndarray
    """int64 [cells]"""
    treatment: np.ndarray
    """int64 [cells]: row of ``treated``"""
    treated: np.ndarray
    """float32 [treatments, nodes]: 1 for the targets of each; 0 for the control"""


class GraphVci(CellLoss):
    """The model and its inference; the first ``genes`` nodes are those that are measured."""

    def __init__(
        self, cells: VciCells, priors: Sequence[Prior], settings: GraphVciSettings, kernels: Engine = "torch"
    ) -> None:
        super().__init__()
        self.settings = s = settings
        self._cells, (_, self.genes), nodes = cells, cells.expression.shape, cells.treated.shape[1]
        self.graph = GeneGraphAttention(nodes, priors, s.width, s.heads, kernels)
        self.covariate = nn.Embedding(int(cells.covariate.max(initial=0)) + 1, 16)
        self.one_hot = nn.Parameter(torch.randn(nodes, s.width) / s.width**0.5)
        self.outcome = nn.Linear(self.genes, s.hidden)
        self.pooled = nn.Linear(s.width, s.hidden)
        self.encoder = mlp(s.hidden + s.width + 16, s.hidden, s.layers, 2 * s.latent)
        self.decoder = mlp(s.latent + s.width, s.hidden, s.layers, 2 * s.width)
        self.scale_by(cells.expression)
        self._treated = torch.from_numpy(np.float32(cells.treated))
        known = self._treated.any(dim=0)
        self.known = torch.where(known | ~self.graph.alone if s.treatment == "graph" else known)[0].tolist()
        """Targets with a row of their own, that of an edge or of training"""
        self._normals = normals(cells)

    def treatments(
        self, treated: Float[Tensor, "treatments nodes"], genes: Float[Tensor, "nodes width"]
    ) -> Float[Tensor, "treatments width"]:
        """T of each: the sum over its targets."""
        return treated @ self.rows(genes)

    def rows(self, genes: Float[Tensor, "nodes width"]) -> Float[Tensor, "nodes width"]:
        """What a target adds to T."""
        return genes if self.settings.treatment == "graph" else self.one_hot

    def encode(
        self,
        seen: Float[Tensor, "cells genes"],
        covariate: Int[Tensor, " cells"],
        treatment: Float[Tensor, "cells width"],
        genes: Float[Tensor, "nodes width"],
    ) -> Normal:
        """(2). The graph is pooled by what a cell expresses."""
        outcome = (seen - self.centre) / self.spread
        pooled = outcome @ genes[: self.genes] / self.genes
        parts = [torch.relu(self.outcome(outcome) + self.pooled(pooled)), treatment, self.covariate(covariate)]
        mean, raw = self.encoder(torch.cat(parts, dim=1)).chunk(2, dim=1)
        return Normal(mean, positive(raw))

    def decode(
        self,
        latent: Float[Tensor, "cells latent"],
        treatment: Float[Tensor, "cells width"],
        genes: Float[Tensor, "nodes width"],
    ) -> Normal:
        """(3)."""
        read = self.decoder(torch.cat([latent, treatment], dim=1)).unflatten(1, (2, -1))
        mean, raw = (read @ genes[: self.genes].T / self.settings.width**0.5).unbind(dim=1)
        return Normal(mean * self.spread + self.centre, positive(raw) * self.spread)

    def loss(self, rows: Int[Tensor, " cells"]) -> Tensor:
        picked = rows.numpy()
        seen = torch.from_numpy(self._cells.expression[picked].toarray())
        covariate, own = (torch.from_numpy(of[picked]) for of in (self._cells.covariate, self._cells.treatment))
        return -self.bound(seen, covariate, own, own[torch.randperm(len(own))])

    def bound(
        self,
        seen: Float[Tensor, "cells genes"],
        covariate: Int[Tensor, " cells"],
        own: Int[Tensor, " cells"],
        other: Int[Tensor, " cells"],
    ) -> Tensor:
        """(5), mean over cells; ``own`` and ``other`` are rows of the treatments: T and T'."""
        genes = self.graph()
        treatments = self.treatments(self._treated, genes)
        here, there = treatments[own], treatments[other]
        features = self.encode(seen, covariate, here, genes)
        drawn = features.rsample()
        itself = self.decode(drawn, here, genes).log_prob(seen).mean()
        outcome = self.decode(drawn, there, genes).rsample()
        of_stratum, mean, spread = self._normals
        place = of_stratum[other, covariate]
        likelihood = Normal(mean[place], spread[place]).log_prob(outcome).mean(dim=1)
        counterfactual = ((place >= 0) * likelihood).mean()
        divergence = kl_divergence(features, self.encode(outcome, covariate, there, genes)).mean()
        s = self.settings
        return s.individual * itself + s.counterfactual * counterfactual - s.divergence * divergence


def normals(
    cells: VciCells,
) -> tuple[Int[Tensor, "treatments covariates"], Float[Tensor, "strata genes"], Float[Tensor, "strata genes"]]:
    """``p^`` of (5): the stratum of a treatment and a covariate, -1 with fewer cells than ENOUGH; means, deviations."""
    place = np.full((len(cells.treated), int(cells.covariate.max(initial=0)) + 1), -1)
    strata: list[np.ndarray] = []
    for t, x in np.ndindex(place.shape):
        part = cells.expression[(cells.treatment == t) & (cells.covariate == x)]
        if part.shape[0] >= ENOUGH:
            place[t, x] = len(strata)
            centre, deviation = centre_and_deviation(part)
            strata.append(np.stack([centre, np.maximum(deviation, LEAST_SPREAD)]))
    known = np.stack(strata or [np.ones((2, cells.expression.shape[1]))]).astype(np.float32)
    mean, spread = torch.from_numpy(known).unbind(dim=1)
    return torch.from_numpy(place), mean, spread


class GraphVciBaseline(Model):
    """GraphVCI as a model of the benchmark: all cells of train and validation conditions, a tenth of them held out.

    ``priors``: the gene graph; none leaves each gene alone.
    """

    name = "GraphVCI"
    tuned = "epoch, on a tenth of the training cells"

    def __init__(self, settings: GraphVciSettings | None = None, priors: Any = (), seed: int = 0) -> None:
        self._settings, self._seed, self._priors = GraphVciSettings() if settings is None else settings, seed, priors
        self.notes: dict[str, str] = {}
        """Condition -> what is to be known of its prediction"""

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        seen = TrainedCells.of(screen, [*split.train, *split.val], control)
        self._screen, self._treatments = screen, seen.treatments
        priors = self._priors(screen, control) if callable(self._priors) else self._priors
        cells = VciCells(screen.expression[seen.rows], screen.batch[seen.rows], seen.condition, seen.targets)
        torch.manual_seed(self._seed)
        self.model = GraphVci(cells, priors, self._settings, engine.default_engine())
        self.tuned = f"{type(self).tuned}{fit_cells(self.model, len(seen.rows), self._settings, self._seed)}"
        own = np.random.default_rng(self._seed).permutation(control.model)[: self._settings.cells]
        self._from = torch.from_numpy(screen.expression[own].toarray()), torch.from_numpy(screen.batch[own])

    @torch.no_grad()
    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        genes = self.model.graph()
        latent = self._features(genes).mean
        latent = latent.repeat(-(-DRAWS // len(latent)), 1)
        without = self._decoded(latent, CONTROL, genes).mean.mean(dim=0)
        levels = [self._decoded(latent, name, genes).mean.mean(dim=0) for name in conditions]
        return np.stack([np.asarray(level - without) for level in levels])

    @torch.no_grad()
    def predict_cells(self, conditions: Sequence[str], number: int) -> ad.AnnData:
        """``number`` sampled cells of each condition: ``X`` log1p of normalised counts, ``obs["condition"]``.

        Where there are fewer control cells, several are drawn from one of them.
        """
        genes = self.model.graph()
        features, parts = self._features(genes), []
        rows = torch.arange(number) % len(features.mean)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            for name in conditions:
                latent = Normal(features.mean[rows], features.stddev[rows]).sample()
                parts.append(np.asarray(self._decoded(latent, name, genes).sample().clamp(min=0)))
        return cells_of(self._screen, conditions, parts)

    def _features(self, genes: Float[Tensor, "nodes width"]) -> Normal:
        """(2) of the control cells, with no treatment."""
        seen, covariate = self._from
        return self.model.encode(seen, covariate, torch.zeros(len(seen), genes.shape[1]), genes)

    def _decoded(
        self, latent: Float[Tensor, "cells latent"], condition: str, genes: Float[Tensor, "nodes width"]
    ) -> Normal:
        """(3) under the treatment of a condition."""
        trained, targets, known = self._treatments, self._screen.targets(condition).tolist(), self.model.known
        said = []
        for node in targets:
            if node not in trained:
                how = "known by the graph" if node in known else "mean effect of the trained targets"
                said.append(f"not trained: {self._screen.genes.symbol[node]}; {how}")
        if said:
            self.notes[condition] = "; ".join(said)
        nodes = drawn_targets(targets, known, trained, len(latent))
        return self.model.decode(latent, self.model.rows(genes)[nodes].sum(dim=1), genes)
