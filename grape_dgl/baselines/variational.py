"""Parts of variational autoencoders of cells: networks, likelihoods, divergences, samples with a gradient."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, NegativeBinomial, Normal, RelaxedBernoulli, kl_divergence

LEAST = 1e-4
"""Of a standard deviation or a dispersion."""


def mlp(width_in: int, hidden: int, layers: int, width_out: int) -> nn.Sequential:
    """``layers`` hidden layers of leaky rectifiers, then a linear one."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(width_in, hidden), nn.LeakyReLU()]
        width_in = hidden
    return nn.Sequential(*parts, nn.Linear(width_in, width_out))


def positive(raw: Tensor) -> Tensor:
    """A scale from what a network says."""
    return nn.functional.softplus(raw) + LEAST


def negative_binomial(
    share: Float[Tensor, "*cells genes"], library: Float[Tensor, "*cells"], log_dispersion: Float[Tensor, " genes"]
) -> NegativeBinomial:
    """Counts with mean ``library * share`` and variance ``mean + mean^2 / dispersion``."""
    dispersion = log_dispersion.exp() + LEAST
    mean = (library[..., None] * share).clamp(min=1e-8)
    return NegativeBinomial(dispersion, logits=mean.log() - dispersion.log())


def bernoulli_kl(logits: Tensor, prior: float) -> Tensor:
    """``KL(Bernoulli(sigmoid(logits)) || Bernoulli(prior))``, element by element."""
    return kl_divergence(Bernoulli(logits=logits), Bernoulli(torch.full_like(logits, prior)))


def normal_kl(mean: Tensor, scale: Tensor, prior_scale: float = 1.0) -> Tensor:
    """``KL(N(mean, scale^2) || N(0, prior_scale^2))``, element by element."""
    return kl_divergence(Normal(mean, scale), Normal(torch.zeros_like(mean), torch.full_like(mean, prior_scale)))


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """0 or 1 from ``Bernoulli(sigmoid(logits))``, with the gradient of the relaxed sample (Gumbel-softmax)."""
    soft = RelaxedBernoulli(torch.as_tensor(temperature).to(logits), logits=logits).rsample()
    return (soft > 0.5).to(soft) + soft - soft.detach()
