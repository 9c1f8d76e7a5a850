"""Likelihoods and divergences against scipy and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn

from grape_dgl.baselines.variational import (
    LEAST,
    bernoulli_kl,
    mlp,
    negative_binomial,
    normal_kl,
    straight_through,
)


def test_the_divergence_of_normals_by_hand() -> None:
    """``KL(N(1, 2^2) || N(0, 3^2)) = log(3 / 2) + (4 + 1) / 18 - 1 / 2``."""
    found = normal_kl(torch.tensor(1.0), torch.tensor(2.0), 3.0)
    assert found.item() == pytest.approx(math.log(1.5) + 5 / 18 - 0.5, rel=1e-6)
    assert normal_kl(torch.tensor(0.0), torch.tensor(3.0), 3.0).item() == pytest.approx(0, abs=1e-7)


def test_the_divergence_of_masks_by_hand() -> None:
    """``KL(B(.5) || B(.1)) = .5 log(.5 / .1) + .5 log(.5 / .9)``."""
    found = bernoulli_kl(torch.tensor([0.0, math.log(0.1 / 0.9)]), 0.1)
    assert found[0].item() == pytest.approx(0.5 * math.log(5) + 0.5 * math.log(5 / 9), rel=1e-6)
    assert found[1].item() == pytest.approx(0, abs=1e-6)


def test_counts_are_negative_binomial() -> None:
    share, library = torch.tensor([[0.2, 0.8]]), torch.tensor([50.0])
    found = negative_binomial(share, library, torch.tensor([0.5, -1.0]))
    for gene, (mean, log_dispersion) in enumerate(((10.0, 0.5), (40.0, -1.0))):
        size = math.exp(log_dispersion) + LEAST
        twin = stats.nbinom(size, size / (size + mean))
        assert found.mean[0, gene].item() == pytest.approx(mean, rel=1e-4)
        assert found.variance[0, gene].item() == pytest.approx(mean + mean**2 / size, rel=1e-4)
        for count in (0, 3, 17):
            asked = torch.full((1, 2), float(count))
            assert found.log_prob(asked)[0, gene].item() == pytest.approx(twin.logpmf(count), rel=1e-4)


def test_a_mask_is_0_or_1_with_the_gradient_of_its_relaxation() -> None:
    logits = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    torch.manual_seed(0)
    mask = straight_through(logits.expand(20_000, 3), 0.7)
    assert set(mask.detach().unique().round(decimals=6).tolist()) == {0.0, 1.0}
    torch.testing.assert_close(mask.mean(dim=0).detach(), logits.detach().sigmoid(), atol=0.02, rtol=0)
    torch.manual_seed(1)
    one = straight_through(logits, 0.7)
    (found,) = torch.autograd.grad(one.sum(), logits)
    torch.manual_seed(1)
    soft = torch.distributions.RelaxedBernoulli(torch.tensor(0.7), logits=logits.detach()).rsample()
    # the logit of soft is (logits + noise) / 0.7
    torch.testing.assert_close(found, soft * (1 - soft) / 0.7, rtol=1e-4, atol=1e-5)


def test_a_network_has_the_layers_that_are_asked_for() -> None:
    assert [type(part) for part in mlp(3, 5, 2, 4)] == [nn.Linear, nn.LeakyReLU, nn.Linear, nn.LeakyReLU, nn.Linear]
    assert [type(part) for part in mlp(3, 5, 0, 4)] == [nn.Linear]
