"""Axes along which a table of effects is sparse: what a variational autoencoder leaves open, any turn of its latents.

Its prior is the same in all directions, so its bound changes little when the latent space is turned, and gradients do
not find the turn in which few effects are large. A search over one pair of axes at a time does (Jacobi's method).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

ANGLES = np.linspace(-np.pi / 4, np.pi / 4, 61)
"""Of a pair of axes; beyond these it is the same pair again."""
SWEEPS = 30


def sparse_rotation(effects: np.ndarray, small: float = 0.3) -> np.ndarray:
    """Orthogonal R [dim, dim] for which ``sum log(1 + (effects R / small)^2)`` has a (local) minimum.

    ``effects``: [treatments, dim]. ``small``: size from which an effect counts as one.
    """
    turned = np.array(effects, dtype=np.float64)
    rotation = np.eye(turned.shape[1])
    cosine, sine = np.cos(ANGLES), np.sin(ANGLES)
    for _ in range(SWEEPS):
        moved = False
        for pair in map(list, combinations(range(len(rotation)), 2)):
            a, b = turned[:, pair[:1]], turned[:, pair[1:]]
            costs = _cost(a * cosine + b * sine, small) + _cost(b * cosine - a * sine, small)
            best = int(costs.argmin())
            if costs[best] < costs[len(ANGLES) // 2] * (1 - 1e-9):
                turn = np.array([[cosine[best], -sine[best]], [sine[best], cosine[best]]])
                turned[:, pair], rotation[:, pair] = turned[:, pair] @ turn, rotation[:, pair] @ turn
                moved = True
        if not moved:
            break
    return rotation


def _cost(effects: np.ndarray, small: float) -> np.ndarray:
    return np.asarray(np.log1p((effects / small) ** 2).sum(axis=0))
