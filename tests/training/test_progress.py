"""A training that was stopped goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from engines import ENGINES
from tiny_training import TRAIN, VAL, files

from grape_dgl.data.screen import Screen
from grape_dgl.engine import Engine
from grape_dgl.errors import ModelError
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.training import fit as module
from grape_dgl.training.expectations import Expectations
from grape_dgl.training.fit import FitResult, fit
from grape_dgl.training.progress import Progress, read_progress, restore, write_progress


class Stopped(BaseException):
    """As a process is that is killed."""


def run(
    folder: Path, screen: Screen, genes: GeneInputs, engine: Engine, validation: tuple[str, ...], kind: str
) -> tuple[GRAPE, FitResult]:
    """``kind``: how the read-out is found, or ``response``: under what is expected without the network."""
    response = {"kind": "additive", "gate": 0.0} if kind == "response" else {}
    settings = {"epochs": 6, "patience": 3, "lr": 0.01, "readout": "gradient" if kind == "gradient" else "ridge"}
    model = small.model(
        engine, genes=genes, dtype=torch.float32, measured=60, training=settings, model={"dropout": 0.2},
        response=response,
    )  # fmt: skip
    control = screen.control_halves(0)
    expected = Expectations.of(screen, TRAIN, validation, control, model.config.response, {}) if response else None
    given = (model, genes, screen, control, TRAIN, validation, files(folder))
    return model, fit(*given, seed=3, expected=expected)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    """Before or after the file of the progress is written, or before weights are, for the ``number``th time."""
    calls = 0
    name = "save_weights" if step == "weights" else "write_progress"
    real = getattr(module, name)

    def stopping(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if step == "after":
            real(*given)
        if calls == number:
            raise Stopped
        if step != "after":
            real(*given)

    monkeypatch.setattr(module, name, stopping)


@pytest.mark.parametrize("kind", ["ridge", "gradient", "response"])
@pytest.mark.parametrize("validation", [VAL, ()], ids=["validation", "none"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_training_ends_as_if_it_was_not(
    tmp_path: Path, screen: Screen, genes: GeneInputs, engine: Engine, validation: tuple[str, ...], kind: str
) -> None:
    """Stopped again and again: before and after the progress is written, and before the weights of an epoch are."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    wanted, result = run(tmp_path / "whole", screen, genes, engine, validation, kind)
    for step, number in (("before", 1), ("after", 1), ("before", 2), ("weights", 1), ("after", 2), ("weights", 1)):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, step, number)
            try:
                run(tmp_path / "parts", screen, genes, engine, validation, kind)
            except Stopped:
                continue
    found, again = run(tmp_path / "parts", screen, genes, engine, validation, kind)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in wanted.state_dict().items())
    assert (again.epochs, again.best_epoch, again.best_validation) == (
        result.epochs, result.best_epoch, result.best_validation,
    )  # fmt: skip
    for one, other in zip(result.history, again.history, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    log = [(tmp_path / folder / "log.csv").read_text().splitlines() for folder in ("whole", "parts")]
    assert [line.rsplit(",", 1)[0] for line in log[0]] == [line.rsplit(",", 1)[0] for line in log[1]]


def test_what_is_written_is_restored(tmp_path: Path, genes: GeneInputs) -> None:
    model, other = (small.model("torch", seed, genes=genes, dtype=torch.float32, measured=60) for seed in (1, 2))
    one, two = (torch.optim.AdamW(m.parameters(), lr=0.1) for m in (model, other))
    model(genes, [[0], [1]])[0].square().sum().backward()
    one.step()
    progress = Progress(1, [{"epoch": 0.0, "val_rmse": 0.1 + 0.2}], math.inf, -1, math.nan, {"cells": "a"})
    write_progress(tmp_path / "p.safetensors", progress, model, one)
    found = restore(tmp_path / "p.safetensors", other, two)
    assert (found.member, found.history, found.best, found.epochs) == (1, progress.history, math.inf, 1)
    assert math.isnan(found.best_penalty) and found.started_with == {"cells": "a"}
    for optimiser, of in ((one, model), (two, other)):
        of.zero_grad()
        of(genes, [[0], [1]])[0].square().sum().backward()
        optimiser.step()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, genes: GeneInputs) -> None:
    path = tmp_path / "p.safetensors"
    assert read_progress(path) is None
    model = small.model("torch", genes=genes, dtype=torch.float32, measured=60)
    optimiser = torch.optim.AdamW(model.parameters())
    write_progress(path, Progress(0, [], 1.0, -1, 1.0, {}), model, optimiser)
    whole = path.read_bytes()
    for content in (b"", whole[:-10], whole[:50], b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot go on from .*damaged"):
            restore(path, model, optimiser)
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="cannot go on from"):
        restore(
            path, small.model("torch", genes=genes, dtype=torch.float32, measured=60, model={"layers": 1}), optimiser
        )
