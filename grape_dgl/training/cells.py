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
    """All cells of ``conditions`` once per epoch, in steps of about ``size`` cells.

    A small screen passes its cells several times, for ``least_steps`` steps of ``size`` cells (or of all it has): a
    cell more costs next to nothing, and a step on few cells is noise. The order is a pure function of (seed, epoch).
    """

    def __init__(self, screen: Screen, conditions: Sequence[str], size: int, seed: int, least_steps: int = 1) -> None:
        super().__init__()
        rows = [screen.cells(name) for name in conditions]
        self.rows = np.concatenate(rows)
        self.condition = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        self.screen, self.seed, self.epoch = screen, seed, 0
        self.size = min(size, len(self.rows))
        self.steps = max(least_steps, round(len(self.rows) / self.size))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[CellBatch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        cells = max(self.steps * self.size, len(self.rows))
        passes = [rng.permutation(len(self.rows)) for _ in range(-(-cells // len(self.rows)))]
        for part in np.array_split(np.concatenate(passes)[:cells], self.steps):
            expression = torch.from_numpy(self.screen.expression[self.rows[part]].toarray())
            yield CellBatch(expression, torch.from_numpy(self.condition[part]))
