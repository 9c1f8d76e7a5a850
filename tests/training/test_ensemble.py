"""Several members: their mean, their disagreement, and genes that training did not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import small
import torch

import grape_dgl.training.ensemble as ensemble_module
from grape_dgl.model import GeneInputs
from grape_dgl.training.ensemble import Change, Ensemble, ready

CONDITIONS = [(0,), (1, 2), ()]


@pytest.fixture(scope="module")
def trio() -> Ensemble:
    return ready([small.model(seed=s, model={"dropout": 0.4}) for s in range(3)], small.inputs())


def predicted(ensemble: Ensemble, conditions: Sequence[tuple[int, ...]], new: GeneInputs | None = None) -> Change:
    """All parts as one."""
    parts = list(ensemble.predict(conditions, new))
    std = None if parts[0].std is None else np.concatenate([part.std for part in parts if part.std is not None])
    return Change(np.concatenate([part.mean for part in parts]), std)


def single(trio: Ensemble, member: int) -> np.ndarray:
    with torch.no_grad():
        return trio.members[member](trio.genes, CONDITIONS)[0].numpy()


def test_mean_and_sample_deviation_over_members(trio: Ensemble) -> None:
    found = predicted(trio, CONDITIONS)
    parts = [single(trio, i) for i in range(3)]
    mean = sum(parts) / 3
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-12)
    assert found.std is not None
    np.testing.assert_allclose(found.std, np.sqrt(sum((p - mean) ** 2 for p in parts) / 2), rtol=1e-8, atol=1e-12)
    assert not found.mean.flags.writeable or found.std.max() > 0


def test_one_member_has_no_deviation(trio: Ensemble) -> None:
    found = predicted(ready(trio.members[:1], trio.genes), CONDITIONS)
    assert found.std is None
    np.testing.assert_allclose(found.mean, single(trio, 0), rtol=1e-9, atol=1e-12)


def test_streaming_changes_nothing(trio: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predicted(trio, CONDITIONS).mean
    monkeypatch.setattr(ensemble_module, "STREAM", 1)
    assert [part.mean.shape for part in trio.predict(CONDITIONS)] == [(1, small.MEASURED)] * 3
    np.testing.assert_allclose(predicted(trio, CONDITIONS).mean, whole, rtol=1e-9, atol=1e-12)


def test_graph_is_the_strongest_of_the_mean_with_absent_edges_as_zero(trio: Ensemble) -> None:
    """As many edges as a member has on average, so the degree stays what was asked for."""
    pairs = trio.pairs()
    found = {(int(i), int(j)): float(v) for i, j, v in zip(pairs.first, pairs.second, pairs.value, strict=True)}
    wanted: dict[tuple[int, int], float] = {}
    for member in trio.members:
        own = member.learn_graph(member.represent(trio.genes)).pairs
        for i, j, v in zip(own.first.tolist(), own.second.tolist(), own.value.tolist(), strict=True):
            wanted[i, j] = wanted.get((i, j), 0.0) + v / 3
    sizes = [len(member.learn_graph(member.represent(trio.genes)).pairs) for member in trio.members]
    assert len(found) == round(sum(sizes) / 3) < len(wanted)
    assert found == pytest.approx({pair: wanted[pair] for pair in found}, rel=1e-9)
    assert min(found.values()) >= max(value for pair, value in wanted.items() if pair not in found)
    alone = ready(trio.members[:1], trio.genes).pairs()
    assert len(alone) == sizes[0]


def test_a_new_gene_leaves_other_predictions_alone_but_can_be_perturbed() -> None:
    """Nobody hears the new gene within one layer but its neighbours; its own condition needs its id."""
    one = ready([small.model(structure={"sparsity": "0.1"})], small.inputs())
    new = small.inputs(genes=1, seed=9)
    masked = predicted(one, [(small.GENES,), ()], new).mean
    assert np.abs(masked[0] - masked[1]).max() > 1e-9
