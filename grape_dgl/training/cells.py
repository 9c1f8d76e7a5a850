"""Batches of cells for training: shuffled by seed, dense only while they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import IterableDataset

from grape_dgl.data.screen import Screen


class CellBatch(NamedTuple):
    """Cells of one optimisation step; ``condition`` indexes the list of training conditions."""

    expression: Float[Tensor, "cells measured"]
    condition: Int[Tensor, " cells"]


class CellBatches(IterableDataset[CellBatch]):
    """All cells of ``conditions`` once per epoch, in steps of about ``size`` cells, at least ``least_steps``.

    The order is a pure function of (seed, epoch), so a resumed run sees the same batches.
    """

    def __init__(self, screen: Screen, conditions: Sequence[str], size: int, seed: int, least_steps: int = 1) -> None:
        super().__init__()
        rows = [screen.cells(name) for name in conditions]
        self.rows = np.concatenate(rows)
        self.condition = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        self.screen, self.seed, self.epoch = screen, seed, 0
        self.steps = min(max(least_steps, round(len(self.rows) / size)), len(self.rows))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[CellBatch]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))
        self.epoch += 1
        for part in np.array_split(order, self.steps):
            expression = torch.from_numpy(self.screen.expression[self.rows[part]].toarray())
            yield CellBatch(expression, torch.from_numpy(self.condition[part]))
