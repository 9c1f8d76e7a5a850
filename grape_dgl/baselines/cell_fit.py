"""Training on cells with a tenth of them held out: Lightning, early stopping, a bound on time, the best epoch kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, cast

import lightning as L
import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Int
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ModelError
from grape_dgl.evaluation.de import moments
from grape_dgl.settings import check
from grape_dgl.training.trainer import deterministic, quiet


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast."""

    may_be_0: ClassVar[tuple[str, ...]] = ()

    lr: float = 1e-3
    batch: int = 256
    epochs: int = 100
    patience: int = 10
    """Epochs without a better loss of the cells that are held out"""
    seconds: float = 600.0
    """After so many the epoch in hand is the last"""

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            value, free = getattr(self, one.name), one.name in self.may_be_0
            holds = isinstance(value, str) or 0 < value < math.inf or (free and value == 0)
            check(holds, one.name, value, "0 or more" if free else "a number above 0")


class CellLoss(nn.Module):
    """What is trained: a module with a loss of cells, by their row numbers."""

    centre: Tensor
    spread: Tensor

    def loss(self, rows: Int[Tensor, " cells"]) -> Tensor:
        """Mean over the cells."""
        raise NotImplementedError

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """For the optimiser."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def scale_by(self, expression: sp.csr_matrix) -> None:
        """Keep each gene's mean as ``centre``, and its standard deviation, not too close to 0, as ``spread``."""
        mean, deviation = centre_and_deviation(expression)
        self.register_buffer("centre", torch.from_numpy(np.float32(mean)))
        self.register_buffer("spread", torch.from_numpy(np.float32(deviation + 0.1)))


def centre_and_deviation(expression: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n in the denominator) per gene of cells x genes, two cells or more."""
    found = moments(expression)
    return found.mean, found.std * math.sqrt((found.n - 1) / found.n)


@dataclass(frozen=True)
class Fitted:
    """How a training ended."""

    epochs: int
    late: bool
    """Whether its bound on time ended it: on another machine it would be another model"""

    def __str__(self) -> str:
        """What belongs beside scores; empty where time played no part."""
        return f"; ended by its bound on time, after {self.epochs} epochs" if self.late else ""


@deterministic()
def fit_cells(model: CellLoss, cells: int, settings: FitSettings, seed: int) -> Fitted:
    """Train ``model`` on nine tenths of ``cells`` cells, drawn by ``seed``; it is left as it was in its best epoch.

    The loss of the rest is drawn from the same random numbers in each epoch. Raises ModelError where the loss is not a
    number.
    """
    order = np.random.default_rng(seed).permutation(cells)
    held, rows = order[: -(-cells // 10)], order[-(-cells // 10) :]
    module, keeper = _Fit(model, settings.lr, seed), _Best()
    timer = Timer(timedelta(seconds=settings.seconds), interval="epoch", verbose=False)
    with quiet():
        trainer = L.Trainer(
            max_epochs=settings.epochs, accelerator="cpu", devices=1, logger=False, num_sanity_val_steps=0,
            callbacks=[keeper, EarlyStopping("loss", patience=settings.patience, check_finite=False), timer],
            enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
            gradient_clip_val=100.0,  # far above usual: for a count that the first steps think impossible
        )  # fmt: skip
        torch.manual_seed(seed)
        model.train()
        train, check = _Batches(rows, settings.batch, np.random.default_rng(seed)), _Batches(held, settings.batch)
        trainer.fit(module, DataLoader(train, batch_size=None), DataLoader(check, batch_size=None))
    model.load_state_dict(keeper.kept)
    model.eval()
    epochs = int(trainer.current_epoch)
    return Fitted(epochs, epochs < settings.epochs and float(timer.time_remaining() or 0) <= 0)


class _Batches(IterableDataset[Tensor]):
    """Row numbers in batches of about ``size``; with ``rng`` in a new order each time."""

    def __init__(self, rows: np.ndarray, size: int, rng: np.random.Generator | None = None) -> None:
        self.rows, self.rng = rows, rng
        self.parts = max(1, round(len(rows) / size))

    def __len__(self) -> int:
        return self.parts

    def __iter__(self) -> Iterator[Tensor]:
        rows = self.rows if self.rng is None else self.rng.permutation(self.rows)
        for part in np.array_split(rows, self.parts):
            yield torch.from_numpy(part)


class _Fit(L.LightningModule):
    def __init__(self, model: CellLoss, lr: float, seed: int) -> None:
        super().__init__()
        self.model, self.lr, self.seed = model, lr, seed

    def training_step(self, rows: Tensor, batch_idx: int) -> Tensor:
        loss = self.model.loss(rows)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} in epoch {self.current_epoch}; try a smaller lr")
        return loss

    def validation_step(self, rows: Tensor, batch_idx: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + batch_idx)
            self.log("loss", self.model.loss(rows), on_epoch=True, on_step=False, batch_size=len(rows))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameter_groups(self.lr))


class _Best(Callback):
    """Keeps the weights of the best epoch."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}
        self.least = math.inf

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["loss"])
        if loss < self.least or not self.kept:
            self.least = math.inf if math.isnan(loss) else loss
            state = cast(_Fit, pl_module).model.state_dict()
            self.kept = {name: value.clone() for name, value in state.items()}


@dataclass(frozen=True)
class TrainedCells:
    """The cells that a model may see: of the model's half of the control, and of the training conditions."""

    rows: np.ndarray
    """Into the screen"""
    condition: np.ndarray
    """int64 [cells]: 0 for the control, then the training conditions"""
    targets: np.ndarray
    """float32 [1 + conditions, nodes]: 1 for the targets of each"""

    @classmethod
    def of(cls, screen: Screen, conditions: Sequence[str], control: ControlHalves) -> TrainedCells:
        rows = [control.model, *map(screen.cells, conditions)]
        targets = np.zeros((len(rows), len(screen.genes)), dtype=np.float32)
        for place, name in enumerate(conditions, start=1):
            targets[place, screen.targets(name)] = 1
        condition = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        return cls(np.concatenate(rows), condition, targets)

    @property
    def treatments(self) -> list[int]:
        """Nodes that are a target of any training condition, ascending."""
        return np.flatnonzero(self.targets.any(axis=0)).tolist()


def drawn_targets(
    targets: Sequence[int], known: Collection[int], trained: Sequence[int], number: int
) -> Int[np.ndarray, "number targets"]:
    """Node ids of a condition for each of ``number`` cells; for a target that is not ``known`` stands a trained one.

    Nothing tells it from those, so each of them, but for the condition's own, stands for it equally often: its effect
    is the mean of theirs. For two such targets stand all pairs of different ones. The draws are those of any other.
    """
    random = np.random.default_rng(0)
    others = random.permutation([node for node in trained if node not in targets] or trained)
    draw = random.permutation(number)
    step = 1 + draw // len(others) % max(len(others) - 1, 1)
    unknown = [node for node in targets if node not in known]
    stand_ins = {node: others[(draw + place * step) % len(others)] for place, node in enumerate(unknown)}
    columns = [stand_ins.get(node, np.full(number, node)) for node in targets]
    return np.array(columns, dtype=np.int64).reshape(len(targets), number).T
