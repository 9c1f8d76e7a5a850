"""Every tensor is made where its inputs are: a GPU, which this machine may not have, gets nothing from the CPU.

A tensor that is made without a device goes to torch's default device. With ``meta`` as the default, which computes
nothing, it cannot meet the inputs, which are on the CPU: that is an error.
"""

from __future__ import annotations

from typing import Any

import pytest
import small
import torch

from grape_dgl import sparse
from grape_dgl.losses import reconstruction_loss, structure_loss
from grape_dgl.nn.reached import Reached
from grape_dgl.training.align import align
from grape_dgl.training.ensemble import ready
from grape_dgl.training.probe import ridge


@pytest.fixture(autouse=True)
def no_products_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "usable", lambda *given: False)


CONDITIONS = [(0,), (1, 2), (5,)]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"model": {"dropout": 0.4}, "structure": {"min_neighbours": 2}},
    {"model": {"ablation": "no_gsl", "readout": "plain"}},
    {"model": {"ablation": "no_biotype"}, "structure": {"sparsity": "0.1", "gradient": "regulariser"}},
]


def test_the_default_device_would_be_noticed() -> None:
    with torch.device("meta"), pytest.raises(RuntimeError, match="device"):
        torch.zeros(2) + torch.ones(2, device="cpu")


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_step(settings: dict[str, Any]) -> None:
    genes, model = small.inputs(), small.model("torch", **settings).train()
    control, place = torch.rand(3, small.MEASURED).double(), torch.arange(6) % 3
    cells = torch.rand(6, small.MEASURED).double()
    with torch.device("meta"):
        z = model.represent(genes)
        structure = model.learn_graph(z, refresh=True)
        change = model.propagate(model.graph(structure.pairs, genes.coding), z.fused, CONDITIONS)
        loss = torch.stack(reconstruction_loss(change, control, place, cells, 0.7)).sum() + structure_loss(structure)
        loss.backward()
        align(model, genes, model.config.alignment, seed=0)
    assert loss.device.type == "cpu" and bool(torch.isfinite(loss))


@pytest.mark.parametrize("plain", [False, True])
def test_predictions_also_of_new_genes(plain: bool) -> None:
    genes, new, model = small.inputs(), small.inputs(genes=2, seed=9), small.model("torch").eval()
    ensemble = ready([model], genes)
    with torch.device("meta"), torch.no_grad():
        graph, fused = model.extend(genes, new)
        change = model.propagate(graph, fused, [(small.GENES,), (0, small.GENES + 1)], plain)
        parts = list(ensemble.predict(CONDITIONS))
        pairs = ensemble.pairs()
    assert change.device.type == pairs.value.device.type == "cpu" and parts[0].mean.shape == (3, small.MEASURED)


def test_the_solved_read_out() -> None:
    found = Reached(torch.rand(5, 4), torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3]), torch.rand(3, 4))
    residual = torch.rand(2, 5)
    with torch.device("meta"):
        weight = ridge(found, residual, [1.0])
    assert weight.device.type == "cpu"
