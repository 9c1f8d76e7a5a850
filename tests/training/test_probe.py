"""The ridge start of the read-out against scikit-learn, and what it does to the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small
import torch
from engines import ENGINES
from evaluation.screens import simulated
from sklearn.linear_model import Ridge

from grape_dgl.data.screen import Screen
from grape_dgl.engine import Engine
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.nn.reached import Reached
from grape_dgl.training import probe as module
from grape_dgl.training.perturbations import Perturbations
from grape_dgl.training.probe import PENALTIES, SILENT, probe, ridge

TRAIN, VAL = ("G00", "G00+G02", "G01"), ("G03",)


@pytest.fixture(scope="module")
def screen() -> Screen:
    return simulated(("G00", "G01", "G00+G02", "G03"))


@pytest.fixture(scope="module")
def genes() -> GeneInputs:
    return small.inputs(60, dtype=torch.float32)


def conditions(screen: Screen, names: tuple[str, ...]) -> Perturbations:
    return Perturbations(screen, names, screen.control_halves(0), torch.device("cpu"))


def untrained(genes: GeneInputs, engine: Engine = "torch", **sections: Any) -> GRAPE:
    return small.model(engine, genes=genes, dtype=torch.float32, measured=60, **sections)


def states(model: GRAPE, genes: GeneInputs, targets: list[list[int]]) -> np.ndarray:
    """Plain passes: change of every gene's state [genes, conditions, width]."""
    z = model.represent(genes)
    graph = model.graph(model.learn_graph(z).pairs, genes.coding)
    found = model.states(model.unmasked(graph, z.fused), targets, plain=True)
    whole = found.state.unflatten(0, (len(genes), len(targets)))
    return (whole - found.unmasked[:, None]).detach().numpy()


@pytest.mark.parametrize("block", [256, 7])
def test_ridge_equals_scikit_learn(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Sparse rows in any order; rows of genes without a read-out do not count; a gene out of reach has weight 0."""
    monkeypatch.setattr(module, "BLOCK", block)
    draw = np.random.default_rng(0)
    measured, number, width = 18, 5, 4
    change = draw.normal(size=(measured + 3, number, width))
    change[draw.random(change.shape[:2]) < 0.4] = 0
    change[4] = 0
    unmasked = draw.normal(size=(measured + 3, width))
    gene, column = np.nonzero(change.any(axis=2))
    order = draw.permutation(len(gene))
    gene, column = gene[order], column[order]
    found = Reached(*map(torch.from_numpy, (unmasked, column, gene, unmasked[gene] + change[gene, column])))
    residual = draw.normal(size=(number, measured))
    weight = ridge(found, torch.from_numpy(residual), [2.0, 0.3])[1]
    scale = np.square(change[:measured]).sum() / (measured * number)
    for i in range(measured):
        wanted = Ridge(alpha=0.3 * scale, fit_intercept=False).fit(change[i], residual[:, i]).coef_
        np.testing.assert_allclose(weight[i], wanted, rtol=1e-8, atol=1e-12)
    assert not weight[4].any()


@pytest.mark.parametrize("readout", ["centred", "plain"])
@pytest.mark.parametrize("engine", ENGINES)
def test_probe_predicts_what_a_ridge_on_states_predicts(
    screen: Screen, genes: GeneInputs, engine: Engine, readout: str
) -> None:
    """Of training conditions and of one that it did not see, by the best of all penalties on the validation part."""
    model = untrained(genes, engine, model={"readout": readout, "dropout": 0.4})
    train, validation = conditions(screen, TRAIN), conditions(screen, VAL)
    penalty, score = probe(model, genes, train, validation)
    assert model.training
    model.eval()
    x, y = states(model, genes, [*train.targets, *validation.targets]), train.change.numpy()
    scale = np.square(x[:60, :3]).sum() / (60 * 3)
    wanted, scores = {}, {}
    for tried in PENALTIES:
        fitted = [
            Ridge(alpha=tried * scale, fit_intercept=False).fit(x[i, :3], (y - y.mean(0))[:, i]).predict(x[i])
            for i in range(60)
        ]
        wanted[tried] = y.mean(0) + np.stack(fitted, axis=1)
        scores[tried] = np.sqrt(np.square(wanted[tried][3] - validation.change[0].numpy()).mean())
    assert penalty == min(scores, key=lambda p: scores[p])
    assert float(score) == pytest.approx(scores[penalty], rel=1e-3)
    with torch.no_grad():
        found = model(genes, [*train.targets, *validation.targets])[0].numpy()
    np.testing.assert_allclose(found, wanted[penalty], rtol=1e-3, atol=1e-4)


def test_probe_without_validation_takes_the_default(screen: Screen, genes: GeneInputs) -> None:
    model = untrained(genes)
    assert probe(model, genes, conditions(screen, TRAIN), None) == (module.DEFAULT_PENALTY, None)
    assert model.readout.weight.any()


def test_behind_a_gate_it_is_to_be_silent_unless_it_helps(screen: Screen, genes: GeneInputs) -> None:
    """No bias; it is left to be trained on all the same; of one validation condition nothing can be said."""
    train, one, several = (conditions(screen, names) for names in (TRAIN, VAL, (*VAL, "G00", "G01")))
    for validation in (None, one):
        model = untrained(genes)
        penalty, score = probe(model, genes, train, validation, gate=0.0)
        assert penalty == SILENT and model.readout.weight.any() and not model.readout.bias.any()
        assert (score is None) == (validation is None)
    assert score is not None and float(score) == pytest.approx(float(one.change.square().mean().sqrt()))
    penalty, score = probe(model, genes, train, several, gate=0.0)  # two of them are training conditions
    assert penalty in PENALTIES and not model.readout.bias.any()
    assert score is not None and score < several.rmse(torch.zeros_like(several.change)).mean()
    assert probe(model, genes, train, several, gate=1e6)[0] == SILENT and model.readout.weight.any()
    assert probe(model, genes, train, penalty=penalty, gate=0.0) == (penalty, None)
    assert model.readout.weight.any() and not model.readout.bias.any()
    assert probe(model, genes, train, penalty=SILENT, gate=0.0) == (SILENT, None)
    assert not model.readout.weight.any()
