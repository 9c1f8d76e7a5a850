"""The seam to DGL: every kernel of both engines against plain loops, and what the seam promises around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engines import ENGINES, needs_dgl
from torch import Tensor

from grape_dgl import engine as seam
from grape_dgl import sparse
from grape_dgl.engine import Engine, bipartite, choose_engine, default_engine, graph, simple_graph
from grape_dgl.errors import ConfigError
from grape_dgl.sparse import Rows

SRC, DST = torch.tensor([0, 2, 3, 1, 0, 3, 2]), torch.tensor([1, 1, 1, 0, 2, 2, 1])
mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch has no MKL here")
SOURCES, TARGETS = 4, 5  # targets 3 and 4 hear nobody, target 1 hears source 2 twice


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def loop_dot(u: Tensor, v: Tensor, e: Tensor) -> Tensor:
    return torch.stack([u[a].flatten() @ v[b].flatten() for a, b in zip(SRC.tolist(), DST.tolist(), strict=True)])


def loop_softmax(u: Tensor, v: Tensor, e: Tensor) -> Tensor:
    rows = []
    for b, value in zip(DST.tolist(), e, strict=True):
        rows.append(value.exp() / sum(other.exp() for c, other in zip(DST.tolist(), e, strict=True) if c == b))
    return torch.stack(rows)


def loop_sum(u: Tensor, v: Tensor, e: Tensor) -> Tensor:
    out = [torch.zeros_like(u[0]) for _ in range(TARGETS)]
    for a, b, weight in zip(SRC.tolist(), DST.tolist(), e, strict=True):
        out[b] = out[b] + u[a] * weight
    return torch.stack(out)


CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "dot_ends": (lambda g, u, v, e: seam.dot_ends(g, u, v), loop_dot, (3,), (1,)),
    "softmax": (lambda g, u, v, e: seam.softmax(g, e), loop_softmax, (1,), (2, 3, 1)),
    "weighted_sum": (lambda g, u, v, e: seam.weighted_sum(g, u, e), loop_sum, (2, 3), (2, 1)),
    "weighted_sum, one head": (lambda g, u, v, e: seam.weighted_sum(g, u, e), loop_sum, (3,), (1,)),
    "weighted_sum, one weight for all": (lambda g, u, v, e: seam.weighted_sum(g, u, e), loop_sum, (4, 2, 3), (1, 2, 1)),
}


@pytest.mark.parametrize("products", [pytest.param(True, marks=mkl), False], ids=["sparse products", "without"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_kernels_equal_loops(engine: Engine, name: str, products: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """``without``: on a GPU, or where torch has no MKL."""
    monkeypatch.setattr(sparse, "usable", lambda *given: products)
    kernel, loop, shape, edge_shape = CASES[name]
    relation = bipartite(engine, SRC, DST, SOURCES, TARGETS)
    u, v, e = leaf(SOURCES, *shape), leaf(TARGETS, *shape, seed=1), leaf(len(SRC), *edge_shape, seed=2)
    fast, slow = kernel(relation, u, v, e), loop(u, v, e)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    pull = torch.randn(slow.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((x * pull).sum(), (u, v, e), allow_unused=True) for x in (fast, slow))
    for mine, wanted in zip(ours, theirs, strict=True):
        if wanted is None:
            assert mine is None or not mine.any()
        else:
            torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_has_every_edge_once_in_each_order(engine: Engine) -> None:
    found = seam.pattern(bipartite(engine, SRC, DST, SOURCES, TARGETS))
    for rows, own, other, size in ((found.into, DST, SRC, TARGETS), (found.out_of, SRC, DST, SOURCES)):
        assert len(rows.start) == size + 1 and sorted(rows.edge.tolist()) == list(range(len(SRC)))
        torch.testing.assert_close(rows.column, other[rows.edge])
        place, edge = rows.at(torch.tensor([size - 1, 1]))
        wanted = [(at, e) for at, row in enumerate((size - 1, 1)) for e in range(len(SRC)) if own[e] == row]
        assert sorted(zip(place.tolist(), edge.tolist(), strict=True)) == sorted(wanted)


@mkl
def test_sparse_products_do_not_read_where_they_write() -> None:
    rows = Rows.of(torch.tensor([0, 0, 2]), torch.tensor([1, 0, 1]), 3, 2)
    x, values = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([10.0, 1.0, 0.5])
    wanted = torch.tensor([[31.0, 42.0], [0.0, 0.0], [1.5, 2.0]])
    out = torch.full((3, 2, 2), torch.nan)[:, 0]
    torch.testing.assert_close(rows.product(values, x, out), wanted)
    torch.testing.assert_close(rows.product(values, x, out, add=True), 2 * wanted)
    assert not Rows.of(*torch.zeros(2, 0, dtype=torch.long), 3, 2).product(values[:0], x, out).any()


@mkl
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_sparse_products_do_not_read_where_they_write(dtype: torch.dtype) -> None:
    """Of a size that MKL shares out to its threads, with empty rows."""
    draw = torch.Generator().manual_seed(0)
    row, column = (torch.randint(high, (60_000,), generator=draw) for high in (3000, 4000))
    rows = Rows.of(row.clamp(min=100), column, 3000, 4000)
    values, x = (torch.randn(*shape, generator=draw).to(dtype) for shape in ((60_000,), (4000, 96)))
    out = torch.full((3000, 2, 96), torch.nan, dtype=dtype)[:, 1]
    torch.testing.assert_close(rows.product(values, x, out), rows.matrix(values) @ x)
    assert not out[:100].any()


@mkl
@pytest.mark.parametrize("engine", ENGINES)
def test_products_of_rows_with_themselves(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends of an edge are rows of one tensor, of which either may be without gradient."""
    monkeypatch.setattr(sparse, "usable", lambda *given: True)
    src, dst = torch.tensor([0, 2, 3]), torch.tensor([1, 1, 2])
    relation, u = simple_graph(engine, src, dst, 4), leaf(4, 3)
    pull = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for v in (u, u.detach()):
        for a, b in ((u, v), (v, u)):
            ours, theirs = (
                torch.autograd.grad((x * pull).sum(), u)
                for x in (seam.dot_ends(relation, a, b), (a[src] * b[dst]).sum(1))
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_softmax_of_huge_logits_is_finite(engine: Engine) -> None:
    """1 / (1 + e) and e / (1 + e)."""
    relation = simple_graph(engine, torch.tensor([0, 1]), torch.tensor([2, 2]), 3)
    share = seam.softmax(relation, torch.tensor([[1000.0], [1001.0]], dtype=torch.float64))
    expected = torch.tensor([[0.2689414213699951], [0.7310585786300049]], dtype=torch.float64)
    torch.testing.assert_close(share, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_are_checked(engine: Engine) -> None:
    for wrong in (torch.tensor([0, 3]), torch.tensor([-1, 0])):
        with pytest.raises(IndexError, match=r"gg: node id outside 0\.\.2 of type 'g'"):
            simple_graph(engine, wrong, torch.tensor([0, 1]), 3)
        with pytest.raises(IndexError, match="outside"):
            simple_graph(engine, torch.tensor([0, 1]), wrong, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_are_copied(engine: Engine) -> None:
    src, dst = torch.tensor([0, 1]), torch.tensor([1, 2])
    relation = simple_graph(engine, src, dst, 3)
    src.fill_(2)
    dst.fill_(0)
    u = torch.tensor([[1.0], [10.0], [100.0]])
    assert seam.weighted_sum(relation, u, torch.ones(2, 1)).squeeze(1).tolist() == [0.0, 1.0, 10.0]


@pytest.mark.parametrize("engine", ENGINES)
def test_node_types_without_edges_stay(engine: Engine) -> None:
    triple = ("c", "cn", "n")
    empty = torch.zeros(0, dtype=torch.long)
    made: Any = graph(engine, {triple: (empty, empty)}, {"c": 2, "n": 3})
    out = seam.weighted_sum(made[triple], torch.ones(2, 1, 4), torch.ones(0, 1, 1))
    assert out.shape == (3, 1, 4) and not out.any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_autocast_does_not_reach_the_kernels(engine: Engine, name: str) -> None:
    kernel, _, shape, edge_shape = CASES[name]
    relation = bipartite(engine, SRC, DST, SOURCES, TARGETS)
    u, v, e = (
        leaf(n, *s, seed=i).detach().float()
        for i, (n, s) in enumerate(((SOURCES, shape), (TARGETS, shape), (len(SRC), edge_shape)))
    )
    plain = kernel(relation, u, v, e)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = kernel(relation, u, v, e)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, plain, rtol=0, atol=0)


@needs_dgl
def test_choice_of_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("torch", "cuda") == "torch"
    assert choose_engine("auto", "cuda") == "torch" == default_engine("cuda")
    assert choose_engine("auto", "cpu") == choose_engine("dgl", "cpu") == "dgl"
    with pytest.raises(ConfigError, match="CPU only and the device is 'cuda'"):
        choose_engine("dgl", "cuda")
    monkeypatch.setattr(seam.importlib.util, "find_spec", lambda name: None)
    assert choose_engine("auto", "cpu") == "torch"
    with pytest.raises(ConfigError, match="not installed"):
        choose_engine("dgl", "cpu")
