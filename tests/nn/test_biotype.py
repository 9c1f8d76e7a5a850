"""Eq. 11: attention per relation against DGL's own GATv2 and against plain loops, values and gradients."""

from __future__ import annotations

import math
from typing import Any

import dense
import pytest
import torch
from engines import BOTH, ENGINES, needs_dgl
from torch import Tensor

from grape_dgl.engine import Engine, bipartite
from grape_dgl.graph.hetero import GeneGraph, Pairs, gene_graph
from grape_dgl.graph.schema import BIOTYPE, HOMOGENEOUS
from grape_dgl.nn import incremental
from grape_dgl.nn.biotype import BiotypeAttention, GATv2, LayerMasks, MessagePassing, edge_bias
from grape_dgl.nn.incremental import UnmaskedPass

SRC, DST = torch.tensor([0, 2, 3, 1, 0, 3, 2]), torch.tensor([1, 1, 1, 0, 2, 2, 2])
MIXED = [True, False, True, True, False, True, False, True]
TYPES = {"mixed": MIXED, "no non-coding": [True] * 8, "no coding": [False] * 8, "one non-coding": [True] * 7 + [False]}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_graph(
    engine: Engine, coding: list[bool] = MIXED, value: Tensor | None = None, biotypes: bool = True
) -> GeneGraph:
    """Eight genes; gene 7 has its self-loop only, pair (5, 6) is below the floor of the bias."""
    first, second = torch.tensor([0, 0, 1, 2, 3, 5, 1]), torch.tensor([1, 2, 4, 3, 5, 6, 6])
    given = torch.tensor([0.9, 0.5, 0.3, 0.8, 0.2, 0.001, 0.6], dtype=torch.float64) if value is None else value
    return gene_graph(Pairs(first, second, given), torch.tensor(coding), engine, biotypes)


def passing(graph: GeneGraph, engine: Engine, layers: int = 2, dropout: float = 0.5) -> MessagePassing:
    torch.manual_seed(3)
    made = MessagePassing(5, 4, 3, layers, dropout, graph.schema, engine).double()
    for parameter in made.parameters():  # biases and norms away from 0 and 1
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def parameters(messages: MessagePassing, layer: int, relation: str) -> dict[str, Tensor]:
    return dict(messages.relation(layer, relation).named_parameters())


def dense_passing(
    messages: MessagePassing, graph: GeneGraph, h: Tensor, masks: list[LayerMasks] | None, biased: bool = True
) -> Tensor:
    """Eq. 11 for one condition [genes, dim], relation by relation and receiver by receiver."""
    states = {kind: h[rows] for kind, rows in graph.order.items()}
    for step in range(len(messages.layers)):
        if masks:
            states = {kind: x * masks[step].features[kind][:, 0] for kind, x in states.items()}
        after = {}
        for kind in graph.schema.node_types:
            total = torch.zeros(len(states[kind]), 4, dtype=h.dtype)
            for source, relation, target in graph.schema.relations:
                if target == kind:
                    ends = list(zip(*(end.tolist() for end in graph.ends[relation]), strict=True))
                    value = graph.similarity[relation]
                    bias = torch.log(torch.where(value > 0.01, value, 0.01)) if biased else torch.zeros_like(value)
                    mask = masks[step].attention[relation][:, 0, :, 0] if masks else None
                    if len(total):
                        heard = dense.gat(
                            states[source], states[kind], ends, parameters(messages, step, relation), bias, mask
                        )
                        total = total + heard.mean(1)
            norm: Any = messages.norms[step]
            total = dense.layer_norm(total / (1 if graph.schema is HOMOGENEOUS else 2), norm.weight, norm.bias)
            after[kind] = total if step + 1 == len(messages.layers) else torch.relu(total)
        states = after
    out = torch.zeros(len(h), 4, dtype=h.dtype)
    for kind, rows in graph.order.items():
        out = out.index_copy(0, rows, states[kind])
    return out


def test_gatv2_by_hand() -> None:
    """Width 1, identity maps, attention 2: state 1 hears -3 and 1; leaky(-2) = -.4, leaky(2) = 2; logits -.8, 4."""
    layer = GATv2(1, 1, 1).double()
    for module in (layer.fc_src, layer.fc_dst):
        module.weight.data.fill_(1.0)
    layer.attn.data.fill_(2.0)
    relation = bipartite("torch", torch.tensor([0, 1]), torch.tensor([0, 0]), 2, 1)
    ends = (torch.tensor([[[-3.0]], [[1.0]]]).double(), torch.tensor([[[1.0]]]).double())
    share = math.exp(4) / (math.exp(4) + math.exp(-0.8))
    assert layer(relation, ends, torch.zeros(2).double()).item() == pytest.approx(share - 3 * (1 - share), rel=1e-12)
    # a bias of log .5 halves the second weight before the softmax
    share = 0.5 * math.exp(4) / (0.5 * math.exp(4) + math.exp(-0.8))
    bias = torch.tensor([0.0, math.log(0.5)], dtype=torch.float64)
    assert layer(relation, ends, bias).item() == pytest.approx(share - 3 * (1 - share), rel=1e-12)


@needs_dgl
@pytest.mark.parametrize("engine", ENGINES)
def test_equals_dgl_gatv2conv_with_gradients(engine: Engine) -> None:
    import dgl
    from dgl.nn.pytorch import GATv2Conv

    theirs = GATv2Conv(5, 4, 3, allow_zero_in_degree=True).double()
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    ours = GATv2(5, 4, 3).double()
    ours.load_state_dict(theirs.state_dict())
    hs, hd = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    block = dgl.heterograph({("s", "sd", "d"): (SRC, DST)}, num_nodes_dict={"s": 4, "d": 4})
    wanted = theirs(block, (hs, hd))
    found = ours(bipartite(engine, SRC, DST, 4, 4), (hs[:, None], hd[:, None]), torch.zeros(7).double())[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    pull = draw(4, 4, 3, seed=2).transpose(1, 2)
    mine = torch.autograd.grad((found * pull).sum(), (hs, hd, *ours.parameters()))
    other = torch.autograd.grad((wanted * pull).sum(), (hs, hd, *theirs.parameters()))
    names = ["hs", "hd", *(name for name, _ in ours.named_parameters())]
    by_name = dict(zip(["hs", "hd", *(name for name, _ in theirs.named_parameters())], other, strict=True))
    for name, gradient in zip(names, mine, strict=True):
        torch.testing.assert_close(gradient, by_name[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_gatv2_with_bias_and_mask_equals_dense(engine: Engine) -> None:
    layer = GATv2(5, 4, 3).double()
    hs, hd, bias = draw(4, 2, 5), draw(5, 2, 5, seed=1), draw(7, seed=2)
    mask = (draw(7, 3, seed=3) > 0).double() * 2
    found = layer(bipartite(engine, SRC, DST, 4, 5), (hs, hd), bias, mask[:, None, :, None])
    for c in range(2):
        edges = list(zip(SRC.tolist(), DST.tolist(), strict=True))
        wanted = dense.gat(hs[:, c], hd[:, c], edges, dict(layer.named_parameters()), bias, mask)
        torch.testing.assert_close(found[:, c], wanted, rtol=1e-10, atol=1e-12)
    assert not found[3:].any()


@pytest.mark.parametrize("coding", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_message_passing_equals_dense_with_gradients(engine: Engine, coding: list[bool]) -> None:
    value = torch.tensor([0.9, 0.5, 0.3, 0.8, 0.2, 0.001, 0.6], dtype=torch.float64).requires_grad_()
    graph = some_graph(engine, coding, value)
    messages = passing(graph, engine).train()
    masks = messages.draw_masks(graph)
    h = draw(8, 2, 5, seed=7).requires_grad_()
    fast = messages(graph, h, masks)
    slow = torch.stack([dense_passing(messages, graph, h[:, c], masks) for c in range(2)], dim=1)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-11)
    leaves, pull = (h, value, *messages.parameters()), draw(8, 2, 4, seed=8)
    mine, wanted = (
        torch.autograd.grad((x * pull).sum(), leaves, retain_graph=True, allow_unused=True) for x in (fast, slow)
    )
    for a, b in zip(mine, wanted, strict=True):
        if a is None or b is None:
            assert (a is None or not a.any()) and (b is None or not b.any())
        else:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
def test_message_passing_without_biotypes_and_bias(engine: Engine) -> None:
    graph = some_graph(engine, biotypes=False)
    messages = passing(graph, engine).eval()
    h = draw(8, 5, seed=7)
    found = messages(graph, h[:, None], similarity_bias=False)[:, 0]
    torch.testing.assert_close(found, dense_passing(messages, graph, h, None, biased=False), rtol=1e-10, atol=1e-11)
    assert not torch.allclose(found, messages(graph, h[:, None])[:, 0])


@pytest.mark.parametrize("least_share", [incremental.LEAST_SHARE, 2.0], ids=["corrected", "anew"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("coding", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_incremental_pass_equals_dense_with_gradients(
    engine: Engine, coding: list[bool], biased: bool, least_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the unmasked condition, two genes, an isolated gene, and one gene named twice; with every receiver computed
    anew too, as those of whose softmax hardly anything stays."""
    monkeypatch.setattr(incremental, "LEAST_SHARE", least_share)
    conditions: list[list[int]] = [[], [0], [1, 2], [7], [6, 6], [0, 1, 2, 3, 4, 5, 6, 7]]
    value = torch.tensor([0.9, 0.5, 0.3, 0.8, 0.2, 0.001, 0.6], dtype=torch.float64).requires_grad_()
    graph = some_graph(engine, coding, value)
    messages = passing(graph, engine).train()
    masks = messages.draw_masks(graph)
    fused = draw(8, 5, seed=7).requires_grad_()
    found = UnmaskedPass(messages, graph, fused, masks, biased).reached(conditions)
    fast = found.unmasked[:, None].expand(-1, len(conditions), -1).index_put((found.gene, found.column), found.state)
    slow = []
    for targets in conditions:
        keep = torch.ones(8, 1, dtype=torch.float64)
        keep[targets] = 0
        slow.append(dense_passing(messages, graph, fused * keep, masks, biased))
    wanted = torch.stack(slow, dim=1)
    torch.testing.assert_close(fast, wanted, rtol=1e-9, atol=1e-11)
    leaves, pull = (fused, *((value,) if biased else ()), *messages.parameters()), draw(8, len(conditions), 4, seed=8)
    ours, theirs = (
        torch.autograd.grad((x * pull).sum(), leaves, retain_graph=True, allow_unused=True) for x in (fast, wanted)
    )
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None:
            assert (a is None or not a.any()) and (b is None or not b.any())
        else:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_bias_is_log_similarity_with_a_floor() -> None:
    bias = edge_bias(some_graph("torch", [True] * 8), True)["cc"]
    wanted = [math.log(max(v, 0.01)) for v in (0.9, 0.5, 0.3, 0.8, 0.2, 0.001, 0.6)]
    assert bias.tolist() == pytest.approx([*wanted, *wanted, *[0.0] * 8])


def test_both_directions_share_one_module() -> None:
    layer = BiotypeAttention(3, 2, 1, BIOTYPE, "torch")
    mods: Any = layer.conv.mods
    assert mods["nc"] is mods["cn"] and mods["cc"] is not mods["cn"] and mods["nn"] is not mods["cc"]
    assert len(list(layer.parameters())) == 3 * 5


@needs_dgl
def test_engines_have_the_same_parameter_names() -> None:
    one, other = (passing(some_graph(engine), engine).state_dict() for engine in BOTH)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_gene_without_neighbours_keeps_its_own_state() -> None:
    """Gene 7 hears itself alone: its state is its own source map, whatever the attention."""
    graph = some_graph("torch")
    messages = passing(graph, "torch", layers=1).eval()
    h = draw(8, 5)
    cc = messages.relation(0, "cc")
    mean = cc.fc_src(h[7]).view(3, 4).mean(0) / 2  # two relations end in a coding gene, one is silent here
    norm: Any = messages.norms[0]
    torch.testing.assert_close(messages(graph, h[:, None])[7, 0], dense.layer_norm(mean, norm.weight, norm.bias))


def test_masks_are_drawn_in_training_only_and_keep_the_mean() -> None:
    graph = some_graph("torch")
    messages = passing(graph, "torch", dropout=0.25)
    assert messages.eval().draw_masks(graph) is None
    assert passing(graph, "torch", dropout=0.0).train().draw_masks(graph) is None
    drawn = messages.train().draw_masks(graph)
    assert drawn is not None and len(drawn) == 2
    values = torch.cat([m.flatten() for layer in drawn for m in (*layer.features.values(), *layer.attention.values())])
    assert set(values.tolist()) == {0.0, 1 / 0.75}
    assert 0.1 < float((values == 0).double().mean()) < 0.4


@pytest.mark.parametrize("engine", ENGINES)
def test_eq11_by_hand(engine: Engine) -> None:
    """Gene 0 hears itself and gene 1 (similarity .5) by cc, gene 2 by nc; without attention vector the bias weighs.

    cc: (h0 + .5 h1) / 1.5 = (2/3, 1, 0); nc, with a source map of 2: (4, 4, 4); their mean is (7/3, 5/2, 2).
    """
    pairs = Pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([0.5, 0.25], dtype=torch.float64))
    graph = gene_graph(pairs, torch.tensor([True, True, False]), engine)
    messages = MessagePassing(3, 3, 1, 1, 0.0, BIOTYPE, engine).double().eval()
    for name, scale in (("cc", 1.0), ("cn", 2.0), ("nn", 1.0)):
        relation = messages.relation(0, name)
        relation.fc_src.weight.data = scale * torch.eye(3, dtype=torch.float64)
        relation.attn.data.zero_()
    h = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    mean = [7 / 3, 5 / 2, 2]
    centre = sum(mean) / 3
    spread = math.sqrt(sum((x - centre) ** 2 for x in mean) / 3 + 1e-5)
    assert messages(graph, h[:, None])[0, 0].tolist() == pytest.approx([(x - centre) / spread for x in mean], rel=1e-9)
