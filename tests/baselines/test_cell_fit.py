"""The training of models of cells: what is held out, when it ends, what is kept."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from evaluation.screens import simulated
from torch import Tensor, nn

from grape_dgl.baselines.cell_fit import CellLoss, FitSettings, TrainedCells, drawn_targets, fit_cells
from grape_dgl.errors import ConfigError, ModelError
from grape_dgl.settings import settings_of


class Walker(CellLoss):
    """Its weight grows with every step; the cells that are held out want it to be 1."""

    def __init__(self, slow: float = 0.0) -> None:
        super().__init__()
        self.weight, self.slow = nn.Parameter(torch.zeros(())), slow
        self.seen: dict[bool, list[Tensor]] = {True: [], False: []}

    def loss(self, rows: Tensor) -> Tensor:
        self.seen[self.training].append(rows)
        time.sleep(self.slow)
        return -self.weight if self.training else (self.weight - 1) ** 2


def test_a_tenth_is_held_out_and_the_best_epoch_is_kept() -> None:
    model = Walker()
    fitted = fit_cells(model, 95, FitSettings(lr=0.06, batch=20, epochs=100, patience=3), seed=0)
    trained, held = (torch.cat(model.seen[kind]).unique() for kind in (True, False))
    assert len(held) == 10 and sorted([*trained.tolist(), *held.tolist()]) == list(range(95))
    assert (fitted.epochs, fitted.late, str(fitted)) == (
        4 + 3,
        False,
        "",
    )  # 4 steps of .06 each
    assert model.weight.item() == pytest.approx(0.96, abs=0.001)
    assert not model.training


def test_a_loss_of_held_out_cells_that_is_no_number_at_first_is_forgotten() -> None:
    class Late(Walker):
        def loss(self, rows: Tensor) -> Tensor:
            loss = super().loss(rows)
            return loss if self.training or self.weight > 0.3 else loss * float("nan")

    model = Late()
    fit_cells(model, 95, FitSettings(lr=0.06, batch=20, epochs=20, patience=10), seed=0)
    assert model.weight.item() == pytest.approx(0.96, abs=0.001)


def test_time_is_bounded_and_it_is_said() -> None:
    model = Walker(slow=0.01)
    fitted = fit_cells(model, 40, FitSettings(lr=1e-6, epochs=1000, patience=1000, seconds=0.05), seed=0)
    assert fitted.late and fitted.epochs < 20
    assert str(fitted) == f"; ended by its bound on time, after {fitted.epochs} epochs"


def test_a_loss_that_is_not_a_number_is_said() -> None:
    class Broken(Walker):
        def loss(self, rows: Tensor) -> Tensor:
            return self.weight * float("nan")

    with pytest.raises(ModelError, match="the loss is nan in epoch 0; try a smaller lr"):
        fit_cells(Broken(), 40, FitSettings(), seed=0)


def test_only_cells_that_may_be_seen_are_trained_on() -> None:
    screen = simulated()
    control = screen.control_halves(0)
    seen = TrainedCells.of(screen, ["G00+G02", "G01"], control)
    wanted = np.concatenate([control.model, screen.cells("G00+G02"), screen.cells("G01")])
    np.testing.assert_array_equal(seen.rows, wanted)
    assert seen.treatments == [0, 1, 2]
    np.testing.assert_array_equal(seen.targets[:, :4], [[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]])
    assert np.bincount(seen.condition).tolist() == [len(control.model), 40, 40]


def test_a_target_that_is_not_trained_is_each_of_the_trained_ones_equally_often() -> None:
    trained = [2, 5, 7, 11]
    found = drawn_targets([5, 30, 40], trained, trained, 300)
    assert found.shape == (300, 3) and (found[:, 0] == 5).all()
    for column in (1, 2):
        assert np.unique(found[:, column], return_counts=True)[1].tolist() == [100, 100, 100]
        assert set(found[:, column]) == {2, 7, 11}  # not what the condition has already
    pairs = np.unique(found[:, 1:], axis=0, return_counts=True)
    assert len(pairs[0]) == 6 and set(pairs[1]) == {50} and (pairs[0][:, 0] != pairs[0][:, 1]).all()
    np.testing.assert_array_equal(found, drawn_targets([5, 99, 31], trained, trained, 300))
    np.testing.assert_array_equal(drawn_targets([2, 99], {2, 99}, trained, 3), [[2, 99]] * 3)
    assert drawn_targets([], trained, trained, 3).shape == (3, 0)
    many = list(range(26))
    counts = np.bincount(drawn_targets([99], many, many, 50)[:, 0], minlength=26)
    assert set(counts) == {1, 2} and np.flatnonzero(counts == 1).tolist() != [24, 25]  # whatever their order
    assert len(set(drawn_targets([99], many, many, 10)[:, 0])) == 10
    assert set(drawn_targets([5, 99], [5], [5], 4)[:, 1]) == {5}  # there is no other


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("epoch=3", "setting 'epoch=3' is not understood; did you mean 'epochs'?; expected NAME=VALUE"),
        ("epochs", "setting 'epochs' is not understood; did you mean 'epochs'?; expected NAME=VALUE"),
        ("may_be_0=lr", "setting 'may_be_0=lr' is not understood; expected NAME=VALUE, NAME one of lr, batch, epochs"),
        ("lr=fast", "setting 'lr' is 'fast'; expected float"),
        ("lr=0", "setting 'lr' is 0.0; expected a number above 0"),
        ("seconds=nan", "setting 'seconds' is nan; expected a number above 0"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        settings_of(FitSettings, [given])
    assert said in str(found.value)
