"""Conditions as tensors: what is perturbed, what the controls and the cells show on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grape_dgl.data.screen import ControlHalves, Screen


class Perturbations:
    """Conditions as tensors: node ids of their targets, base and observed mean [conditions, measured].

    The ``base`` is the control mean, with the change that is ``expected`` without the network where that is given.
    """

    def __init__(
        self,
        screen: Screen,
        conditions: Sequence[str],
        control: ControlHalves,
        device: torch.device,
        expected: Float[np.ndarray, "conditions measured"] | None = None,
    ) -> None:
        self.targets = [screen.targets(name).tolist() for name in conditions]

        def stack(rows: list[Any]) -> Tensor:
            return torch.stack([torch.as_tensor(row, dtype=torch.float32) for row in rows]).to(device)

        self.base = stack([screen.control_mean(control.model, name) for name in conditions])
        if expected is not None:
            self.base += stack(list(expected))
        self.observed = stack([screen.mean(name) for name in conditions])

    @property
    def change(self) -> Float[Tensor, "conditions measured"]:
        """Observed change from the base."""
        return self.observed - self.base

    def rmse(self, change: Float[Tensor, "conditions measured"]) -> Float[Tensor, " conditions"]:
        """RMSE over genes of a predicted change."""
        return (change - self.change).square().mean(dim=1).sqrt()
