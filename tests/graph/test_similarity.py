"""Eq. 3-5 and 9: similarities, thresholds and pairs against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
from dense import average, similarity, threshold
from engines import ENGINES
from torch import Tensor

from grape_dgl.engine import Engine
from grape_dgl.errors import ConfigError
from grape_dgl.graph.hetero import Pairs
from grape_dgl.graph.similarity import (
    FLOOR,
    average_pairs,
    degree_threshold,
    find_pairs,
    head_units,
    nearest_pairs,
    pairs_above,
    weigh_pairs,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_matrix(pairs: Pairs, genes: int) -> Tensor:
    """Dense symmetric matrix with unit diagonal."""
    out = torch.eye(genes, dtype=pairs.value.dtype)
    out = out.index_put((pairs.first, pairs.second), pairs.value)
    return out.index_put((pairs.second, pairs.first), pairs.value)


def test_eq4_by_hand() -> None:
    """Two heads that look at one half each: cos((3,4),(4,3)) = 24/25 and cos((1,0),(1,1)) = 1/sqrt 2, then the mean."""
    z = torch.tensor([[3.0, 4.0, 1.0, 0.0], [4.0, 3.0, 1.0, 1.0]], dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    u = head_units(z, torch.stack([eye[:, :2], eye[:, 2:]]))
    assert float(u[0] @ u[1]) == pytest.approx((24 / 25 + 1 / math.sqrt(2)) / 2, rel=1e-12)


def test_eq4_equals_dense_with_gradients() -> None:
    z, weight = draw(7, 6).requires_grad_(), draw(3, 6, 2, seed=1).requires_grad_()
    u = head_units(z, weight)
    dense, pull = similarity(z, weight), draw(7, 7, seed=2)
    torch.testing.assert_close(u @ u.T, dense, rtol=1e-10, atol=1e-12)
    for mine, wanted in zip(
        *(torch.autograd.grad((x * pull).sum(), (z, weight)) for x in (u @ u.T, dense)), strict=True
    ):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


def test_similarity_is_symmetric_with_unit_diagonal() -> None:
    u = head_units(draw(30, 8), draw(4, 8, 2, seed=1))
    values = u @ u.T
    torch.testing.assert_close(values.diagonal(), torch.ones(30, dtype=torch.float64))
    torch.testing.assert_close(values, values.T)
    assert values.abs().max() <= 1 + 1e-12


def test_zero_row_has_no_direction_and_no_nan_gradient() -> None:
    z = draw(3, 4)
    z[1] = 0
    z.requires_grad_()
    u = head_units(z, draw(2, 4, 2, seed=1))
    assert not u[1].any() and bool(u[0].any())
    u.sum().backward()
    assert torch.isfinite(z.grad).all() and not z.grad[1].any()


def test_a_head_that_sees_nothing_of_a_gene_leaves_the_others_as_they_are() -> None:
    """The first head looks at two numbers that are 0 for gene 1."""
    eye, z = torch.eye(4, dtype=torch.float64), draw(3, 4)
    z[1, :2] = 0
    z.requires_grad_()
    u = head_units(z, torch.stack([eye[:, :2], eye[:, 2:]]))
    wanted = torch.cat([torch.nn.functional.normalize(z[:, part], dim=1) for part in (slice(2), slice(2, 4))], dim=1)
    torch.testing.assert_close(u, wanted / 2**0.5, rtol=1e-12, atol=0)
    pull = draw(3, 4, seed=2)
    ours, theirs = (torch.autograd.grad((x * pull).sum(), z)[0] for x in (u, wanted / 2**0.5))
    assert not ours[1, :2].any()
    torch.testing.assert_close(ours[:, 2:], theirs[:, 2:], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours[[0, 2]], theirs[[0, 2]], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("block", [1, 4, 512])
def test_pairs_above_equals_a_loop(block: int) -> None:
    u = torch.nn.functional.normalize(draw(11, 3), dim=1)
    allowed = torch.ones(11, dtype=torch.bool)
    allowed[[2, 7]] = False
    values = u @ u.T
    wanted = [(i, j) for i in range(11) for j in range(i + 1, 11) if allowed[i] and allowed[j] and values[i, j] >= 0.3]
    first, second = pairs_above(u, 0.3, allowed, block)
    assert wanted and list(zip(first.tolist(), second.tolist(), strict=True)) == wanted


def test_threshold_is_inclusive() -> None:
    u = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert len(pairs_above(u, 0.5)[0]) == 1
    assert len(pairs_above(u, math.nextafter(0.5, 1) + 1e-6)[0]) == 0


@pytest.mark.parametrize("block", [3, 512])
@pytest.mark.parametrize("degree", [0.2, 1.0, 3.0, 5.0, 11.0])
@pytest.mark.parametrize("levels", [4, 64])
def test_degree_threshold_is_the_tightest_that_fits(degree: float, levels: int, block: int) -> None:
    """As many pairs as fit: one tie group more would exceed the degree. Powers of two keep products exact."""
    generator = torch.Generator().manual_seed(levels)
    u = torch.randint(0, levels, (15, 2), generator=generator).double() / levels
    allowed = torch.ones(15, dtype=torch.bool)
    allowed[3] = False
    epsilon = degree_threshold(u, degree, allowed, block)
    values = (u @ u.T)[allowed][:, allowed]
    upper = values[torch.triu(torch.ones_like(values, dtype=torch.bool), 1)]
    wanted = int(degree * 14 / 2)
    assert epsilon >= FLOOR
    assert int((upper >= epsilon).sum()) <= wanted
    below = upper[(upper < epsilon) & (upper >= FLOOR)]
    if len(below):
        assert int((upper >= below.max()).sum()) > wanted
    assert len(pairs_above(u, epsilon, allowed, block)[0]) == int((upper >= epsilon).sum())


def test_degree_threshold_stops_at_the_floor() -> None:
    assert degree_threshold(torch.eye(6), 3.0) == FLOOR  # all similarities are 0
    assert degree_threshold(torch.ones(6, 1), 100.0) == FLOOR  # more than there are
    assert degree_threshold(torch.ones(6, 1), 2.0) > 1  # one tie group of 15 pairs where 6 are wanted: none


def test_eq3_and_eq9_by_hand() -> None:
    """Cosines .6 (0, 1), 0 (0, 2) and .8 (1, 2): at .6 two pairs stay with their values, above it one."""
    u = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    for epsilon, wanted in ((0.6, {(0, 1): 0.6, (1, 2): 0.8}), (0.61, {(1, 2): 0.8}), (0.81, {})):
        found = find_pairs(u, epsilon, "torch")
        ends = zip(found.first.tolist(), found.second.tolist(), strict=True)
        assert dict(zip(ends, found.value.tolist(), strict=True)) == pytest.approx(wanted)
    only = find_pairs(u, 0.6, "torch", allowed=torch.tensor([True, True, False]))
    assert (only.first.tolist(), only.second.tolist()) == ([0], [1])


def test_eq5_by_hand() -> None:
    """Pair (0, 1): both members have it, .8 and absent -> .4. Pair (0, 2): gene 2 lacks the second member -> .6."""
    first = Pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([0.8, 0.6]))
    second = Pairs(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    everyone, some = torch.tensor([True, True, True]), torch.tensor([True, True, False])
    found = average_pairs([(first, everyone), (second, some)], 3)
    assert (found.first.tolist(), found.second.tolist()) == ([0, 0], [1, 2])
    torch.testing.assert_close(found.value, torch.tensor([0.4, 0.6]))


@pytest.mark.parametrize("engine", ENGINES)
def test_eq3_to_5_equal_dense_with_gradients(engine: Engine) -> None:
    genes, members = 9, []
    zs = [draw(genes, 4, seed=s).requires_grad_() for s in range(3)]
    weights = [draw(2, 4, 2, seed=10 + s).requires_grad_() for s in range(3)]
    has = [torch.ones(genes, dtype=torch.bool) for _ in range(3)]
    has[0][[1, 4]] = False
    has[1][[4, 8]] = False
    dense = []
    for z, w, h in zip(zs, weights, has, strict=True):
        members.append((find_pairs(head_units(z, w), 0.2, engine, allowed=h), h))
        dense.append(threshold(similarity(z, w), 0.2, h))
    fast, slow = as_matrix(average_pairs(members, genes), genes), average(dense, has)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    pull = draw(genes, genes, seed=20)
    for mine, wanted in zip(
        *(torch.autograd.grad((x * pull).sum(), (*zs, *weights)) for x in (fast, slow)), strict=True
    ):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


def test_nearest_pairs_by_loop() -> None:
    u = torch.nn.functional.normalize(draw(10, 3), dim=1)
    allowed = torch.ones(10, dtype=torch.bool)
    allowed[5] = False
    wanted = set()
    for i in range(10):
        ranked = sorted((float(u[i] @ u[j]), j) for j in range(10) if j != i and allowed[i] and allowed[j])
        wanted |= {(min(i, j), max(i, j)) for value, j in ranked[-2:] if value >= FLOOR}
    found = nearest_pairs(u, 2, allowed, block=4)
    assert set(zip(found[0].tolist(), found[1].tolist(), strict=True)) == wanted


def test_min_neighbours_adds_to_the_threshold() -> None:
    u = torch.nn.functional.normalize(draw(12, 3), dim=1)
    few, more = (find_pairs(u, 0.99, "torch", min_neighbours=k) for k in (0, 1))
    assert int((few.degrees(12) == 0).sum()) > 0 and int((more.degrees(12) == 0).sum()) == 0
    edges = set(zip(more.first.tolist(), more.second.tolist(), strict=True))
    assert edges >= set(zip(few.first.tolist(), few.second.tolist(), strict=True)) and len(edges) == len(more)


def test_too_many_edges_names_the_degree() -> None:
    with pytest.raises(ConfigError, match=r"gives 45 edges \(mean degree 9\); structure.max_edges allows 44"):
        find_pairs(torch.ones(10, 1), 0.5, "torch", max_edges=44)
    assert len(find_pairs(torch.ones(10, 1), 0.5, "torch", max_edges=45)) == 45
    with pytest.raises(ConfigError, match=r"min_neighbours=9 gives 45 edges; structure.max_edges allows 44"):
        find_pairs(torch.ones(10, 1), 1.5, "torch", min_neighbours=9, max_edges=44)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_pairs_at_all(engine: Engine) -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert len(weigh_pairs(draw(3, 2), none, none, engine)) == 0
