"""The search by a bound against comparing all pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from grape_dgl import sparse
from grape_dgl.errors import ConfigError
from grape_dgl.graph import search as module
from grape_dgl.graph.search import RANKS, Search
from grape_dgl.graph.similarity import degree_threshold, pairs_above

GENES, DIM = 300, 128


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST", 50)
    monkeypatch.setattr(module, "RANKS", (8, 32))


def rows(rank: int, noise: float, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unit rows near ``rank`` directions."""
    draw = torch.Generator().manual_seed(seed)
    near = torch.randn(GENES, rank, generator=draw) @ torch.randn(rank, DIM, generator=draw) / rank**0.5
    return torch.nn.functional.normalize(near + noise * torch.randn(GENES, DIM, generator=draw), dim=1).to(dtype)


def pairs(found: tuple[Tensor, Tensor]) -> list[tuple[int, int]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_finds_what_a_comparison_of_all_pairs_finds(
    dtype: torch.dtype, products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same order, over steps in which the rows drift, with genes that are not allowed; by the bound alone."""
    monkeypatch.setattr(sparse, "usable", lambda *given: products)
    search, allowed = Search(), torch.arange(GENES) % 11 != 3
    start, end = rows(5, 0.2, dtype=dtype), rows(5, 0.2, seed=1, dtype=dtype)
    for step in range(6):
        u = torch.nn.functional.normalize(start + step / 5 * end, dim=1)
        epsilon = degree_threshold(u, 12, allowed)
        found = pairs(search(u, epsilon, allowed))
        assert found == pairs(pairs_above(u, epsilon, allowed)) and len(found) == 12 * int(allowed.sum()) / 2
    assert (search.bounded, search.plain) == (6, 0)


def test_where_the_bound_is_too_loose_more_directions_are_taken_and_then_all_pairs_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE", 3)
    wide, search = rows(20, 0.1), Search()
    epsilon = degree_threshold(wide, 4)
    assert pairs(search(wide, epsilon)) == pairs(pairs_above(wide, epsilon))
    assert search.bounded == 1 and search.rank == 1  # 32 directions, 8 were too few
    loose, search = rows(DIM, 1.0), Search()
    epsilon = degree_threshold(loose, 4)
    for _ in range(6):
        assert pairs(search(loose, epsilon)) == pairs(pairs_above(loose, epsilon))
    assert (search.bounded, search.plain) == (0, 6)
    narrow = rows(3, 0.05)
    epsilon = degree_threshold(narrow, 4)
    for _ in range(4):
        search(narrow, epsilon)
    assert search.bounded > 0  # it is tried again after a while


def test_a_row_short_of_the_directions_is_never_missed() -> None:
    """Two equal rows that point where no other row does, of weight too small to be a direction."""
    u = rows(3, 0.01)
    lone = torch.zeros(DIM)
    lone[-1] = 1.0
    u[[17, 201]] = lone
    search = Search()
    assert (17, 201) in pairs(search(u, 0.999)) and search.bounded == 1


def test_rests_that_rounding_would_hide_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of eight directions with a common rest of 2e-4, and one with a large part of that: a difference of squares
    in float32 finds no rest where 1e-4 of a similarity is in it."""
    draw = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(DIM, 9, generator=draw)).Q.T
    near = torch.nn.functional.normalize(torch.randn(GENES, 8, generator=draw), dim=1)
    u = near @ frame[:8] + 2e-4 * frame[8]
    u[7] = (near[7] @ frame[:8] + frame[8]) / 2**0.5
    u = torch.nn.functional.normalize(u, dim=1)
    search = Search()
    for _ in range(4):  # until its directions are those of the rows
        search(u, 0.9)
    monkeypatch.setattr(module, "CANDIDATES", GENES)  # however loose
    for similarity in (u @ u[7]).sort(descending=True).values[1:150].tolist():
        epsilon = similarity - 1e-6
        assert pairs(search(u, epsilon)) == pairs(pairs_above(u, epsilon))
    assert (search.bounded, search.plain) == (153, 0)


def test_a_limit_is_not_reached_by_pairs_just_below_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    u, search = rows(DIM, 1.0), Search()
    monkeypatch.setattr(module, "SLACK", 0.5)
    epsilon = degree_threshold(u, 4)
    assert pairs(search(u, epsilon, max_edges=2 * GENES)) == pairs(pairs_above(u, epsilon)) and search.plain == 1


def test_a_model_may_change_its_precision() -> None:
    search = Search()
    for dtype in (torch.float32, torch.float64):
        u = rows(5, 0.2, dtype=dtype)
        assert pairs(search(u, 0.8)) == pairs(pairs_above(u, 0.8))
    assert search.bounded == 2


def test_few_genes_and_few_numbers_are_compared_plainly() -> None:
    few = Search()
    few(torch.eye(10), 0.5)
    short = Search()
    short(rows(3, 0.1)[:, :12], 0.5)
    assert few.bounded == short.bounded == few.plain == 0 and short.plain == 1
    assert all(2 * rank <= 256 for rank in RANKS)  # the width of the default model


def test_too_many_edges_are_said() -> None:
    with pytest.raises(ConfigError, match="gives 44,850 edges .mean degree 299"):
        Search()(torch.nn.functional.normalize(torch.ones(GENES, DIM), dim=1), 0.5, None, 1000)
