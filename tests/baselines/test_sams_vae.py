"""SAMS-VAE: its bound against closed forms, masks that were planted, and the model of the benchmark."""

from __future__ import annotations

import dataclasses
import math
from typing import cast

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from evaluation.screens import simulated
from scipy import stats
from torch import nn

from baselines.planted_cells import SAMS, recovered
from grape_dgl.baselines.protocol import CellModel
from grape_dgl.baselines.sams_vae import SamsVae, SamsVaeBaseline, SamsVaeSettings
from grape_dgl.baselines.variational import LEAST
from grape_dgl.data.expression import normalise
from grape_dgl.data.genes import Genes
from grape_dgl.data.screen import Screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import ConfigError, DataError
from grape_dgl.settings import settings_of

SMALL = SamsVaeSettings(latent=3, hidden=8, epochs=3, batch=64, draws=50)
SPLIT = Split(("G00", "G00+G02"), ("G01",), ("G03",), "custom", 0)


def small(cells: int = 12, genes: int = 5, treatments: int = 2, **changes: object) -> SamsVae:
    draw = np.random.default_rng(0)
    expression = sp.csr_matrix(np.float32(draw.gamma(2.0, 0.5, (cells, genes))))
    kind, treated = np.arange(cells) % (treatments + 1), np.eye(treatments + 1)[:, 1:]
    torch.manual_seed(0)
    return SamsVae(expression, kind, treated, dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]


def test_the_bound_is_the_likelihood_where_q_is_the_posterior() -> None:
    """One latent dimension, a linear decoder, no shift: ``x ~ N(c, w w^T + s^2 I)``, and q can be exact."""
    model = small(latent=1, layers=0, inference="mean_field")
    weight, sd = torch.tensor([0.5, -1.0, 0.3, 0.0, 2.0]), torch.tensor([0.4, 0.5, 0.6, 0.7, 0.8])
    precision = 1 + (weight**2 / sd**2).sum()
    encoder, decoder = (cast(nn.Linear, part[0]) for part in (model.encoder, model.decoder))
    with torch.no_grad():
        decoder.weight.copy_((weight / model.spread)[:, None])
        decoder.bias.zero_()
        model.raw_spread.copy_(torch.log(torch.expm1(sd - LEAST)))
        encoder.weight.copy_(torch.stack([weight / sd**2 / precision * model.spread, torch.zeros(5)]))
        encoder.bias.copy_(torch.tensor([0.0, math.log(math.expm1(precision.item() ** -0.5 - LEAST))]))
        seen = torch.tensor([[1.0, 0.2, 0.0, 2.0, 3.0]]).expand(50_000, -1)
        found = model.bound(seen, torch.zeros(50_000, 2), None, 0.0)
    spread = np.outer(weight, weight) + np.diag(sd**2)
    wanted = stats.multivariate_normal(model.centre.numpy(), spread).logpdf(seen[0].numpy())
    assert found.item() == pytest.approx(wanted, rel=2e-3)


def test_the_bound_knows_the_shift_where_q_is_the_posterior() -> None:
    """The same with a treatment that shifts z by 1.5 for sure: ``x ~ N(c + 1.5 w, w w^T + s^2 I)``."""
    model = small(latent=1, layers=0, treatments=1)
    model.masked = False
    weight, sd = torch.tensor([0.5, -1.0, 0.3, 0.0, 2.0]), torch.tensor([0.4, 0.5, 0.6, 0.7, 0.8])
    precision = 1 + (weight**2 / sd**2).sum()
    encoder, decoder = (cast(nn.Linear, part[0]) for part in (model.encoder, model.decoder))
    with torch.no_grad():
        model.effect_mean.fill_(1.5)
        model.effect_raw_scale.fill_(-30.0)
        decoder.weight.copy_((weight / model.spread)[:, None])
        decoder.bias.zero_()
        model.raw_spread.copy_(torch.log(torch.expm1(sd - LEAST)))
        of_cell = torch.cat([weight / sd**2 * model.spread, torch.ones(1)]) / precision  # mean of z^b + shift
        encoder.weight.copy_(torch.stack([of_cell, torch.zeros(6)]))
        encoder.bias.copy_(torch.tensor([0.0, math.log(math.expm1(precision.item() ** -0.5 - LEAST))]))
        seen = torch.tensor([[1.0, 0.2, 0.0, 2.0, 3.0]]).expand(50_000, -1)
        found = model.bound(seen, torch.ones(50_000, 1), None, 0.0)
    spread = np.outer(weight, weight) + np.diag(sd**2)
    wanted = stats.multivariate_normal(model.centre.numpy() + 1.5 * weight.numpy(), spread).logpdf(seen[0].numpy())
    assert found.item() == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("inference", ["correlated", "mean_field"])
def test_the_divergence_of_the_treatments_by_hand(inference: str) -> None:
    model = small(latent=1, treatments=1, inference=inference, mask_prior=0.2, effect_scale=2.0)
    with torch.no_grad():
        model.mask_logits.fill_(math.log(0.3 / 0.7))
        model.effect_mean.fill_(1.5)
        model.effect_raw_scale.fill_(math.log(math.expm1(0.5 - LEAST)))
    of_mask = 0.3 * math.log(0.3 / 0.2) + 0.7 * math.log(0.7 / 0.8)
    of_effect = math.log(2 / 0.5) + (0.25 + 2.25) / 8 - 0.5
    counted = 0.3 if inference == "correlated" else 1.0  # off, a correlated q is the prior
    assert model.global_kl().item() == pytest.approx(of_mask + counted * of_effect, rel=1e-5)
    model.masked = False
    assert model.global_kl().item() == pytest.approx(of_effect, rel=1e-5)


def test_the_global_terms_count_by_the_share_of_the_cells() -> None:
    model, seen, treated = small(), torch.rand(4, 5), torch.eye(2)[[0, 0, 1, 1]]
    bounds = []
    for share in (0.0, 0.25):
        torch.manual_seed(1)
        bounds.append(model.bound(seen, treated, None, share).item())
    assert bounds[0] - bounds[1] == pytest.approx(0.25 * model.global_kl().item() / 4, rel=1e-4)
    rows = torch.arange(3)
    losses = []
    for seen, treated, share in ((None, None, 0.0), (model._expression[:3].toarray(), torch.eye(3)[:, 1:], 0.25)):
        torch.manual_seed(1)
        bound = model.loss(rows) if seen is None else -model.bound(torch.from_numpy(seen), treated, None, share)
        losses.append(bound.item())
    assert losses[0] == losses[1]  # 3 of 12 cells


@pytest.mark.parametrize(
    "part", ["effect_mean", "effect_raw_scale", "raw_spread", "encoder.0.weight", "decoder.2.bias"]
)
def test_gradients_of_the_bound_are_those_of_differences(part: str) -> None:
    """All masks on, since the gradient of a mask is none of a difference; the same random numbers each time."""
    model = small().double()
    model.masked = False
    seen, treated = torch.rand(6, 5, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[:, 1:].repeat(2, 1)
    value = model.get_parameter(part)

    def bound() -> torch.Tensor:
        torch.manual_seed(2)
        return model.bound(seen, treated, None, 0.5)

    (gradient,) = torch.autograd.grad(bound(), value)
    flat, step = value.data.view(-1), 1e-6
    for place in range(0, len(flat), max(1, len(flat) // 7)):
        ends = []
        for sign in (1, -1):
            flat[place] += sign * step
            ends.append(bound().item())
            flat[place] -= sign * step
        assert gradient.view(-1)[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("inference", ["correlated", "mean_field"])
def test_every_parameter_has_a_gradient(inference: str) -> None:
    model = small(inference=inference)
    model.loss(torch.arange(12)).backward()
    for name, value in model.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, name
    optimised = [one for group in model.parameter_groups(0.1) for one in group["params"]]
    assert {id(one) for one in optimised} == {id(one) for one in model.parameters()}


@pytest.mark.parametrize("inference", ["correlated", "mean_field"])
def test_a_turn_changes_no_decoded_mean(inference: str) -> None:
    model = small(latent=4, treatments=6, inference=inference)
    with torch.no_grad():
        model.effect_mean.copy_(torch.randn(6, 4) * (torch.rand(6, 4) < 0.4) @ torch.linalg.qr(torch.randn(4, 4))[0])
    model.masked = False
    seen, treated = torch.rand(7, 5), torch.eye(7)[:, 1:]

    def decoded() -> torch.Tensor:
        shift = treated @ model.shifts()
        return model.decode(model.encode(seen, shift)[0] + shift).detach()

    before, effects = decoded(), model.effect_mean.clone()
    model.turn()
    assert not torch.allclose(model.effect_mean, effects, atol=0.01)
    torch.testing.assert_close(decoded(), before, rtol=1e-4, atol=1e-5)


def test_planted_masks_are_recovered() -> None:
    """And without the turn the axes are not found: what is written about it is true."""
    planted = {"treatments": 40, "dims": 5, "genes": 50}
    turned = recovered(dataclasses.replace(SAMS, latent=7), 0, **planted)
    not_turned = recovered(dataclasses.replace(SAMS, latent=7, epochs=2 * SAMS.epochs, turn="none"), 0, **planted)
    assert turned > 0.9 and not_turned < turned - 0.1, (turned, not_turned)


def fitted(screen: Screen, settings: SamsVaeSettings = SMALL, seed: int = 0) -> SamsVaeBaseline:
    model = SamsVaeBaseline(settings, seed)
    model.fit(screen, SPLIT, screen.control_halves(0))
    return model


def test_the_same_seed_gives_the_same_numbers() -> None:
    screen = simulated()
    first, again, other = (fitted(screen, seed=seed).predict(["G03", "G01"]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_combinations_add_where_the_decoder_is_linear_and_unseen_targets_have_the_mean_effect() -> None:
    model = fitted(simulated(), dataclasses.replace(SMALL, layers=0, draws=300))
    found = dict(zip(["G00", "G01", "G02", "G00+G01", "G03"], model.predict(["G00", "G01", "G02", "G00+G01", "G03"]),
                     strict=True))  # fmt: skip
    np.testing.assert_allclose(found["G00+G01"], found["G00"] + found["G01"], atol=1e-5)
    np.testing.assert_allclose(found["G03"], (found["G00"] + found["G01"] + found["G02"]) / 3, atol=1e-5)
    assert model.notes == {"G03": "not trained: G03; mean effect of the trained targets"}


def test_an_unseen_target_has_the_mean_of_the_decoded_effects_not_the_decoded_mean_of_the_shifts() -> None:
    """With effects so large that a decoder of one hidden layer is far from linear; equal but for the noise of draws."""
    model = fitted(simulated(), dataclasses.replace(SMALL, draws=30_000))
    with torch.no_grad():
        model.model.mask_logits.fill_(30)
        model.model.effect_mean.normal_(0, 3)
        mean = model.model.shifts().mean(dim=0)
        basal = torch.randn(30_000, SMALL.latent)
        decoded = np.asarray((model.model.decode(basal + mean) - model.model.decode(basal)).mean(dim=0))
    *effects, unseen = model.predict(["G00", "G01", "G02", "G03"])
    off = np.abs(unseen - np.mean(effects, axis=0)).max()
    assert off < 0.1 * np.abs(decoded - np.mean(effects, axis=0)).max()


def test_cells_are_sampled_around_the_prediction() -> None:
    model = fitted(simulated(), dataclasses.replace(SMALL, draws=4000))
    assert isinstance(model, CellModel)
    with torch.no_grad():
        model.model.centre += 10  # far from 0, below which a sample is cut
    cells = model.predict_cells(["G03", "G01"], 4000)
    assert cells.shape == (8000, 60) and cells.obs["condition"].value_counts().to_dict() == {"G01": 4000, "G03": 4000}
    drawn = [cells.X[(cells.obs["condition"] == name).to_numpy()].mean(axis=0) for name in ("G03", "G01")]
    wanted = np.subtract(*model.predict(["G03", "G01"]))
    sd = (cells.X.toarray().var(axis=0) * 2 / 4000) ** 0.5
    assert (np.abs(np.ravel(drawn[0] - drawn[1]) - wanted) < 5 * sd + 1e-4).all()
    again = model.predict_cells(["G03", "G01"], 4000)
    np.testing.assert_array_equal(cells.X.toarray(), again.X.toarray())


def counted(scaled: bool = False) -> Screen:
    """Counts: target G00 halves genes 5 to 14, G01 doubles genes 15 to 24."""
    draw = np.random.default_rng(0)
    names = [f"G{i:02d}" for i in range(30)]
    condition = np.repeat([-1, 0, 1, 2], [200, 80, 80, 80])
    rate = np.tile(draw.gamma(2.0, 2.0, 30), (len(condition), 1))
    rate[condition == 0, 5:15] *= 0.25
    rate[condition == 1, 15:25] *= 3.0
    counts = draw.poisson(rate).astype(np.float32)
    logs = normalise(sp.csr_matrix(counts), 1e4)
    if scaled:
        logs.data = logs.data * draw.uniform(0.9, 1.1, logs.nnz).astype(np.float32)
    return Screen(logs, condition, ("G00", "G01", "G02"), np.zeros(len(condition), dtype=np.int64),
                  Genes.from_symbols(names, 30))  # fmt: skip


def test_counts_are_learned_by_their_own_likelihood() -> None:
    screen = counted()
    settings = SamsVaeSettings(
        latent=4, hidden=32, lr=3e-3, epochs=40, batch=64, likelihood="negative_binomial", mask_prior=0.3
    )
    model = SamsVaeBaseline(settings)
    model.fit(screen, Split(("G00", "G01"), (), ("G02",), "custom", 0), screen.control_halves(0))
    down, up = model.predict(["G00", "G01"])
    truth = [screen.mean(name) - screen.mean("control") for name in ("G00", "G01")]
    assert np.corrcoef(down, truth[0])[0, 1] > 0.8 and np.corrcoef(up, truth[1])[0, 1] > 0.8
    assert down[5:15].mean() < 0 < up[15:25].mean()
    cells = model.predict_cells(["G00"], 500).X.toarray()
    np.testing.assert_allclose(np.expm1(cells).sum(axis=1).mean(), 1e4, rtol=0.1)  # normalised as the screen is


def test_the_likelihood_of_counts_needs_counts() -> None:
    screen = counted(scaled=True)
    model = SamsVaeBaseline(dataclasses.replace(SMALL, likelihood="negative_binomial"))
    with pytest.raises(DataError, match="no multiples of the smallest value"):
        model.fit(screen, Split(("G00", "G01"), (), ("G02",), "custom", 0), screen.control_halves(0))


def test_settings_out_of_range_are_said() -> None:
    with pytest.raises(ConfigError, match="'mask_prior' is 1.5; expected a number between 0 and 1"):
        settings_of(SamsVaeSettings, ["mask_prior=1.5"])
    with pytest.raises(ConfigError, match="'inference' is 'both'; expected one of correlated, mean_field"):
        settings_of(SamsVaeSettings, ["inference=both"])
