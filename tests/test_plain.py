"""The whole training step and the predictions against GRAPE as one writes it first (benchmarks/speed/plain.py)."""

from __future__ import annotations

import pytest
import torch
from engines import ENGINES
from speed import plain
from torch import Tensor

from grape_dgl import sparse
from grape_dgl.config import Config
from grape_dgl.engine import Engine
from grape_dgl.losses import reconstruction_loss, structure_loss
from grape_dgl.model import GRAPE, GeneInputs

GENES, MEASURED, CELLS = 90, 80, 40
CONDITIONS = [(3,), (85,), (7, 12), (60,), (3, 60, 41)]
"""Of a gene that is not measured, and combinations, among others."""


def inputs(dtype: torch.dtype) -> GeneInputs:
    """Two modalities, each of which some genes lack; a cluster of near-equal genes makes hubs."""
    draw = torch.Generator().manual_seed(0)
    text = torch.randn(GENES, 12, generator=draw)
    text[50:75] = text[50] + 0.3 * torch.randn(25, 12, generator=draw)
    present = {"text": torch.arange(GENES) % 9 != 4, "seq": torch.arange(GENES) % 7 != 2}
    values = {"text": text, "seq": torch.randn(GENES, 9, generator=draw)}
    return GeneInputs(values, present, torch.arange(GENES) % 3 != 0).to("cpu", dtype)


@pytest.mark.parametrize("ablation", ["none", "no_biotype"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_has_the_loss_and_the_gradients_of_the_plain_one(
    engine: Engine,
    products: bool,
    dtype: torch.dtype,
    tolerance: float,
    ablation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sparse, "LEAST_WORK", 0 if products else 10**12)
    config = Config.resolve(model={"hidden": 16, "width": 8, "ablation": ablation}, structure={"sparsity": "degree:6"})
    torch.manual_seed(0)
    genes = inputs(dtype)
    model = GRAPE(config, genes.widths, MEASURED, engine).to(dtype)
    model.freeze_statistics(genes)
    torch.nn.init.normal_(model.readout.weight)
    model.train()
    draw = torch.Generator().manual_seed(1)
    control = torch.rand(len(CONDITIONS), MEASURED, generator=draw).to(dtype)
    cells, place = torch.rand(CELLS, MEASURED, generator=draw).to(dtype), torch.arange(CELLS) % len(CONDITIONS)

    z = model.represent(genes)
    structure = model.learn_graph(z, refresh=True)
    torch.manual_seed(5)
    change = model.propagate(model.graph(structure.pairs, genes.coding), z.fused, CONDITIONS)
    loss = sum(reconstruction_loss(change, control, place, cells, config.training.huber_delta))
    loss = loss + config.structure.regulariser * structure_loss(structure)
    assert isinstance(loss, Tensor)
    loss.backward()
    fast = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    edges = plain.shared_edges(model, z, structure)
    shares = [float((place == row).double().mean()) for row in range(len(CONDITIONS))]
    losses = [(cells[place == row], control[row], shares[row]) for row in range(len(CONDITIONS))]
    wanted = plain.step(model, genes, CONDITIONS, losses, edges, masks_seed=5)
    assert float(loss.detach()) == pytest.approx(wanted, rel=tolerance)
    slow = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(fast) == set(slow) and len(slow) > 25
    largest = max(float(gradient.abs().max()) for gradient in slow.values())
    for name, gradient in slow.items():  # one of them, the last bias of a centred read-out, is rounding alone
        scale = max(float(gradient.abs().max()), 0.01 * largest)
        torch.testing.assert_close(fast[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


def test_the_threshold_of_the_plain_version_gives_the_edges_of_the_search() -> None:
    genes = inputs(torch.float64)
    config = Config.resolve(model={"hidden": 16, "width": 8}, structure={"sparsity": "degree:6"})
    model = GRAPE(config, genes.widths, MEASURED, "torch").double()
    model.freeze_statistics(genes)
    z = model.represent(genes)
    structure = model.learn_graph(z, refresh=True)
    edges = plain.shared_edges(model, z, structure)
    with torch.no_grad():
        searched, compared = (plain.dense_structure(model, z, one) for one in (edges, None))
    torch.testing.assert_close(searched.learned, compared.learned, rtol=0, atol=0)
    allowed = z.known[:, None] & z.known[None, :]
    above = torch.nonzero(torch.triu((compared.learned >= model.structure.epsilon("learned")) & allowed, diagonal=1))
    torch.testing.assert_close(above.T, torch.stack(edges["learned"]))
