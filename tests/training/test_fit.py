"""Alignment and main training on a tiny screen."""

from __future__ import annotations

import copy
import csv
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from engines import ENGINES, needs_dgl
from tiny_training import TRAIN, VAL, files

from grape_dgl import sparse
from grape_dgl.config import AlignmentConfig
from grape_dgl.data.screen import Screen
from grape_dgl.engine import Engine
from grape_dgl.errors import ModelError
from grape_dgl.losses import structure_loss
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.training import fit as fit_module
from grape_dgl.training.align import align
from grape_dgl.training.cells import CellBatch, CellBatches
from grape_dgl.training.expectations import Expectations
from grape_dgl.training.fit import Fit, FitResult, fit
from grape_dgl.training.perturbations import Perturbations
from grape_dgl.training.probe import PENALTIES, probe
from grape_dgl.training.weights import load_weights, save_weights


def new(genes: GeneInputs, **sections: Any) -> GRAPE:
    return small.model(genes=genes, dtype=torch.float32, measured=60, **sections)


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def run(
    folder: Path, screen: Screen, genes: GeneInputs, validation: tuple[str, ...] = VAL, seed: int = 0, **training: Any
) -> tuple[GRAPE, FitResult]:
    model = new(genes, training={"readout": "gradient"} | training, model={"dropout": 0.2})
    model.readout.weight.data.zero_()
    return model, fit(model, genes, screen, screen.control_halves(0), TRAIN, validation, files(folder), seed=seed)


def test_cells_come_once_per_epoch_in_an_order_of_seed_and_epoch(screen: Screen) -> None:
    batches = CellBatches(screen, TRAIN, 50, seed=3)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 2  # 120 cells in steps of about 50
    rows = np.concatenate([screen.cells(name) for name in TRAIN])
    wanted = screen.expression[rows].toarray()
    seen = torch.cat([b.expression for b in first]).numpy()
    assert sorted(map(tuple, seen)) == sorted(map(tuple, wanted))
    for batch in first:
        for cell, place in zip(batch.expression.numpy(), batch.condition.tolist(), strict=True):
            own = screen.expression[screen.cells(TRAIN[place])].toarray()
            assert (own == cell).all(axis=1).any()
    assert not torch.equal(first[0].expression, second[0].expression)
    assert torch.equal(next(iter(CellBatches(screen, TRAIN, 50, 3))).expression, first[0].expression)
    assert not torch.equal(next(iter(CellBatches(screen, TRAIN, 50, 4))).expression, first[0].expression)


@pytest.mark.parametrize(("size", "each"), [(50, 50), (2000, 120)])
def test_a_small_screen_passes_its_cells_several_times(screen: Screen, size: int, each: int) -> None:
    """At least ``least_steps`` steps of the wanted size, or of all cells; no cell comes more than once more often."""
    batches = list(CellBatches(screen, TRAIN, size, seed=3, least_steps=7))
    assert [len(b.condition) for b in batches] == [each] * 7
    rows = [tuple(cell) for b in batches for cell in b.expression.tolist()]
    counts = np.array(list(Counter(rows).values()))
    assert len(counts) == 120 and counts.max() - counts.min() <= 1


def test_eq13_17_18_of_one_step(screen: Screen, genes: GeneInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """prediction = change + control of the cell's condition; loss = mse + direction + lambda * regulariser."""
    model = new(genes, structure={"regulariser": 0.5}).eval()
    part = Perturbations(screen, TRAIN, screen.control_halves(0), torch.device("cpu"))
    step = Fit(model, genes, part, None, model.config)
    monkeypatch.setattr(step, "log_dict", lambda *args, **kwargs: None)
    monkeypatch.setattr(step, "log", lambda *args, **kwargs: None)
    cells = torch.from_numpy(screen.expression[[*screen.cells("G01")[:2], screen.cells("G00")[0]]].toarray())
    loss = step.training_step(CellBatch(cells, torch.tensor([2, 2, 0])), 1)
    change, structure = model(genes, [[0], [1]])
    half = screen.control_halves(0).model
    control = torch.from_numpy(np.stack([screen.control_mean(half, name) for name in ("G01", "G01", "G00")]))
    prediction = change[[1, 1, 0]] + control
    distance = torch.tanh(cells - control) - torch.tanh(prediction - control)
    huber = torch.where(distance.abs() <= 0.7, distance.square() / 2, 0.7 * (distance.abs() - 0.35))
    wanted = (prediction - cells).square().mean() + huber.mean()
    torch.testing.assert_close(loss, wanted + 0.5 * structure_loss(structure), rtol=1e-5, atol=1e-6)


def test_discriminators_are_frozen_and_everything_else_is_trained(screen: Screen, genes: GeneInputs) -> None:
    model = new(genes)
    part = Perturbations(screen, TRAIN, screen.control_halves(0), torch.device("cpu"))
    optimiser = Fit(model, genes, part, None, model.config).configure_optimizers()
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    left = {name for name, p in model.named_parameters() if id(p) not in trained}
    assert left and left == {name for name, _ in model.named_parameters() if name.startswith("discriminate.")}


def test_loss_falls_and_the_log_has_a_row_per_epoch(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    _, result = run(tmp_path, screen, genes, epochs=4, patience=0, lr=0.01)
    losses = [row["loss"] for row in result.history]
    assert len(losses) == result.epochs == 4 and losses[-1] < losses[0]
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["epoch"]) for row in rows] == list(range(4))
    assert {"loss", "mse", "direction", "structure", "edges", "val_rmse", "seconds"} <= set(rows[0])
    for row, kept in zip(rows, result.history, strict=True):
        assert float(row["loss"]) == pytest.approx(kept["loss"], rel=1e-4)
    parts = result.history[0]
    assert parts["loss"] == pytest.approx(parts["mse"] + parts["direction"] + parts["structure"], rel=1e-4)


def test_model_is_left_at_the_best_validation_epoch(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    model, result = run(tmp_path, screen, genes, epochs=4, patience=0, lr=0.05, cells_per_step=120)
    scores = [row["val_rmse"] for row in result.history]
    start = result.best_validation if result.best_epoch == -1 else math.inf  # the untrained mean counts as epoch -1
    scores = [start, *scores]
    assert result.best_epoch == scores.index(min(scores)) - 1 and result.best_validation == min(scores)
    with torch.no_grad():
        change, _ = model.eval()(genes, [[3]])
    control = screen.control_mean(screen.control_halves(0).model, "G03")
    rmse = math.sqrt(float(np.square(change[0].numpy() + control - screen.mean("G03")).mean()))
    assert rmse == pytest.approx(min(scores), rel=1e-5)


def test_a_solved_readout_ends_on_training_and_validation_conditions(
    tmp_path: Path, screen: Screen, genes: GeneInputs
) -> None:
    """It is the ridge solution of the kept representation on all four conditions, and the file holds it."""
    model, result = run(tmp_path, screen, genes, epochs=2, readout="ridge")
    both = Perturbations(screen, (*TRAIN, *VAL), screen.control_halves(0), torch.device("cpu"))
    torch.testing.assert_close(model.readout.bias, both.change.mean(dim=0))
    weights = []
    for penalty in PENALTIES:
        other = copy.deepcopy(model)
        probe(other, genes, both, penalty=penalty)
        weights.append(other.readout.weight)
    assert any(torch.allclose(model.readout.weight, weight, rtol=1e-4, atol=1e-6) for weight in weights)
    stored = new(genes, model={"dropout": 0.2})
    load_weights(stored, tmp_path / "w.safetensors")
    assert torch.equal(stored.readout.weight, model.readout.weight)
    assert result.best_validation <= min(row["val_rmse"] for row in result.history)


@pytest.mark.parametrize(("gate", "validation"), [(0.0, VAL), (50.0, VAL), (0.0, ())], ids=["open", "closed", "none"])
def test_under_a_response_the_network_is_silent_or_solved_on_what_is_left(
    tmp_path: Path,
    screen: Screen,
    genes: GeneInputs,
    gate: float,
    validation: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An open gate: the ridge solution on what the response to the others leaves; it is trained in any case."""
    monkeypatch.setattr("grape_dgl.training.probe.surely_better", lambda one, other, errors, tries: errors < 1)
    model = new(genes, training={"epochs": 2}, response={"kind": "additive", "gate": gate})
    control = screen.control_halves(0)
    expected = Expectations.of(screen, TRAIN, validation, control, model.config.response, {})
    made = fit(model, genes, screen, control, TRAIN, validation, files(tmp_path), seed=3, expected=expected)
    assert made.epochs == (2 if validation else 1) and not model.readout.bias.any()
    stored = new(genes, response={"kind": "additive", "gate": gate})
    load_weights(stored, tmp_path / "w.safetensors")
    assert torch.equal(stored.readout.weight, model.readout.weight)
    if gate > 1 or not validation:
        assert not model.readout.weight.any()
        return
    both = Perturbations(screen, (*TRAIN, *VAL), control, torch.device("cpu"), expected.both)
    weights = []
    for penalty in PENALTIES:
        other = copy.deepcopy(model)
        probe(other, genes, both, penalty=penalty, gate=gate)
        weights.append(other.readout.weight)
    assert any(torch.allclose(model.readout.weight, weight, rtol=1e-4, atol=1e-6) for weight in weights)
    assert model.readout.weight.any()


def test_a_solved_readout_starts_no_worse_than_the_mean(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    """With its highest penalty it is nearly the mean, so the start is about as good or better on validation."""
    part = Perturbations(screen, VAL, screen.control_halves(0), torch.device("cpu"))
    mean = Perturbations(screen, TRAIN, screen.control_halves(0), torch.device("cpu")).change.mean(dim=0)
    _, result = run(tmp_path, screen, genes, epochs=1, readout="ridge")
    assert result.best_validation is not None
    assert result.best_validation < 1.02 * float(part.rmse(mean[None]).mean())


def test_early_stopping(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    """Two epochs without a better score end it; the start counts as epoch -1."""
    _, result = run(tmp_path, screen, genes, epochs=40, patience=2, lr=0.1)
    assert result.epochs < 40 and result.epochs == result.best_epoch + 3


def test_without_validation_every_epoch_runs_and_the_last_counts(
    tmp_path: Path, screen: Screen, genes: GeneInputs
) -> None:
    model, result = run(tmp_path, screen, genes, validation=(), epochs=3, patience=1, lr=0.1)
    assert (result.epochs, result.best_epoch, result.best_validation) == (3, 2, None)
    assert "val_rmse" not in result.history[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_same_seed_same_numbers(
    tmp_path: Path, screen: Screen, engine: Engine, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, in a model large enough that threads share the work, by the products of large models."""
    monkeypatch.setattr(sparse, "LEAST_WORK", 0)
    genes = small.inputs(400, dtype=torch.float32)
    sizes = {
        "training": {"epochs": 1},
        "model": {"hidden": 64, "width": 64, "heads": 4, "dropout": 0.2},
        "structure": {"sparsity": "degree:20"},
    }
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = small.model(engine, genes=genes, dtype=torch.float32, measured=60, **sizes)
        fit(model, genes, screen, screen.control_halves(0), TRAIN, (), files(tmp_path / name), seed=seed)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])
    assert not torch.are_deterministic_algorithms_enabled()


def test_nan_names_epoch_and_step(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    broken = dataclasses.replace(genes, values={m: x * math.nan for m, x in genes.values.items()})
    model = new(genes)
    with pytest.raises(ModelError, match=r"the loss is nan in epoch 0, step 0"):
        fit(model, broken, screen, screen.control_halves(0), TRAIN, VAL, files(tmp_path), seed=0)


def test_nan_after_an_epoch_leaves_the_best_one(
    tmp_path: Path, screen: Screen, genes: GeneInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second step of the third epoch: as a training of two epochs ends."""
    (tmp_path / "two").mkdir()
    cells = {"cells_per_step": 60, "least_steps": 2}
    wanted, _ = run(tmp_path / "two", screen, genes, validation=(), epochs=2, **cells)
    steps = len(CellBatches(screen, TRAIN, 60, 0, 2))
    real, calls = fit_module.structure_loss, Counter[str]()

    def failing(structure: Any) -> torch.Tensor:
        calls["all"] += 1
        return real(structure) * (math.nan if calls["all"] == 2 * steps + 2 else 1.0)

    monkeypatch.setattr(fit_module, "structure_loss", failing)
    found, result = run(tmp_path, screen, genes, validation=(), epochs=4, **cells)
    assert result.diverged.startswith("the loss is nan in epoch 2, step 1; ") and result.epochs == 2
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in wanted.state_dict().items())


def test_training_sees_only_its_own_conditions(tmp_path: Path, screen: Screen, genes: GeneInputs) -> None:
    """Changing the cells of a condition outside train and validation, or the reference controls, changes no weight."""
    x = screen.expression.toarray()
    x[screen.cells("G03")] += 5
    x[screen.control_halves(0).reference] += 5
    other = dataclasses.replace(screen, expression=type(screen.expression)(x))
    found = []
    for name, data in (("a", screen), ("b", other)):
        (tmp_path / name).mkdir()
        found.append(run(tmp_path / name, data, genes, validation=(), epochs=1)[0].state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=1e-6, atol=1e-7)


@needs_dgl
def test_weights_saved_are_loaded(tmp_path: Path, genes: GeneInputs) -> None:
    for engine in ("dgl", "torch"):
        model = small.model(engine, genes=genes, dtype=torch.float32, measured=60)
        save_weights(model, tmp_path / "w.safetensors")
        other = small.model("torch", seed=9, genes=genes, dtype=torch.float32, measured=60)
        load_weights(other, tmp_path / "w.safetensors")
        for name, value in model.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_weights(other, tmp_path / "none.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="incomplete or altered"):
        load_weights(other, tmp_path / "w.safetensors")
    save_weights(new(genes, model={"layers": 1}), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_weights(other, tmp_path / "other.safetensors")


def test_alignment_learns_heads_and_discriminators_only(genes: GeneInputs) -> None:
    model = new(genes)
    before = copy.deepcopy(model.state_dict())
    history = align(model, genes, AlignmentConfig(epochs=15, batch=20, lr=0.01), seed=0)
    assert len(history) == 15 and history[-1] < history[0]
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"project", "discriminate"}


def test_alignment_uses_genes_with_both_modalities_only(genes: GeneInputs) -> None:
    lacking = GeneInputs(genes.values, {m: x.clone() for m, x in genes.present.items()}, genes.coding)
    lacking.present["seq"][10:] = False
    lacking.present["text"][:5] = False
    changed = GeneInputs({m: x.clone() for m, x in genes.values.items()}, lacking.present, genes.coding)
    for m in changed.values:
        changed.values[m][:5] += 3
        changed.values[m][10:] -= 3
    one, other = (align(new(genes), g, AlignmentConfig(epochs=2, batch=4), seed=0) for g in (lacking, changed))
    assert one == other and one


def test_alignment_of_a_third_modality_is_against_the_text(genes: GeneInputs) -> None:
    """It changes its own head and the text's; without text the first modality takes its place."""
    values = dict(genes.values) | {"esm": torch.randn(60, 3, generator=torch.Generator().manual_seed(0))}
    more = GeneInputs(values, dict(genes.present) | {"esm": torch.ones(60, dtype=torch.bool)}, genes.coding)
    alone = {name: x for name, x in values.items() if name != "text"}
    for given, names in ((more, {"seq", "text", "esm"}), (GeneInputs(alone, more.present, genes.coding), set(alone))):
        model = new(given)
        before = copy.deepcopy(model.state_dict())
        history = align(model, given, AlignmentConfig(epochs=15, batch=20, lr=0.01), seed=0)
        moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert {name.split(".")[1] for name in moved} == names and history[-1] < history[0]


def test_alignment_is_skipped_where_it_has_nothing_to_do(genes: GeneInputs, caplog: pytest.LogCaptureFixture) -> None:
    assert align(new(genes, model={"ablation": "only_seq"}), genes, AlignmentConfig(), 0) == []
    none = GeneInputs(genes.values, {m: torch.zeros_like(x) for m, x in genes.present.items()}, genes.coding)
    assert align(new(genes), none, AlignmentConfig(), 0) == []
    assert "fewer than two genes" in caplog.text
