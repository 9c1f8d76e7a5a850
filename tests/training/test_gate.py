"""What may speak: standard errors by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from grape_dgl.training.gate import surely_better


def test_surely_better_by_hand() -> None:
    """2 standard errors of many are as rare as 4.53 of three (Student's t, 2 degrees of freedom)."""
    ours, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 3.0])
    gain = np.array([np.log(2), np.log(1.5), 0])
    found = gain.mean() / (np.std(gain, ddof=1) / 3**0.5)
    least = stats.norm.ppf(stats.t.cdf(found, 2))
    assert surely_better(ours, other, least - 1e-3)
    assert not surely_better(ours, other, least + 1e-3)
    assert stats.t.ppf(stats.norm.cdf(2), 2) == pytest.approx(4.53, abs=0.01)
    half = stats.norm.isf(2 * stats.t.sf(found, 2))  # of two tries chance is as rare at half the probability
    assert surely_better(ours, other, half - 1e-3, 2) and not surely_better(ours, other, half + 1e-3, 2)


def test_what_is_never_sure() -> None:
    one, less = np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.5])
    assert surely_better(less, one, 5.0)
    assert not surely_better(less[:1], one[:1], 0.0)
    assert not surely_better(one, less, 0.0) and not surely_better(one, one, 0.0)
    assert surely_better(less, np.array([0.6, 0.7, 0.6]), 0.0, tries=9)  # a gate of 0 asks for a better mean only
    assert not surely_better(np.array([*[0.5] * 9, 15.0]), np.array([*[1.0] * 9, 10.0]), 1.0)  # of errors, too
    assert surely_better(np.zeros(3), one, 2.0) and not surely_better(np.zeros(3), np.zeros(3), 0.0)


def test_chance_opens_it_as_rarely_as_it_says() -> None:
    draw = np.random.default_rng(0)
    opened = [surely_better(*np.exp(draw.normal(size=(2, 8))), 1.0) for _ in range(2000)]
    assert np.mean(opened) == pytest.approx(stats.norm.sf(1.0), abs=0.03)
