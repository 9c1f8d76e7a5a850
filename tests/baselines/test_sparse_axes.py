"""The turn of the latent space in which effects are sparse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from grape_dgl.baselines.sparse_axes import sparse_rotation


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_axes_of_sparse_effects_that_were_turned(seed: int) -> None:
    draw = np.random.default_rng(seed)
    effects = (draw.random((60, 6)) < 0.25) * draw.choice([-1, 1], (60, 6)) * draw.uniform(2.5, 4, (60, 6))
    turned = effects @ np.linalg.qr(draw.normal(size=(6, 6)))[0] + 0.05 * draw.normal(size=(60, 6))
    rotation = sparse_rotation(turned)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-10)
    alike = np.abs(np.corrcoef((turned @ rotation).T, effects.T)[:6, 6:])
    assert alike[linear_sum_assignment(-alike)].min() > 0.98


def test_what_is_sparse_already_stays() -> None:
    effects = np.diag([3.0, -2.0, 4.0])
    np.testing.assert_array_equal(sparse_rotation(effects), np.eye(3))
    np.testing.assert_array_equal(sparse_rotation(np.zeros((4, 2))), np.eye(2))


def test_it_never_makes_them_less_sparse() -> None:
    effects = np.random.default_rng(0).normal(size=(20, 5))
    cost = [np.log1p((one / 0.3) ** 2).sum() for one in (effects, effects @ sparse_rotation(effects))]
    assert cost[1] <= cost[0]
