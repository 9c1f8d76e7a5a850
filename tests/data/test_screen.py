"""Means, halves and batch matching of a screen, against plain numpy on the dense matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from grape_dgl.data.genes import Genes
from grape_dgl.data.screen import Screen
from grape_dgl.errors import DataError

CONDITIONS = ("G0", "G0+OUT", "G1")


@pytest.fixture
def screen() -> Screen:
    generator = np.random.default_rng(0)
    cells = 101
    return Screen(
        expression=sp.csr_matrix(generator.poisson(0.7, (cells, 6)).astype(np.float32)),
        condition=generator.integers(-1, 3, cells),
        conditions=CONDITIONS,
        batch=generator.integers(0, 3, cells),
        genes=Genes.from_symbols([*(f"G{i}" for i in range(6)), "OUT"], measured=6),
    )


@pytest.mark.parametrize("name", ["control", *CONDITIONS])
def test_cells_and_mean(screen: Screen, name: str) -> None:
    code = -1 if name == "control" else CONDITIONS.index(name)
    rows = np.flatnonzero(screen.condition == code)
    np.testing.assert_array_equal(screen.cells(name), rows)
    assert screen.mean(name).dtype == np.float32
    np.testing.assert_allclose(screen.mean(name), screen.expression.toarray()[rows].mean(axis=0), rtol=1e-6)


def test_cells_of_all_conditions_are_all_cells(screen: Screen) -> None:
    rows = np.concatenate([screen.control_cells, *(screen.cells(name) for name in CONDITIONS)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(101))


def test_it_says_what_it_is_in_a_line(screen: Screen) -> None:
    control = len(screen.control_cells)
    said = f"Screen of 101 cells ({control} control), 3 conditions, 6 genes measured, 1 other targets"
    assert repr(screen) == said


def test_cells_count_in_the_order_of_their_rank(screen: Screen) -> None:
    """However they stand: the same cells are drawn, and sums are the same to the last bit."""
    order = np.random.default_rng(1).permutation(101)
    mixed = replace(
        screen,
        expression=screen.expression[order],
        condition=screen.condition[order],
        batch=screen.batch[order],
        rank=order,
    )
    for name in ("control", *CONDITIONS):
        np.testing.assert_array_equal(order[mixed.cells(name)], screen.cells(name))
        np.testing.assert_array_equal(mixed.mean(name), screen.mean(name))
    halves, others = screen.control_halves(0), mixed.control_halves(0)
    for half, other in ((halves.model, others.model), (halves.reference, others.reference)):
        np.testing.assert_array_equal(order[other], half)
        np.testing.assert_array_equal(mixed.control_mean(other, "G1"), screen.control_mean(half, "G1"))
    with pytest.raises(DataError, match="101 cells, but 100 ranks"):
        replace(screen, rank=order[1:])


def test_targets_are_nodes_measured_or_not(screen: Screen) -> None:
    assert screen.targets("G0+OUT").tolist() == [0, 6]
    assert screen.targets("G3+G5").tolist() == [3, 5]
    assert screen.targets("control").tolist() == []
    with pytest.raises(DataError, match="NOPE"):
        screen.targets("G0+NOPE")


def test_unknown_condition(screen: Screen) -> None:
    with pytest.raises(DataError, match="did you mean 'G0\\+OUT'"):
        screen.cells("G0+OUTT")


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_halves_are_disjoint_complete_and_stratified(screen: Screen, seed: int) -> None:
    halves = screen.control_halves(seed)
    assert not set(halves.model) & set(halves.reference)
    np.testing.assert_array_equal(np.union1d(halves.model, halves.reference), screen.control_cells)
    assert abs(len(halves.model) - len(halves.reference)) <= 1
    for code in range(3):
        assert abs((screen.batch[halves.model] == code).sum() - (screen.batch[halves.reference] == code).sum()) <= 1


def test_halves_depend_on_the_seed_only(screen: Screen) -> None:
    np.testing.assert_array_equal(screen.control_halves(3).model, screen.control_halves(3).model)
    assert not np.array_equal(screen.control_halves(3).model, screen.control_halves(4).model)


def test_control_mean_without_condition_is_plain(screen: Screen) -> None:
    rows = screen.control_halves(0).model
    np.testing.assert_allclose(screen.control_mean(rows), screen.expression.toarray()[rows].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(screen.control_mean(rows), screen.control_mean(rows, "control+unheard"))


def test_control_mean_follows_the_batches_of_the_condition(screen: Screen) -> None:
    rows, dense = screen.control_halves(0).model, screen.expression.toarray()
    for name in CONDITIONS:
        batches = screen.batch[screen.cells(name)]
        expected = np.mean([dense[rows[screen.batch[rows] == code]].mean(axis=0) for code in batches], axis=0)
        np.testing.assert_allclose(screen.control_mean(rows, name), expected, rtol=1e-5)


def test_batches_without_controls_are_left_out(screen: Screen) -> None:
    rows, dense = screen.control_cells[screen.batch[screen.control_cells] != 1], screen.expression.toarray()
    batches = screen.batch[screen.cells("G1")]
    expected = np.mean([dense[rows[screen.batch[rows] == code]].mean(axis=0) for code in batches if code != 1], axis=0)
    np.testing.assert_allclose(screen.control_mean(rows, "G1"), expected, rtol=1e-5)


def test_no_batch_in_common_gives_the_plain_mean(screen: Screen) -> None:
    apart = replace(screen, batch=np.where(screen.condition == 2, 3, screen.batch))
    rows = apart.control_cells
    np.testing.assert_array_equal(apart.control_mean(rows, "G1"), apart.control_mean(rows))


def test_one_batch_matches_nothing(screen: Screen) -> None:
    one = replace(screen, batch=np.zeros(101, dtype=int))
    np.testing.assert_array_equal(one.control_mean(one.control_cells, "G1"), one.mean("control"))


def test_many_sets_of_rows(screen: Screen) -> None:
    dense = screen.expression.toarray()
    for seed in range(20):
        rows = screen.control_halves(seed).reference
        np.testing.assert_allclose(screen.control_mean(rows), dense[rows].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: {"condition": s.condition[:-1]},
        lambda s: {"batch": s.batch[:-1]},
        lambda s: {"condition": np.abs(s.condition)},
        lambda s: {"condition": s.condition + 1},
        lambda s: {"conditions": ()},
        lambda s: {"conditions": ("G1", "G0", "G0+OUT")},
        lambda s: {"conditions": ("G0", "G0+OUT", "control")},
        lambda s: {"genes": Genes.from_symbols(["G0", "G1", "OUT"])},
    ],
)
def test_fields_that_do_not_fit(screen: Screen, wrong: Callable[[Screen], dict[str, object]]) -> None:
    with pytest.raises(DataError):
        replace(screen, **wrong(screen))  # type: ignore[arg-type]


def test_one_control_cell_has_no_halves(screen: Screen) -> None:
    condition = np.zeros(101, dtype=int)
    condition[0] = -1
    with pytest.raises(DataError, match="at least two"):
        replace(screen, condition=condition).control_halves(0)
