"""Eq. 3-10: the learned graph against dense matrices, values and gradients, in both engines."""

from __future__ import annotations

import dataclasses
import math

import dense
import pytest
import torch
from engines import ENGINES
from torch import Tensor

from grape_dgl.config import StructureConfig
from grape_dgl.engine import Engine
from grape_dgl.graph.hetero import Pairs
from grape_dgl.losses import structure_loss
from grape_dgl.nn.structure import (
    ChannelAttention,
    Representation,
    Structure,
    StructureLearner,
    fuse_channels,
    gcn_weights,
)

GENES, DIM = 10, 8
MEMBERS = ("seq", "text", "fus")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def learner(
    engine: Engine = "torch", sparsity: str = "0.3", learn: bool = True, **settings: object
) -> StructureLearner:
    torch.manual_seed(5)
    config = StructureConfig(heads=2, hops=2, sparsity=sparsity, **settings)  # type: ignore[arg-type]
    return StructureLearner(MEMBERS, DIM, config, engine, learn).double()


def representation(seed: int = 0, genes: int = GENES) -> Representation:
    """Gene 1 has no sequence, gene 4 no text, gene 6 neither."""
    common = draw(genes, DIM, seed=seed)
    z = {m: (common + draw(genes, DIM, seed=seed + 1 + i)).requires_grad_() for i, m in enumerate(MEMBERS)}
    has = {m: torch.ones(genes, dtype=torch.bool) for m in MEMBERS}
    if genes > 6:
        has["seq"][[1, 6]] = False
        has["text"][[4, 6]] = False
        has["fus"][6] = False
    return Representation(z, has)


def dense_structure(s: StructureLearner, genes: Representation) -> tuple[Tensor, Tensor, Tensor]:
    """G, G_agg and the channel weights as dense matrices."""
    parts = [
        dense.threshold(dense.similarity(genes.z[m], s.similarity[m]), s.epsilon(m), genes.present[m])
        for m in s.members
    ]
    prior = dense.average(parts, [genes.present[m] for m in s.members])
    hops = dense.convolve(prior, genes.fused, list(s.gcn))  # type: ignore[arg-type]
    channels = [dense.similarity(h, w) for h, w in zip(hops[1:], s.channel_similarity, strict=True)]
    a = dense.attention(channels, s.channel_attention.layers)
    return sum(w * g for w, g in zip(a, channels, strict=True)), prior, a  # type: ignore[return-value]


def edges_of(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def wanted_edges(matrix: Tensor, epsilon: float, known: Tensor) -> set[tuple[int, int]]:
    size = len(matrix)
    return {
        (i, j) for i in range(size) for j in range(i + 1, size) if matrix[i, j] >= epsilon and known[i] and known[j]
    }


def test_eq6_by_hand() -> None:
    """G_agg = [[1, .5], [.5, 1]], degrees 1.5, norm = G / 1.5. With W = I: (1, 4) -> (2, 3); ReLU of -1 is 0."""
    s = StructureLearner(("fus",), 2, StructureConfig(heads=1, hops=1, sparsity="0.1"), "torch").double()
    s.gcn[0].weight.data = torch.eye(2, dtype=torch.float64)  # type: ignore[union-attr]
    s.gcn[0].bias.data.zero_()  # type: ignore[union-attr]
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.5], dtype=torch.float64))
    weight, loop = gcn_weights(pairs, 2)
    torch.testing.assert_close(weight, torch.tensor([1 / 3], dtype=torch.float64))
    torch.testing.assert_close(loop, torch.tensor([2 / 3, 2 / 3], dtype=torch.float64))
    hops = s.convolve(pairs, torch.tensor([[1.0, -1.0], [4.0, -1.0]], dtype=torch.float64))
    torch.testing.assert_close(hops[1], torch.tensor([[2.0, 0.0], [3.0, 0.0]], dtype=torch.float64))


def test_eq7_by_hand() -> None:
    """A channel is the mean over heads of the cosine of projected hop states; its diagonal is 1."""
    s, genes = learner(), representation()
    made = s(genes)
    for k, weight in enumerate(s.channel_similarity):
        state, u = made.hops[k + 1], made.units[k]
        for i, j in ((0, 1), (2, 5), (3, 3)):
            cosines = []
            for head in weight:
                a, b = (state[i] @ head).tolist(), (state[j] @ head).tolist()
                lengths = math.hypot(*a) * math.hypot(*b)
                cosines.append(sum(x * y for x, y in zip(a, b, strict=True)) / lengths)
            assert float(u[i] @ u[j]) == pytest.approx(sum(cosines) / len(cosines), rel=1e-9)


def test_eq8_by_hand() -> None:
    """Channel means are |sum u|^2 / n^2: units (1,0), (0,1) give 1/2, equal units give 1; G mixes the two channels."""
    units = [torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])]
    attention = ChannelAttention(2)
    torch.testing.assert_close(
        attention(units), torch.softmax(attention.layers(torch.tensor([0.5, 1.0])), dim=0), rtol=1e-6, atol=0
    )
    fused = fuse_channels(units, torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(fused @ fused.T, torch.tensor([[1.0, 0.75], [0.75, 1.0]]))


@pytest.mark.parametrize("engine", ENGINES)
def test_convolve_equals_dense_with_gradients(engine: Engine) -> None:
    s = learner(engine)
    prior = s.prior(representation(), refresh=False)
    value, h = prior.value.detach().requires_grad_(), draw(GENES, DIM, seed=9).requires_grad_()
    matrix = torch.eye(GENES, dtype=torch.float64).index_put((prior.first, prior.second), value)
    matrix = matrix.index_put((prior.second, prior.first), value)
    fast = s.convolve(Pairs(prior.first, prior.second, value), h)
    slow = dense.convolve(matrix, h, list(s.gcn))  # type: ignore[arg-type]
    leaves = (value, h, *s.gcn.parameters())
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    pull = draw(GENES, DIM, seed=3)
    for a, b in zip(
        *(torch.autograd.grad((x[-1] * pull).sum(), leaves, retain_graph=True) for x in (fast, slow)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_forward_and_eq10_equal_dense_with_gradients(engine: Engine) -> None:
    s, genes = learner(engine), representation()
    made = s(genes)
    learned, prior, channels = dense_structure(s, genes)
    assert edges_of(made.prior) == wanted_edges(prior, 1e-9, torch.ones(GENES, dtype=torch.bool))
    assert edges_of(made.pairs) == wanted_edges(learned, 0.3, genes.known)
    assert 5 < len(made.pairs) < 45 and 5 < len(made.prior) < 45  # neither empty nor complete
    torch.testing.assert_close(made.channels, channels, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(made.pairs.value, learned[made.pairs.first, made.pairs.second], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(made.prior.value, prior[made.prior.first, made.prior.second], rtol=1e-10, atol=1e-12)

    pull = draw(len(made.pairs), seed=4)
    fast = structure_loss(made) + (made.pairs.value * pull).sum()
    slow = (learned - prior).norm() / GENES + (learned[made.pairs.first, made.pairs.second] * pull).sum()
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)
    leaves = (*s.parameters(), *genes.z.values())
    for mine, wanted in zip(*(torch.autograd.grad(x, leaves) for x in (fast, slow)), strict=True):
        assert wanted.any()
        torch.testing.assert_close(mine, wanted, rtol=1e-8, atol=1e-11)


def test_a_gene_without_a_modality_has_no_edge_from_it() -> None:
    s, genes = learner(sparsity="0.01"), representation()
    made = s(genes)
    for missing, member in ((1, "seq"), (4, "text")):
        alone = StructureLearner((member,), DIM, s.config, "torch").double()
        alone.similarity[member] = s.similarity[member]
        edges = edges_of(alone.prior(genes, refresh=False))
        assert edges and all(missing not in pair for pair in edges)
        assert any(missing in pair for pair in edges_of(made.prior))
    assert all(6 not in pair for pair in edges_of(made.prior) | edges_of(made.pairs))


def test_target_degree_is_recomputed_on_refresh_only() -> None:
    s = learner(sparsity="degree:3").eval()
    genes = representation(genes=40)
    before = s.thresholds.clone()
    s(genes)
    assert torch.equal(s.thresholds, before)
    made = s(genes, refresh=True)
    assert not torch.equal(s.thresholds, before)
    assert len(made.pairs) == 58  # 39 known genes x degree 3 / 2
    frozen = s.thresholds.clone()
    s(representation(seed=50, genes=40))
    assert torch.equal(s.thresholds, frozen) and "thresholds" in s.state_dict()


def test_a_graph_that_outgrows_its_degree_gets_a_new_threshold_in_training_only() -> None:
    s, genes = learner(sparsity="degree:3"), representation(genes=40)
    s(genes, refresh=True)
    wanted, low = s.thresholds.clone(), torch.full_like(s.thresholds, 0.01)
    s.thresholds.copy_(low)
    crowded = s.eval()(genes)
    assert torch.equal(s.thresholds, low) and len(crowded.pairs) > 2 * 58
    made = s.train()(genes)
    torch.testing.assert_close(s.thresholds, wanted)
    assert len(made.pairs) == 58 and len(made.prior) < len(crowded.prior)
    slightly = wanted - 0.02
    s.thresholds.copy_(slightly)
    s(genes)
    assert torch.equal(s.thresholds, slightly)  # not twice as many: frozen within the epoch


def test_fixed_threshold_ignores_refresh() -> None:
    s = learner(sparsity="0.3")
    s(representation(), refresh=True)
    torch.testing.assert_close(s.thresholds, torch.full((4,), 0.3, dtype=s.thresholds.dtype), rtol=1e-6, atol=0)


def test_unlearned_graph_is_the_prior_above_epsilon() -> None:
    s, genes = learner(sparsity="degree:3", learn=False), representation(genes=40)
    made = s(genes, refresh=True)
    assert edges_of(made.pairs) <= edges_of(made.prior) and len(made.pairs) == 58
    assert made.pairs.value.min() >= made.prior.value.sort(descending=True).values[57]
    assert float(structure_loss(made)) == 0.0


def test_unlearned_graph_leaves_ties_out() -> None:
    """Six pairs of one value, four wanted: none of them; all values above stay."""
    s, genes = learner(sparsity="degree:1", learn=False), representation(genes=GENES)
    first, second = torch.tensor([0, 0, 1, 1, 2, 3, 4]), torch.tensor([1, 2, 2, 3, 3, 4, 5])
    value = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    made = s.unlearned(Pairs(first, second, value), genes, refresh=True)
    assert edges_of(made.pairs) == {(0, 1)}


def test_a_given_graph_stays_whole_without_structure_learning() -> None:
    s, genes = learner(sparsity="degree:0.2", learn=False), representation()
    given = Pairs(torch.tensor([0, 2]), torch.tensor([3, 5]), torch.tensor([0.9, 0.4], dtype=torch.float64))
    assert edges_of(s(dataclasses.replace(genes, given=given), refresh=True).pairs) == {(0, 3), (2, 5)}


def test_given_prior_replaces_the_members() -> None:
    s, genes = learner(), representation()
    given = Pairs(torch.tensor([0, 2]), torch.tensor([3, 5]), torch.tensor([0.9, 0.4], dtype=torch.float64))
    made = s(dataclasses.replace(genes, given=given))
    assert made.prior is given
    assert edges_of(s(genes).pairs) != edges_of(made.pairs)


def test_relabelling_genes_relabels_the_graph() -> None:
    s, genes = learner(), representation()
    order = torch.randperm(GENES, generator=torch.Generator().manual_seed(1))
    moved = Representation(
        {m: z[order] for m, z in genes.z.items()}, {m: has[order] for m, has in genes.present.items()}
    )
    plain, other = s(genes), s(moved)
    back = {tuple(sorted((int(order[i]), int(order[j])))) for i, j in edges_of(other.pairs)}
    assert back == edges_of(plain.pairs)
    torch.testing.assert_close(structure_loss(other), structure_loss(plain), rtol=1e-10, atol=0)


def attached(s: StructureLearner, old: Representation, new: Representation) -> tuple[Structure, dict]:
    base = s(old)
    fresh, other, value = s.attach(base, new, old)
    return base, {(int(a), int(b)): float(v) for a, b, v in zip(fresh, other, value, strict=True)}


@torch.no_grad()
def test_attach_equals_a_dense_row() -> None:
    """A new gene's row, all of the old genes frozen: prior row, K convolutions, cosine with every old gene."""
    s, old, new = learner(), representation(), representation(seed=30, genes=1)
    base, found = attached(s, old, new)
    prior = torch.zeros(GENES, dtype=torch.float64)
    for j in range(GENES):
        values = []
        for m in MEMBERS:
            if old.present[m][j]:
                both = torch.stack([new.z[m][0], old.z[m][j]])
                cos = dense.similarity(both, s.similarity[m])[0, 1]
                values.append(float(cos) if cos >= s.epsilon(m) else 0.0)
        prior[j] = sum(values) / max(len(values), 1)
    _, agg, a = dense_structure(s, old)
    degree_old, degree = agg.sum(1), 1 + prior.sum()
    h, learned = new.fused[0], torch.zeros(GENES, dtype=torch.float64)
    for k, layer in enumerate(s.gcn):
        heard = sum(prior[j] / (degree * degree_old[j]).sqrt() * layer(base.hops[k][j]) for j in range(GENES))
        h = torch.relu(heard + layer(h) / degree)
        for j in range(GENES):
            both = torch.stack([h, base.hops[k + 1][j]])
            learned[j] += a[k] * dense.similarity(both, s.channel_similarity[k])[0, 1]
    wanted = {(GENES, j): float(learned[j]) for j in range(GENES) if learned[j] >= 0.3 and j != 6}
    assert wanted and found == pytest.approx(wanted, rel=1e-9)


@torch.no_grad()
def test_attach_links_new_genes_to_each_other_once() -> None:
    """Two equal new genes: similarity 1 in every channel, one directed entry, larger id first."""
    s, old, one = learner(), representation(), representation(seed=30, genes=1)
    twice = Representation(
        {m: z.repeat(2, 1) for m, z in one.z.items()}, {m: h.repeat(2) for m, h in one.present.items()}
    )
    _, found = attached(s, old, twice)
    assert found[GENES + 1, GENES] == pytest.approx(1.0) and (GENES, GENES + 1) not in found
    _, alone = attached(s, old, one)
    assert {k: v for k, v in found.items() if k[0] == GENES} == pytest.approx(alone)


@torch.no_grad()
def test_attach_of_a_gene_nobody_knows() -> None:
    s, old, new = learner(sparsity="0.01"), representation(), representation(seed=30, genes=1)
    unknown = Representation(new.z, {m: torch.zeros(1, dtype=torch.bool) for m in MEMBERS})
    assert attached(s, old, unknown)[1] == {}


def test_a_channel_without_weight_has_finite_gradients() -> None:
    """The softmax of Eq. 8 can underflow to 0, where a root has no gradient."""
    units = [draw(4, 3), draw(4, 3, seed=1)]
    channels = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    fuse_channels(units, channels).square().sum().backward()
    assert channels.grad is not None and torch.isfinite(channels.grad).all()
