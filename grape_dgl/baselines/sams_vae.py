"""SAMS-VAE: sparse additive mechanism shifts of a variational autoencoder (Bereket & Karaletsos, NeurIPS 2023).

Generative model, for treatments t, cells i and latent dimensions k (the numbers are ours):

(1)  ``m_tk ~ Bernoulli(p)``, ``e_tk ~ N(0, s^2)``          which dimensions a treatment shifts, and by how much
(2)  ``z_i^b ~ N(0, I)``                                   what a cell is like without it
(3)  ``z_i = z_i^b + sum_t d_it (m_t * e_t)``               d_it is 1 where cell i has treatment t
(4)  ``x_i ~ p(x | f(z_i))``                               normal log expression, or negative-binomial counts

Inference, by the evidence lower bound

(5)  ``sum_i (E log p(x_i | z_i) - KL(q(z_i^b) || p)) - KL(q(M) || p) - E KL(q(E | M) || p)``

with ``q(m_tk)`` Bernoulli, sampled straight through a Gumbel-softmax, and normal ``q(e_tk)`` and ``q(z_i^b)``.
Mean-field: ``q(e_tk)`` knows no mask and ``q(z_i^b | x_i)`` no shift. Correlated: ``q(e_tk | m_tk = 0)`` is the prior,
and ``q(z_i^b | x_i, z_i^p)`` sees the shift ``z_i^p`` of the cell's treatments. Cells come in batches, in which the
global terms count by the batch's share of the cells.

A condition is predicted as the average treatment effect: the mean of (4) with its shift less that without, over samples
of (2), at the mean shift by q, for all conditions the same samples (of counts, each condition draws its own).

Differs: a target that no training cell has is not in the model. Each sample of (2) is given the shift of one that is,
all equally often: the mean effect, so the model cannot tell unseen targets apart. Treatments are the targets of
conditions, so that combinations add. In the correlated ``q(z_i^b)`` the shift is subtracted from the mean as well.
Training starts with all masks on; then the latent space is turned until effects are sparse
(:mod:`~grape_dgl.baselines.sparse_axes`), which changes no decoded mean, and the masks are learned from there
(``turn``): without, gradients do not find the axes. Training ends by (5) on a tenth of the cells, not after a fixed
number of steps; the number of cells in (5), and the scale of each gene, are of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import anndata as ad
import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Normal

from grape_dgl.baselines.cell_fit import CellLoss, FitSettings, Fitted, TrainedCells, drawn_targets, fit_cells
from grape_dgl.baselines.counts import raw_counts
from grape_dgl.baselines.protocol import Model, cells_of
from grape_dgl.baselines.sparse_axes import sparse_rotation
from grape_dgl.baselines.variational import (
    bernoulli_kl,
    mlp,
    negative_binomial,
    normal_kl,
    positive,
    straight_through,
)
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.settings import check

START = 0.1
"""Size of effects and their scales at first."""
GLOBAL_LR = 3.0
"""Learning rate of masks and effects by that of the networks: a batch holds few cells of each treatment."""


@dataclass(frozen=True)
class SamsVaeSettings(FitSettings):
    """Of model, inference and training."""

    may_be_0: ClassVar[tuple[str, ...]] = ("layers",)

    latent: int = 32
    hidden: int = 256
    layers: int = 1
    mask_prior: float = 0.01
    """p of (1); masks are sparser with less."""
    effect_scale: float = 1.0
    """s of (1)."""
    inference: Literal["correlated", "mean_field"] = "correlated"
    likelihood: Literal["normal", "negative_binomial"] = "normal"
    """Of log1p of normalised counts, or of the raw counts behind them."""
    turn: Literal["sparse", "none"] = "sparse"
    """Whether the latent space is turned before masks are learned."""
    temperature: float = 1.0
    """Of the Gumbel-softmax."""
    draws: int = 4000
    """Samples of (2) for a prediction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.mask_prior < 1, "mask_prior", self.mask_prior, "a number between 0 and 1")


class SamsVae(CellLoss):
    """The model and its inference on cells.

    Args:
        expression: log1p of normalised counts [cells, genes].
        kind: int64 [cells], row of ``treated``.
        treated: 0 or 1 [kinds, treatments].
        counts: raw, where their likelihood is wanted.
    """

    def __init__(
        self,
        expression: sp.csr_matrix,
        kind: Int[np.ndarray, " cells"],
        treated: Float[np.ndarray, "kinds treatments"],
        settings: SamsVaeSettings,
        counts: sp.csr_matrix | None = None,
    ) -> None:
        super().__init__()
        self.settings = s = settings
        self._expression, self._kind, self._counts = expression, torch.from_numpy(kind), counts
        self._treated = torch.from_numpy(np.float32(treated))
        genes, treatments = expression.shape[1], treated.shape[1]
        self.mask_logits = nn.Parameter(torch.zeros(treatments, s.latent))
        self.effect_mean = nn.Parameter(START * torch.randn(treatments, s.latent))
        self.effect_raw_scale = nn.Parameter(torch.full((treatments, s.latent), math.log(math.expm1(START))))
        self.encoder = mlp(genes + (s.latent if s.inference == "correlated" else 0), s.hidden, s.layers, 2 * s.latent)
        self.decoder = mlp(s.latent, s.hidden, s.layers, genes)
        self.raw_spread = nn.Parameter(torch.zeros(genes))
        """Standard deviation of a normal, log dispersion of a negative-binomial likelihood"""
        self.scale_by(expression)
        self.masked = True
        """Whether masks are learned; else all are on."""

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        of_treatments = [self.mask_logits, self.effect_mean, self.effect_raw_scale]
        known = set(of_treatments)
        networks = [p for p in self.parameters() if p not in known]
        return [{"params": networks, "lr": lr}, {"params": of_treatments, "lr": lr * GLOBAL_LR}]

    def loss(self, rows: Int[Tensor, " cells"]) -> Tensor:
        picked = rows.numpy()
        seen = torch.from_numpy(self._expression[picked].toarray())
        counts = None if self._counts is None else torch.from_numpy(self._counts[picked].toarray())
        return -self.bound(seen, self._treated[self._kind[rows]], counts, len(picked) / len(self._kind))

    def bound(
        self,
        seen: Float[Tensor, "cells genes"],
        treated: Float[Tensor, "cells treatments"],
        counts: Float[Tensor, "cells genes"] | None,
        share: float,
    ) -> Tensor:
        """(5) per cell, of a batch that is ``share`` of all cells."""
        shift = treated @ self.sample_shifts()
        mean, scale = self.encode(seen, shift)
        decoded = self.decode(mean + scale * torch.randn_like(mean) + shift)
        fit = self.log_likelihood(decoded, seen, counts).sum()
        return (fit - normal_kl(mean, scale).sum() - share * self.global_kl()) / len(seen)

    def sample_shifts(self) -> Float[Tensor, "treatments latent"]:
        """``m_t * e_t`` of (1) by q, a sample that gradients pass through."""
        effect = self.effect_mean + positive(self.effect_raw_scale) * torch.randn_like(self.effect_mean)
        return straight_through(self.mask_logits, self.settings.temperature) * effect if self.masked else effect

    def shifts(self) -> Float[Tensor, "treatments latent"]:
        """Mean of ``m_t * e_t`` by q."""
        return self.masks() * self.effect_mean.detach()

    def masks(self) -> Float[Tensor, "treatments latent"]:
        """Chance that a treatment shifts a dimension, by q."""
        logits = self.mask_logits.detach()
        return logits.sigmoid() if self.masked else torch.ones_like(logits)

    def global_kl(self) -> Tensor:
        """``KL(q(M) || p) + E KL(q(E | M) || p)`` of (5); the expectation over masks is exact."""
        effect = normal_kl(self.effect_mean, positive(self.effect_raw_scale), self.settings.effect_scale)
        if not self.masked:
            return effect.sum()
        if self.settings.inference == "correlated":
            effect = self.mask_logits.sigmoid() * effect
        return bernoulli_kl(self.mask_logits, self.settings.mask_prior).sum() + effect.sum()

    def encode(
        self, seen: Float[Tensor, "cells genes"], shift: Float[Tensor, "cells latent"]
    ) -> tuple[Float[Tensor, "cells latent"], Float[Tensor, "cells latent"]]:
        """Mean and standard deviation of ``q(z^b)``; log expression is seen, whatever the likelihood is of."""
        inputs = (seen - self.centre) / self.spread
        if self.settings.inference == "mean_field":
            shift = torch.zeros_like(shift)
        else:
            inputs = torch.cat([inputs, shift], dim=1)
        mean, raw = self.encoder(inputs).chunk(2, dim=1)
        return mean - shift, positive(raw)

    def decode(self, latent: Float[Tensor, "cells latent"]) -> Float[Tensor, "cells genes"]:
        """f of (4): mean log expression, or each gene's share of the counts."""
        decoded = self.decoder(latent) * self.spread + self.centre
        return decoded if self.settings.likelihood == "normal" else decoded.softmax(dim=1)

    def log_likelihood(
        self,
        decoded: Float[Tensor, "cells genes"],
        seen: Float[Tensor, "cells genes"],
        counts: Float[Tensor, "cells genes"] | None,
    ) -> Float[Tensor, "cells genes"]:
        if counts is None:
            return Normal(decoded, positive(self.raw_spread)).log_prob(seen)
        return negative_binomial(decoded, counts.sum(dim=1), self.raw_spread).log_prob(counts)

    @torch.no_grad()
    def turn(self) -> None:
        """Turn the latent space until effects are sparse; every mean stays as it is decoded.

        Standard deviations are not turned: they are learned on.
        """
        rotation = sparse_rotation(self.effect_mean.numpy())
        turned, dim = torch.from_numpy(np.float32(rotation)), len(rotation)
        self.effect_mean.copy_(self.effect_mean @ turned)
        first, last, start = (cast(nn.Linear, part) for part in (self.encoder[0], self.encoder[-1], self.decoder[0]))
        last.weight[:dim], last.bias[:dim] = turned.T @ last.weight[:dim], last.bias[:dim] @ turned
        if self.settings.inference == "correlated":
            first.weight[:, -dim:] = first.weight[:, -dim:] @ turned
        start.weight.copy_(start.weight @ turned)

    def train_on(self, seed: int) -> Fitted:
        """Both stages of the training."""
        cells = len(self._kind)
        if self.settings.turn == "none":
            return fit_cells(self, cells, self.settings, seed)
        self.masked = False
        first = fit_cells(self, cells, self.settings, seed)
        self.turn()
        self.masked = True
        second = fit_cells(self, cells, self.settings, seed)
        return Fitted(first.epochs + second.epochs, first.late or second.late)


class SamsVaeBaseline(Model):
    """SAMS-VAE as a model of the benchmark: all cells of train and validation conditions, a tenth of them held out."""

    name = "SAMS-VAE"
    tuned = "epoch, on a tenth of the training cells"

    def __init__(self, settings: SamsVaeSettings | None = None, seed: int = 0) -> None:
        self._settings, self._seed = SamsVaeSettings() if settings is None else settings, seed
        self.notes: dict[str, str] = {}
        """Condition -> what is to be known of its prediction"""

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        seen = TrainedCells.of(screen, [*split.train, *split.val], control)
        expression = screen.expression[seen.rows]
        self._screen, self._treatments, counts = screen, seen.treatments, None
        if self._settings.likelihood == "negative_binomial":
            counts, units = raw_counts(expression)
            totals = np.asarray(counts.sum(axis=1)).ravel()
            own = slice(0, len(control.model))
            self._library = torch.from_numpy(np.float32(np.stack([totals[own], units[own]], axis=1)))
        torch.manual_seed(self._seed)
        treated = seen.targets[:, seen.treatments]
        self.model = SamsVae(expression, seen.condition, treated, self._settings, counts)
        self.tuned = f"{type(self).tuned}{self.model.train_on(self._seed)}"

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        random = torch.Generator().manual_seed(self._seed)
        basal = torch.randn(self._settings.draws, self._settings.latent, generator=random)
        without = self._expected(basal)
        return np.stack([self._expected(basal + self._shifts(name, len(basal))) - without for name in conditions])

    def predict_cells(self, conditions: Sequence[str], number: int) -> ad.AnnData:
        """``number`` sampled cells of each condition: ``X`` log1p of normalised counts, ``obs["condition"]``."""
        random = torch.Generator().manual_seed(self._seed)
        parts = []
        for name in conditions:
            basal = torch.randn(number, self._settings.latent, generator=random)
            parts.append(self._sample(basal + self._shifts(name, number), random))
        return cells_of(self._screen, conditions, parts)

    def _shifts(self, condition: str, draws: int) -> Float[Tensor, "draws latent"]:
        trained, targets = self._treatments, self._screen.targets(condition).tolist()
        if unseen := [self._screen.genes.symbol[node] for node in targets if node not in trained]:
            self.notes[condition] = f"not trained: {', '.join(unseen)}; mean effect of the trained targets"
        rows = np.searchsorted(trained, drawn_targets(targets, trained, trained, draws))
        return self.model.shifts()[rows].sum(dim=1)

    @torch.no_grad()
    def _expected(self, latent: Float[Tensor, "draws latent"]) -> Float[np.ndarray, " genes"]:
        """Mean log expression over the draws."""
        if self._settings.likelihood == "normal":
            return np.asarray(self.model.decode(latent).mean(dim=0))
        random = torch.Generator().manual_seed(self._seed)
        return np.asarray(self._sample(latent, random).mean(axis=0))

    @torch.no_grad()
    def _sample(self, latent: Float[Tensor, "draws latent"], random: torch.Generator) -> Float[np.ndarray, "d genes"]:
        """Log expression of cells; of counts in cells as deep as those of the control, normalised as these were."""
        decoded = self.model.decode(latent)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=random)))
            if self._settings.likelihood == "normal":
                drawn = Normal(decoded, positive(self.model.raw_spread)).sample().clamp(min=0)
            else:
                picked = self._library[torch.randint(len(self._library), (len(latent),))]
                counts = negative_binomial(decoded, picked[:, 0], self.model.raw_spread).sample()
                drawn = torch.log1p(counts * picked[:, 1:])
        return np.asarray(drawn)
