"""Eq. 10, 13-18 by hand and against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from grape_dgl import losses
from grape_dgl.graph.hetero import Pairs
from grape_dgl.losses import reconstruction_loss, structure_loss
from grape_dgl.nn.structure import Structure


def structure(units: list[Tensor], channels: Tensor, prior: Pairs) -> Structure:
    """A structure whose G is ``sum_k a_k U_k U_k^T``; edges of Eq. 9 do not enter the loss."""
    on_prior = prior.value
    if units:
        on_prior = sum(a * u @ u.T for a, u in zip(channels, units, strict=True))[prior.first, prior.second]
    return Structure(prior, prior, channels, [], units, on_prior)


def test_eq10_by_hand() -> None:
    """G = [[1, .6], [.6, 1]], G_agg = [[1, .2], [.2, 1]]: root(2 * .4^2) / 2 genes."""
    unit = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    prior = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.2], dtype=torch.float64))
    found = structure_loss(structure([unit], torch.ones(1, dtype=torch.float64), prior))
    assert float(found) == pytest.approx(math.sqrt(2 * 0.4**2) / 2, rel=1e-12)


def test_eq10_counts_what_the_prior_lacks() -> None:
    """Without any edge in G_agg, G's whole off-diagonal is left: root(2 * .6^2) / 2."""
    unit = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    none = torch.zeros(0, dtype=torch.long)
    prior = Pairs(none, none, torch.zeros(0, dtype=torch.float64))
    found = structure_loss(structure([unit], torch.ones(1, dtype=torch.float64), prior))
    assert float(found) == pytest.approx(math.sqrt(2 * 0.6**2) / 2, rel=1e-12)


def test_eq10_equals_the_dense_norm_with_gradients() -> None:
    """Two channels; a zero row, whose similarity to itself is 0 while G_agg's diagonal is 1."""
    draw = torch.Generator().manual_seed(0)
    raw = [torch.randn(6, 3, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(2)]
    a = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64, requires_grad=True)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 5])
    alive = torch.ones(6, 1, dtype=torch.float64)
    alive[4] = 0
    units = [torch.nn.functional.normalize(x, dim=1) * alive for x in raw]
    fast = structure_loss(structure(units, a, Pairs(first, second, value)))
    learned = a[0] * units[0] @ units[0].T + a[1] * units[1] @ units[1].T
    prior = torch.eye(6, dtype=torch.float64).index_put((first, second), value).index_put((second, first), value)
    slow = (learned - prior).square().sum().sqrt() / 6
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=0)
    leaves = (*raw, a, value)
    for mine, wanted in zip(*(torch.autograd.grad(x, leaves, retain_graph=True) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-12)


def test_eq10_at_its_zero_has_a_finite_gradient() -> None:
    raw = torch.eye(3, requires_grad=True)
    unit = torch.nn.functional.normalize(raw, dim=1)
    none = torch.zeros(0, dtype=torch.long)
    loss = structure_loss(structure([unit], torch.ones(1), Pairs(none, none, torch.zeros(0))))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert raw.grad is not None and torch.isfinite(raw.grad).all()


def test_eq10_is_dropped_without_structure_learning() -> None:
    prior = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.2]))
    assert float(structure_loss(structure([], torch.ones(1), prior))) == 0.0


def by_cell(predicted: Tensor, observed: Tensor, control: Tensor, delta: float = 0.7) -> tuple[Tensor, Tensor]:
    """Eq. 14 and 15-16 where every cell is of its own condition; all [cells, measured] in log1p units."""
    return reconstruction_loss(predicted - control, control, torch.arange(len(observed)), observed, delta)


def test_eq14_by_hand() -> None:
    """Two cells, two genes: (1 + 0 + 4 + 9) / 4."""
    predicted, observed = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [1.0, 7.0]])
    assert float(by_cell(predicted, observed, torch.rand(2, 2))[0]) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("observed", "predicted", "control", "delta"), [(2.5, 2.0, 1.0, 0.7), (3.0, 0.0, 1.0, 0.7), (3.0, 0.0, 1.0, 2.0)]
)
def test_eq15_to_16_by_hand(observed: float, predicted: float, control: float, delta: float) -> None:
    """Huber: half the square below delta, delta * (|r| - delta / 2) above."""
    r = abs(math.tanh(observed - control) - math.tanh(predicted - control))
    wanted = r * r / 2 if r <= delta else delta * (r - delta / 2)
    _, found = by_cell(*(torch.tensor([[x]]) for x in (predicted, observed, control)), delta)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_eq15_is_a_mean_over_genes() -> None:
    _, found = by_cell(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.5, 1.0]]), torch.ones(1, 2))
    assert float(found) == pytest.approx((math.tanh(1.0) - math.tanh(0.5)) ** 2 / 4, rel=1e-6)


@pytest.mark.parametrize("cells_at_once", [1, 3, 100])
def test_cells_are_compared_with_their_condition(cells_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven cells of three conditions, against predictions of every cell as the equations have them, with gradients."""
    monkeypatch.setattr(losses, "BLOCK", cells_at_once * 5 * 8)
    draw = torch.Generator().manual_seed(0)
    change, control = (torch.randn(3, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    change.requires_grad_()
    place, cells = torch.tensor([2, 0, 0, 1, 2, 2, 0]), torch.randn(7, 5, generator=draw, dtype=torch.float64)
    found = reconstruction_loss(change, control, place, cells, 0.3)
    prediction = change[place] + control[place]
    distance = torch.tanh(cells - control[place]) - torch.tanh(prediction - control[place])
    huber = torch.where(distance.abs() <= 0.3, distance.square() / 2, 0.3 * (distance.abs() - 0.15))
    for mine, wanted in zip(found, ((prediction - cells).square().mean(), huber.mean()), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=0)
        gradients = (torch.autograd.grad(x, change, retain_graph=True)[0] for x in (mine, wanted))
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_losses_are_zero_at_the_truth_and_rise_away_from_it() -> None:
    truth, control = torch.rand(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    assert all(float(loss) < 1e-30 for loss in by_cell(truth, truth, control))
    for other in (truth + 0.1, truth - 0.1):
        assert all(float(loss) > 0 for loss in by_cell(other, truth, control))


def test_a_wrong_direction_costs_more_than_a_wrong_size() -> None:
    control, observed = torch.zeros(1, 1), torch.full((1, 1), 0.5)
    small, wrong = (by_cell(torch.full((1, 1), x), observed, control)[1] for x in (1.0, -0.0001))
    assert float(wrong) > float(small)


def test_the_direction_loss_has_a_gradient() -> None:
    """Towards the observed change, which a sign function would not give."""
    predicted = torch.zeros(1, 1, requires_grad=True)
    by_cell(predicted, torch.ones(1, 1), torch.zeros(1, 1))[1].backward()
    assert predicted.grad is not None and float(predicted.grad) < 0
