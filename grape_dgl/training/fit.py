"""The main training: Lightning around Eq. 13-18, early stopping on validation, best weights as safetensors."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from grape_dgl.config import Config
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ModelError
from grape_dgl.laps import Laps
from grape_dgl.losses import reconstruction_loss, structure_loss
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.training.cells import CellBatch, CellBatches
from grape_dgl.training.expectations import Expectations
from grape_dgl.training.interruption import Interruption
from grape_dgl.training.perturbations import Perturbations
from grape_dgl.training.probe import SILENT, probe
from grape_dgl.training.progress import Progress, read_progress, restore, write_progress
from grape_dgl.training.trainer import deterministic, quiet
from grape_dgl.training.weights import load_weights, save_weights
from grape_dgl.writing import write_text

log = logging.getLogger("grape_dgl")


@dataclass
class FitResult:
    """What the training did: epochs run, the best one and its validation RMSE, seconds, one log row per epoch."""

    epochs: int
    best_epoch: int
    best_validation: float | None
    interrupted: bool
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)
    diverged: str = ""
    """Why it ended, where it was because the loss was not a number"""
    silent: bool = False
    """Whether the network says nothing, the response alone being no worse on validation conditions"""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase of all epochs; on a GPU, whose work runs behind, the phase that waits for it counts it"""

    def __str__(self) -> str:
        """One line for a reader."""
        best = "before the first epoch" if self.best_epoch < 0 else f"after epoch {self.best_epoch}"
        score = "" if self.best_validation is None else f" (validation RMSE {self.best_validation:.4f})"
        whole = sum(self.phases.values()) or 1.0
        longest = sorted(self.phases.items(), key=lambda item: -item[1])[:4]
        spent = ", ".join(f"{phase} {100 * value / whole:.0f} %" for phase, value in longest)
        silent = "; the network stays silent: predictions are those of the response" if self.silent else ""
        return f"{self.epochs} epochs in {self.seconds:.0f} s ({spent}), best {best}{score}{silent}"


class Diverged(ModelError):
    """The loss is not a number."""


@dataclass(frozen=True)
class FitFiles:
    """What the training of a member of an ensemble writes."""

    weights: Path
    """Of the best epoch (safetensors)"""
    log: Path
    """CSV, a row per epoch"""
    progress: Path
    """From which a training goes on that was stopped (``training.progress``)"""
    member: int = 0
    started_with: Mapping[str, str] = field(default_factory=dict)
    """As in ``Progress``"""


class Fit(L.LightningModule):
    """One optimisation step: all distinct conditions of a batch once, every cell compared with its condition."""

    def __init__(
        self, model: GRAPE, genes: GeneInputs, train: Perturbations, validation: Perturbations | None, config: Config
    ) -> None:
        super().__init__()
        self.model, self.settings = model, config
        self.genes, self.train_part, self.validation_part = genes, train, validation
        self.penalty, self.lap = math.nan, Laps()

    def training_step(self, batch: CellBatch, batch_idx: int) -> Tensor:
        self.lap("cells")
        here, place = torch.unique(batch.condition, return_inverse=True)
        targets = [self.train_part.targets[c] for c in here.tolist()]
        z = self.model.represent(self.genes)
        self.lap("represent")
        structure = self.model.learn_graph(z, refresh=batch_idx == 0)
        self.lap("structure")
        graph = self.model.graph(structure.pairs, self.genes.coding)
        self.lap("graph")
        change = self.model.propagate(graph, z.fused, targets)
        self.lap("messages")
        base, delta = self.train_part.base[here], self.settings.training.huber_delta
        mse, direction = reconstruction_loss(change, base, place, batch.expression, delta)
        regulariser = structure_loss(structure)
        loss = mse + direction + self.settings.structure.regulariser * regulariser  # Eq. 17-18
        if not torch.isfinite(loss):
            raise Diverged(
                f"the loss is {loss.item()} in epoch {self.current_epoch}, step {batch_idx}; "
                "try a smaller training.lr, or check the expression for extreme values"
            )
        parts = {"loss": loss, "mse": mse, "direction": direction, "structure": regulariser}
        self.log_dict(
            {name: value.detach() for name, value in parts.items()},
            on_step=False, on_epoch=True, batch_size=len(batch.condition),
        )  # fmt: skip
        self.log("edges", float(len(structure.pairs)), on_step=False, on_epoch=True, batch_size=1)
        self.lap("loss")
        return loss

    def on_after_backward(self) -> None:
        self.lap("backward")

    def on_train_batch_end(self, outputs: Any, batch: CellBatch, batch_idx: int) -> None:
        self.lap("optimiser")

    def on_train_epoch_end(self) -> None:
        score = self.settle()
        if score is not None:
            self.log("val_rmse", score)
        self.lap("read-out and validation")

    def settle(self) -> Tensor | None:
        """The model as it would be kept now, and its RMSE on the validation conditions (mean over conditions).

        The read-out is solved where the settings want it, and the thresholds are those that the next epoch starts
        with, so that kept weights have the wanted degree.
        """
        if self.settings.training.readout == "ridge":
            self.penalty, score = probe(
                self.model, self.genes, self.train_part, self.validation_part, gate=self.settings.gate
            )
            return score
        part = self.validation_part
        self.model.eval()
        with torch.no_grad():
            change, _ = self.model(self.genes, [()] if part is None else part.targets, refresh=True)
        self.model.train()
        return None if part is None else part.rmse(change).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        t = self.settings.training
        frozen = set(self.model.discriminate.parameters())
        return torch.optim.AdamW(
            [p for p in self.model.parameters() if p not in frozen], lr=t.lr, weight_decay=t.weight_decay
        )


class _Keeper(Checkpoint):
    """Writes log and progress after every epoch, the weights after every best one, and starts from the progress.

    A ``Checkpoint``, since Lightning calls these after the module has logged its validation score.
    """

    def __init__(self, files: FitFiles, checked: Perturbations | None) -> None:
        self.files, self.checked = files, checked
        self.history: list[dict[str, float]] = []
        self.best, self.best_epoch, self.best_penalty = math.inf, -1, math.nan
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module = cast(Fit, pl_module)
        module.lap("start")
        self.files.log.parent.mkdir(parents=True, exist_ok=True)
        before = read_progress(self.files.progress)
        if before is not None and before.member == self.files.member:
            self._go_on(trainer, module)
        elif (score := module.settle()) is not None:  # no epoch need be worse than the start
            self._keep(module, float(score), epoch=-1)
        self._started = time.monotonic() - (self.history[-1]["seconds"] if self.history else 0.0)
        for stopper in trainer.early_stopping_callbacks:
            stopper.best_score = torch.tensor(self.best)
            stopper.wait_count = len(self.history) - 1 - self.best_epoch
            trainer.should_stop = stopper.wait_count >= stopper.patience
        module.lap("read-out and validation")

    def _go_on(self, trainer: L.Trainer, module: Fit) -> None:
        found = restore(self.files.progress, module.model, trainer.optimizers[0])
        self.history = found.history
        self.best, self.best_epoch, self.best_penalty = found.best, found.best_epoch, found.best_penalty
        done: Any = trainer.fit_loop.epoch_progress.current
        done.ready = done.started = done.processed = done.completed = found.epochs
        cast(Any, trainer.train_dataloader).dataset.epoch = found.epochs
        log.info("going on after epoch %d", found.epochs - 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.files.log.parent.is_dir():
            raise ModelError(f"the folder '{self.files.log.parent}' is gone, and with it this training; train again")
        module, names = cast(Fit, pl_module), ("loss", "mse", "direction", "structure", "edges", "val_rmse")
        row = {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        row = {"epoch": float(trainer.current_epoch), **row, "seconds": time.monotonic() - self._started}
        self.history.append(row)
        score = row["val_rmse"] if self.checked is not None else -float(trainer.current_epoch)
        if score < self.best:
            self._keep(module, score, trainer.current_epoch)
        lines = [",".join(row), *(",".join(f"{value:.6g}" for value in one.values()) for one in self.history)]
        write_text(self.files.log, "\n".join([*lines, ""]))
        progress = Progress(
            self.files.member, self.history, self.best, self.best_epoch, self.best_penalty, self.files.started_with
        )
        write_progress(self.files.progress, progress, module.model, trainer.optimizers[0])
        module.lap("log and weights")

    def _keep(self, module: Fit, score: float, epoch: int) -> None:
        self.best, self.best_epoch, self.best_penalty = score, epoch, module.penalty
        save_weights(module.model, self.files.weights)


class _Bar(Callback):
    """Epochs done and the time that the rest would take, on stderr; an early stop ends it before."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._bar = tqdm(total=trainer.max_epochs, desc="train", unit="epoch", file=sys.stderr)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._bar.set_postfix_str(f"step {batch_idx + 1} of {trainer.num_training_batches}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shown = {name: trainer.callback_metrics.get(name) for name in ("loss", "val_rmse")}
        self._bar.set_postfix({name: f"{float(value):.4f}" for name, value in shown.items() if value is not None})
        self._bar.update(trainer.current_epoch + 1 - self._bar.n)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._bar.close()


class _Stopper(Callback):
    """Ends the training after the epoch in which a signal came."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.interruption.install()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.interruption.check()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.interruption.received


@deterministic()
def fit(
    model: GRAPE,
    genes: GeneInputs,
    screen: Screen,
    control: ControlHalves,
    train: Sequence[str],
    validation: Sequence[str],
    files: FitFiles,
    *,
    seed: int,
    device: str = "cpu",
    progress: bool = False,
    interruption: Interruption | None = None,
    expected: Expectations | None = None,
) -> FitResult:
    """Train ``model`` on the cells of ``train`` and leave it with the weights of the best validation epoch.

    The read-out bias of Eq. 12 starts at the mean change of the training conditions, so what is learned is what a
    condition does beyond it; this start counts as epoch -1 in the choice of the best. A read-out that is solved (see
    ``probe``) is solved once more at the end, on the conditions of ``train`` and ``validation`` together.

    With ``expected`` changes the network learns what is left beyond them, and is silent in the end unless that helps
    validation conditions (``response.gate``); without any it is, and one epoch runs.

    Else, without validation conditions, every epoch runs and the last one counts. Where the file of the progress is
    of this member, the training goes on from there. An ``interruption`` ends it after the epoch in hand. A loss that is
    not a number ends it after the epoch before; in the first one that is a ModelError.

    Differs: with ``expected`` changes, directions in Eq. 15-16 are those from the expectation, not from the control.
    """
    config, t = model.config, model.config.training
    place = torch.device(device)
    genes = genes.to(place)
    of = (None,) * 3 if expected is None else (expected.train, expected.validation, expected.both)
    trained = Perturbations(screen, train, control, place, of[0])
    checked = Perturbations(screen, validation, control, place, of[1]) if validation else None
    if expected is None:
        with torch.no_grad():  # the read-out starts at the mean change of the training conditions
            model.readout.bias.copy_(trained.change.mean(dim=0))
    keeper = _Keeper(files, checked)
    interruption = Interruption() if interruption is None else interruption
    callbacks: list[Callback] = [keeper, _Stopper(interruption)]
    if checked is not None and t.patience:
        callbacks.append(EarlyStopping("val_rmse", patience=t.patience, check_on_train_epoch_end=True))
    if progress:
        callbacks.append(_Bar())
    started = time.monotonic()
    torch.manual_seed(seed)
    with quiet():
        silent = checked is None and config.gate is not None
        trainer = L.Trainer(
            max_epochs=1 if silent else t.epochs, accelerator="gpu" if device == "cuda" else device, devices=1,
            callbacks=callbacks, logger=False, enable_model_summary=False, enable_progress_bar=False,
        )  # fmt: skip
        module = Fit(model, genes, trained, checked, config)
        batches = CellBatches(screen, train, t.cells_per_step, seed, t.least_steps)
        try:
            trainer.fit(module, DataLoader(batches, batch_size=None))
        except Diverged as error:
            if not keeper.history:
                raise
            diverged = str(error)
        else:
            diverged = ""
    model.to(place)  # Lightning leaves it on the CPU
    load_weights(model, files.weights)
    if t.readout == "ridge" and (checked is not None or config.gate is not None):
        both = Perturbations(screen, [*train, *validation], control, place, of[2])
        probe(model, genes, both, penalty=keeper.best_penalty, gate=config.gate)
        save_weights(model, files.weights)
    return FitResult(
        epochs=len(keeper.history),
        best_epoch=keeper.best_epoch,
        best_validation=keeper.best if checked is not None else None,
        interrupted=interruption.received,
        seconds=time.monotonic() - started,
        history=keeper.history,
        diverged=diverged,
        silent=keeper.best_penalty == SILENT,
        phases=module.lap.seconds,
    )
