"""GraphVCI: its parts against dense and hand-made twins, a planted counterfactual, and the model of the benchmark."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from evaluation.screens import simulated
from torch.distributions import Normal, kl_divergence

from baselines.planted_cells import VCI, explained, two_batches
from grape_dgl.baselines.graph_vci import (
    GeneGraphAttention,
    GraphVci,
    GraphVciBaseline,
    GraphVciSettings,
    VciCells,
    normals,
)
from grape_dgl.baselines.protocol import CellModel
from grape_dgl.data.splits import Split
from grape_dgl.engine import Engine
from grape_dgl.errors import ConfigError
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.settings import settings_of

SMALL = GraphVciSettings(latent=4, hidden=8, width=6, layers=1, epochs=3, batch=64)
SPLIT = Split(("G00", "G00+G02"), ("G01",), ("G03",), "custom", 0)


def prior(genes: int, edges: list[tuple[int, int, float]]) -> Prior:
    first, second, value = zip(*edges, strict=True)
    return Prior("p", Pairs(torch.tensor(first), torch.tensor(second), torch.tensor(value)), torch.ones(genes).bool())


def small(**changes: Any) -> GraphVci:
    cells, _, _ = two_batches(treatments=3, genes=7, cells=12)
    torch.manual_seed(0)
    return GraphVci(cells, [prior(7, [(0, 1, 0.5), (2, 5, 0.9)])], dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("kernels", ["torch", "dgl"])
def test_attention_is_that_of_a_dense_twin(kernels: Engine) -> None:
    if kernels == "dgl":
        pytest.importorskip("dgl")
    torch.manual_seed(0)
    layer = GeneGraphAttention(5, [prior(5, [(0, 1, 0.5), (1, 3, 0.2)]), prior(5, [(0, 4, 1.0)])], 6, 2, kernels)
    weight = torch.eye(5)
    for i, j, value in ((0, 1, 0.5), (1, 3, 0.2), (0, 4, 1.0)):
        weight[i, j] = weight[j, i] = value
    wanted = []
    for head in (slice(0, 3), slice(3, 6)):
        query, key, value = (part(layer.node)[:, head] for part in (layer.query, layer.key, layer.value))
        share = torch.softmax(query @ key.T / 3**0.5 + weight.log(), dim=1)
        wanted.append(share @ value)
    torch.testing.assert_close(layer(), torch.relu(torch.cat(wanted, dim=1) + layer.node), rtol=1e-4, atol=1e-5)


def test_the_bound_is_the_sum_of_its_terms() -> None:
    """Each weight alone gives its term, computed here from the distributions with the same random numbers."""
    rows = torch.arange(0, 72, 7)
    model = small(individual=1.0, counterfactual=0.0, divergence=0.0)
    cells = model._cells
    seen = torch.from_numpy(cells.expression[rows.numpy()].toarray())
    covariate, own = torch.from_numpy(cells.covariate[rows]), torch.from_numpy(cells.treatment[rows])
    other = own.flip(0)
    found = {}
    for term in ("individual", "counterfactual", "divergence"):
        weights = {name: float(name == term) for name in ("individual", "counterfactual", "divergence")}
        model.settings = dataclasses.replace(model.settings, **weights)  # type: ignore[arg-type]
        torch.manual_seed(3)
        found[term] = model.bound(seen, covariate, own, other).item()
    with torch.no_grad():
        genes = model.graph()
        treatments = model.treatments(torch.from_numpy(cells.treated), genes)
        torch.manual_seed(3)
        q = model.encode(seen, covariate, treatments[own], genes)
        latent = q.mean + q.stddev * torch.randn(q.mean.shape)
        here, there = (model.decode(latent, treatments[t], genes) for t in (own, other))
        outcome = there.mean + there.stddev * torch.randn(there.mean.shape)
        itself = -0.5 * ((seen - here.mean) / here.stddev) ** 2 - here.stddev.log() - 0.5 * np.log(2 * np.pi)
        assert found["individual"] == pytest.approx(itself.mean().item(), rel=1e-5)
        expected = []
        for row, (t, x) in enumerate(zip(other.tolist(), covariate.tolist(), strict=True)):
            part = cells.expression[(cells.treatment == t) & (cells.covariate == x)].toarray()
            if len(part):  # nobody with this covariate received it
                normal = Normal(*(torch.tensor(s) for s in (part.mean(axis=0), np.maximum(part.std(axis=0), 0.1))))
                expected.append(normal.log_prob(outcome[row]).mean().item())
        assert 0 < len(expected) < len(rows)
        assert found["counterfactual"] == pytest.approx(sum(expected) / len(rows), rel=1e-4)
        apart = kl_divergence(q, model.encode(outcome, covariate, treatments[other], genes))
        assert found["divergence"] == pytest.approx(-apart.mean().item(), rel=1e-5)
        assert (apart >= 0).all()


def test_the_normals_are_those_of_enough_cells() -> None:
    cells, _, _ = two_batches(treatments=3, genes=7, cells=12)
    few = (cells.treatment == 1) & (cells.covariate == 1)
    kept = ~few | (np.cumsum(few) <= 9)
    some = VciCells(cells.expression[kept], cells.covariate[kept], cells.treatment[kept], cells.treated)
    place, mean, spread = normals(some)
    assert place.tolist() == [[0, 1], [2, -1], [3, -1], [4, -1]]
    part = cells.expression[(cells.treatment == 2) & (cells.covariate == 0)].toarray()
    np.testing.assert_allclose(mean[3], part.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread[3], np.maximum(part.std(axis=0), 0.1), rtol=1e-3)


def test_the_other_treatment_is_that_of_another_cell_of_the_batch() -> None:
    model, rows = small(), torch.arange(3, 60, 4)
    seen = torch.from_numpy(model._cells.expression[rows.numpy()].toarray())
    covariate, own = (torch.from_numpy(of[rows]) for of in (model._cells.covariate, model._cells.treatment))
    torch.manual_seed(5)
    found = model.loss(rows).item()
    torch.manual_seed(5)
    other = own[torch.randperm(len(own))]
    assert (other != own).any()
    assert found == -model.bound(seen, covariate, own, other).item()


@pytest.mark.parametrize("treatment", ["graph", "one_hot"])
def test_every_parameter_has_a_gradient_and_it_is_that_of_differences(treatment: str) -> None:
    model = small(treatment=treatment).double()
    model._treated = model._treated.double()
    place, mean, spread = model._normals
    model._normals = place, mean.double(), spread.double()
    seen = torch.from_numpy(model._cells.expression[:20:2].toarray()).double()
    covariate, own = torch.arange(10) % 2, torch.arange(10) % 4

    def bound() -> torch.Tensor:
        torch.manual_seed(4)
        return model.bound(seen, covariate, own, own.flip(0))

    bound().backward()
    for name, value in model.named_parameters():
        if name == "one_hot" and treatment == "graph":
            assert value.grad is None
            continue
        assert value.grad is not None and value.grad.abs().sum() > 0, name
        place, step = int(value.grad.abs().argmax()), 1e-6
        flat, ends = value.data.view(-1), []
        for sign in (1, -1):
            flat[place] += sign * step
            ends.append(bound().item())
            flat[place] -= sign * step
        assert value.grad.view(-1)[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3), name


def test_the_planted_counterfactual_is_recovered() -> None:
    """Treatments that only the first covariate received, under the second."""
    assert explained(VCI, seed=0) > 0.7


def fitted(settings: GraphVciSettings = SMALL, seed: int = 0) -> GraphVciBaseline:
    screen = simulated(batches=2, extra=("G70",), conditions=("G00", "G01", "G00+G02", "G03", "G70"))
    model = GraphVciBaseline(settings, [prior(61, [(0, 3, 0.5), (60, 1, 0.7)])], seed)
    model.fit(screen, SPLIT, screen.control_halves(0))
    return model


def test_the_same_seed_gives_the_same_numbers_and_any_target_has_a_prediction() -> None:
    first, again, other = (fitted(seed=seed).predict(["G03", "G70", "G00+G01"]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    assert np.isfinite(first).all() and first.shape == (3, 60)


def test_unseen_targets_are_known_by_the_graph_or_have_the_mean_effect_of_the_trained() -> None:
    by_graph, one_hot = fitted(), fitted(dataclasses.replace(SMALL, treatment="one_hot"))
    graphs = dict(zip(["G03", "G70", "G04", "G05"], by_graph.predict(["G03", "G70", "G04", "G05"]), strict=True))
    assert not np.allclose(graphs["G03"], graphs["G70"]) and not np.allclose(graphs["G03"], graphs["G04"])
    np.testing.assert_allclose(graphs["G04"], graphs["G05"], atol=1e-6)  # neither has a neighbour
    np.testing.assert_allclose(*one_hot.predict(["G03", "G70"]), atol=1e-6)
    assert by_graph.notes["G03"] == "not trained: G03; known by the graph"
    assert by_graph.notes["G04"] == one_hot.notes["G70"].replace("G70", "G04")
    assert one_hot.notes["G70"] == "not trained: G70; mean effect of the trained targets"


def test_an_unseen_target_has_the_mean_of_the_decoded_effects_not_that_of_the_mean_row() -> None:
    """With rows so large that the decoder is far from linear in them."""
    model = fitted(dataclasses.replace(SMALL, treatment="one_hot"))
    with torch.no_grad():
        model.model.one_hot[:3] = 5 * torch.randn(3, SMALL.width)
        *trained, before = model.predict(["G00", "G01", "G02", "G70"])
        model.model.one_hot[:3] = model.model.one_hot[:3].mean(dim=0)
        of_mean_row = model.predict(["G00"])[0]
    mean = np.mean(trained, axis=0)
    assert np.abs(before - mean).max() < 0.02 * np.abs(of_mean_row - mean).max()


def test_a_change_is_the_difference_of_two_decoded_means() -> None:
    """Features of untreated cells, decoded with the treatment and without."""
    baseline = fitted()
    model, (seen, covariate) = baseline.model, baseline._from
    control, change = baseline.predict(["control", "G00+G02"])
    np.testing.assert_array_equal(control, 0)
    with torch.no_grad():
        genes = model.graph()
        z = model.encode(seen, covariate, torch.zeros(len(seen), 6), genes).mean
        level = model.decode(z, torch.zeros(len(seen), 6), genes).mean
        treated = model.decode(z, (genes[0] + genes[2]).expand(len(seen), -1), genes).mean
    np.testing.assert_allclose(change, (treated - level).mean(dim=0), atol=1e-5)


def test_cells_are_sampled_around_the_prediction() -> None:
    model = fitted()
    assert isinstance(model, CellModel)
    with torch.no_grad():
        model.model.centre += 10  # far from 0, below which a sample is cut
    cells = model.predict_cells(["G03", "G01"], 3000)
    assert cells.shape == (6000, 60) and cells.obs["condition"].tolist() == ["G03"] * 3000 + ["G01"] * 3000
    drawn = cells.X.toarray()
    assert len(np.unique(drawn[:3000], axis=0)) == 3000  # though there are 40 control cells
    found = drawn[:3000].mean(axis=0) - drawn[3000:].mean(axis=0)
    wanted = np.subtract(*model.predict(["G03", "G01"]))
    assert (np.abs(found - wanted) < 5 * drawn.std(axis=0) * (2 / 3000) ** 0.5 + 0.02).all()


def test_heads_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="'heads' is 3; expected a divisor of width = 128"):
        settings_of(GraphVciSettings, ["heads=3"])
