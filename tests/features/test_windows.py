"""Windows by hand and by their properties; pooling in windows against pooling at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grape_dgl.features.windows import fresh, join, pool, spans


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 10, 10, [(0, 10)]),
        (3, 10, 10, [(0, 3)]),
        (11, 10, 10, [(0, 10), (1, 11)]),
        (20, 10, 10, [(0, 10), (10, 20)]),
        (20, 10, 4, [(0, 10), (4, 14), (8, 18), (10, 20)]),
        (18, 10, 4, [(0, 10), (4, 14), (8, 18)]),
    ],
)
def test_by_hand(length: int, window: int, stride: int, expected: list[tuple[int, int]]) -> None:
    assert spans(length, window, stride) == expected


def test_fresh_by_hand() -> None:
    assert fresh([(0, 10), (4, 14), (8, 18), (10, 20)]) == [10, 4, 4, 2]
    assert fresh([(0, 10), (4, 9), (9, 14)]) == [10, 0, 4]


def test_any_length() -> None:
    """Full windows in order, every base covered, every base fresh once; no more windows than needed."""
    draws = np.random.default_rng(0)
    for _ in range(300):
        length, window = int(draws.integers(1, 80)), int(draws.integers(1, 30))
        stride = int(draws.integers(1, window + 1))
        found = spans(length, window, stride)
        assert {end - start for start, end in found} == {min(window, length)}
        assert found == sorted(set(found)) and found[0][0] == 0 and found[-1][1] == length
        assert {base for start, end in found for base in range(start, end)} == set(range(length))
        assert all(after[0] - before[0] <= stride for before, after in zip(found, found[1:], strict=False))
        assert len(found) == 1 + -(-max(length - window, 0) // stride)
        assert min(fresh(found)) > 0 and sum(fresh(found)) == length


@pytest.mark.parametrize("how", ["mean_std", "mean", "max", "first", "last"])
def test_windows_without_overlap_are_as_one(how: str) -> None:
    """Whatever the sizes of the windows: as numpy over all tokens at once."""
    states = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cuts = [(0, 20), (20, 27), (27, 50)]
    rows = torch.stack([pool(states[start:end], how) for start, end in cuts])
    found = join(rows, torch.tensor(fresh(cuts)), how).numpy()
    x = states.numpy()
    expected = {
        "mean_std": np.concatenate([x.mean(0), x.std(0)]),
        "mean": x.mean(0),
        "max": x.max(0),
        "first": x[0],
        "last": x[-1],
    }
    np.testing.assert_allclose(found, expected[how], atol=1e-12)


def test_overlap_counts_by_fresh_bases() -> None:
    """Two windows of 10 bases that share 6: the second weighs 4."""
    rows = torch.tensor([[1.0, 5.0], [8.0, -2.0]])
    assert join(rows, torch.tensor(fresh([(0, 10), (4, 14)])), "mean").tolist() == pytest.approx([3, 3])
