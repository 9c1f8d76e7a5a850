"""Kernels of what is known of genes, by hand; and the response that is alike by them, against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small
import torch
from scipy.spatial.distance import cdist
from sklearn.kernel_ridge import KernelRidge
from training.test_response import PLAIN, drawn

from grape_dgl.errors import ModelError
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.training.knowledge import knowledge, neighbour_kernel
from grape_dgl.training.response import Evidence, Response, chosen_knowledge, common_share, fit_response

PRIOR = Prior(
    "go",
    Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), torch.tensor([0.5, 1.0, 0.25])),
    torch.tensor([True, True, True, False]),
)


def test_neighbours_by_hand() -> None:
    rows = np.array([[1, 0.5, 1, 0, 0], [0.5, 1, 0.25, 0, 0], [1, 0.25, 1, 0, 0], [0] * 5, [0] * 5])
    every = np.arange(5)
    wanted = np.zeros((5, 5))
    wanted[:3, :3] = 1 - cdist(rows[:3], rows[:3], "cosine")
    found = neighbour_kernel(PRIOR, 5)
    np.testing.assert_allclose(found(every, every), wanted, atol=1e-12)
    np.testing.assert_allclose(found(every[3:0:-1], every[:1]), wanted[3:0:-1, :1], atol=1e-12)


def test_genes_outside_the_run_stand_behind_its_own() -> None:
    """Centred over the run's genes that have the modality, a gene without it at 0."""
    genes, new = small.inputs(12), small.inputs(3, seed=5)
    genes = replace(genes, priors=(replace(PRIOR, present=torch.ones(12, dtype=torch.bool)),))
    kernels = knowledge(genes, new)
    assert list(kernels) == [*genes.values, "go"]
    every = np.arange(15)
    for name, values in genes.values.items():
        joined = torch.cat([values, new.values[name]]).double().numpy()
        present = torch.cat([genes.present[name], new.present[name]]).numpy()
        centred = joined - joined[:12][present[:12]].mean(axis=0)
        centred[~present] = 0
        np.testing.assert_allclose(kernels[name](every, every[::2]), centred @ centred[::2].T, atol=1e-9)
        np.testing.assert_allclose(knowledge(genes)[name](every[:12], every[:12]), (centred @ centred.T)[:12, :12])
    assert not kernels["go"](every[12:], every).any()
    with pytest.raises(ModelError, match="a prior graph is called 'text', as a modality is"):
        knowledge(replace(genes, priors=(replace(PRIOR, name="text"),)))
    assert not neighbour_kernel(replace(PRIOR, present=torch.zeros(4, dtype=torch.bool)), 4)(
        every[3:4], every[:4]
    ).any()


def alike(features: np.ndarray) -> dict[str, object]:
    return {"text": lambda a, b: features[a] @ features[b].T}


def test_it_is_kernel_ridge_regression_on_shared_and_similar_targets() -> None:
    evidence, features = drawn(20, noise=0.3), np.random.default_rng(4).normal(size=(15, 3))
    settings = replace(PLAIN, knowledge=0.4)
    found = fit_response(evidence, settings, alike(features))
    asked = [(12,), (3, 14), (0, 1), (13, 12)]  # 12 to 14 are in no training condition
    pairs = [*evidence.targets, *asked]
    shared = np.array([[len(set(a) & set(b)) for b in pairs] for a in pairs], dtype=float)
    similar = np.array([[features[list(a)].sum(0) @ features[list(b)].sum(0) for b in pairs] for a in pairs])
    kernel = 0.6 * shared / np.diag(shared)[:20].mean() + 0.4 * similar / np.diag(similar)[:20].mean()
    common = common_share(evidence.change) * evidence.change.mean(axis=0)
    ridge = KernelRidge(alpha=PLAIN.penalty, kernel="precomputed").fit(kernel[:20, :20], evidence.change - common)
    wanted = common + ridge.predict(kernel[20:, :20])
    np.testing.assert_allclose(found.change(asked, alike(features)), wanted, atol=1e-9)
    again = Response.from_tensors(found.tensors(), 40)
    np.testing.assert_array_equal(again.change(asked, alike(features)), found.change(asked, alike(features)))
    with pytest.raises(KeyError):
        found.change(asked)
    tensors = found.tensors()
    del tensors["response.weights"]
    with pytest.raises(KeyError):
        Response.from_tensors(tensors, 40)
    assert str(again) == "effects of 12 targets, alike by text" and again.knowledge == found.knowledge


def singles(effects: np.ndarray, noise: float, seed: int) -> Evidence:
    change = effects + noise * np.random.default_rng(seed).normal(size=effects.shape)
    number, genes = effects.shape
    return Evidence(
        change, tuple((i,) for i in range(number)), np.full(number, 50), np.zeros(genes), 99, np.ones(genes)
    )


@pytest.mark.parametrize("common", [0.0, 3.0], ids=["nothing in common", "much in common"])
def test_knowledge_joins_only_where_it_says_something(common: float) -> None:
    """Effects that follow the text, and DNA of which nothing follows; then nothing follows any, centred or not."""
    draw = np.random.default_rng(1)
    text, dna = draw.normal(size=(2, 30, 4))
    always = common * draw.normal(size=60)
    effects = text @ draw.normal(size=(4, 60)) + always
    kernels = {"text": alike(text)["text"], "seq": alike(dna)["text"], "none": lambda a, b: np.zeros((len(a), len(b)))}
    evidence = singles(effects, 1.0, seed=2)
    assert set(chosen_knowledge(evidence, PLAIN, kernels)) == {"text"}
    assert set(chosen_knowledge(evidence, PLAIN, alike(text + 3.0))) == {"text"}  # alike among themselves, too
    assert not chosen_knowledge(evidence, replace(PLAIN, knowledge=0.0), kernels)
    assert not chosen_knowledge(evidence, replace(PLAIN, gate=50.0), kernels)
    assert not chosen_knowledge(evidence, PLAIN, {}) and not chosen_knowledge(
        evidence.take(np.arange(1)), PLAIN, kernels
    )
    kernels["seq"] = alike(dna - dna.mean(axis=0))["text"]
    by_chance = [chosen_knowledge(singles(np.tile(always, (30, 1)), 1.0, seed), PLAIN, kernels) for seed in range(60)]
    assert sum(map(bool, by_chance)) <= 5


@pytest.mark.parametrize("common", ["none", "mean"])
def test_what_decides_is_the_error_of_every_condition_as_the_others_predict_it(
    monkeypatch: pytest.MonkeyPatch, common: str
) -> None:
    """Singles with features of one length, so that no scale changes by what is left out; refitted one by one."""
    draw = np.random.default_rng(1)
    features = draw.normal(size=(12, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    settings = replace(PLAIN, common=common, gene_noise=0.0)
    evidence, seen = singles(features @ draw.normal(size=(3, 20)) + 2.0, 0.5, seed=3), []

    def record(error: np.ndarray, other: np.ndarray, gate: float, tries: int) -> bool:
        seen.append((error, other, gate, tries))
        return True

    monkeypatch.setattr("grape_dgl.training.response.surely_better", record)
    assert set(chosen_knowledge(evidence, settings, alike(features))) == {"text"}
    ((error, other, gate, tries),) = seen
    assert (gate, tries) == (settings.gate, 1)
    for row in range(12):
        rest = evidence.take(np.setdiff1d(np.arange(12), [row]))
        for kernels, found in (({}, other), (alike(features), error)):
            expected = fit_response(rest, settings, kernels).change([(row,)], kernels)[0]
            assert found[row] == pytest.approx(np.square(evidence.change[row] - expected).mean())
