"""GRAPE as one writes it first: every similarity a dense matrix with autograd, and a whole pass for each condition.

It shares the parameters of a model of the package and the layers of its message passing (``HeteroGraphConv`` on the
engine's kernels), and nothing of what makes the package fast: neither the search and the values of edges (Eq. 3-9),
nor the norm (Eq. 10), nor the correction of an unmasked pass (Eq. 11). It is what the package is compared with, in
numbers (tests/test_plain.py) and in time (step.py, prediction.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from grape_dgl import sparse
from grape_dgl.engine import softmax, weighted_sum
from grape_dgl.graph.hetero import GeneGraph, Pairs
from grape_dgl.graph.similarity import head_units, pairs_above
from grape_dgl.model import GRAPE, GeneInputs, mask_perturbed
from grape_dgl.nn.biotype import GATv2, LayerMasks
from grape_dgl.nn.structure import Representation, Structure

Ends = tuple[Tensor, Tensor]


@contextmanager
def as_first_written() -> Iterator[None]:
    """Passes on DGL's kernels as they are, without the sparse products and the blocks of the package."""
    with (
        patch.object(sparse, "usable", lambda *given: False),
        patch.object(GATv2, "forward", _gatv2),
    ):
        yield


def _gatv2(
    module: GATv2, relation: Any, ends: tuple[Tensor, Tensor], bias: Tensor, mask: Tensor | None = None
) -> Tensor:
    import dgl.ops  # which grape_dgl.engine has loaded, its traps disarmed

    source, target = module.source(ends[0]), module.target(ends[1])
    pair = F.leaky_relu(dgl.ops.u_add_v(relation, source, target), module.negative_slope)
    logits = (pair * module.attn[0]).sum(-1, keepdim=True) + bias[:, None, None, None]
    attention = softmax(relation, logits)
    return weighted_sum(relation, source, attention if mask is None else attention * mask)


@dataclass(frozen=True)
class Dense:
    """Eq. 3-10 by matrices: G [genes, genes] and the regulariser."""

    learned: Tensor
    regulariser: Tensor


def shared_edges(model: GRAPE, z: Representation, structure: Structure) -> dict[str, Ends]:
    """The edges of each member of M and of the learned graph, as the package finds them.

    Two searches may differ in pairs within rounding of the threshold; values and gradients are compared on one list.
    """
    learner = model.structure
    ends = {
        name: pairs_above(
            head_units(z.z[name], learner.similarity[name]).detach(), learner.epsilon(name), z.present[name]
        )
        for name in learner.members
    }
    return {**ends, "learned": (structure.pairs.first, structure.pairs.second)}


def dense_structure(model: GRAPE, z: Representation, edges: Mapping[str, Ends] | None = None) -> Dense:
    """Eq. 3-8 and 10; thresholds as they stand. ``edges`` replaces the comparison with them."""
    learner, genes = model.structure, len(z.fused)
    eye = torch.eye(genes, dtype=z.fused.dtype)
    total, both = torch.zeros_like(eye), torch.zeros_like(eye)
    for name in learner.members:
        similarity, has = _similarity(z.z[name], learner.similarity[name]), z.present[name].to(eye.dtype)
        if edges is None:
            keep = (similarity >= learner.epsilon(name)) & (has[:, None] * has[None, :] > 0)
        else:
            keep = _matrix(edges[name], genes)
        total = total + torch.where(keep, similarity, 0.0) * (1 - eye)
        both = both + has[:, None] * has[None, :]
    prior = total / both.clamp(min=1) + eye
    root = prior.sum(dim=1).rsqrt()
    adjacency = root[:, None] * prior * root[None, :]
    h, channels = z.fused, []
    for layer, weight in zip(learner.gcn, learner.channel_similarity, strict=True):
        h = torch.relu(adjacency @ layer(h))
        channels.append(_similarity(h, weight))
    a = torch.softmax(learner.channel_attention.layers(torch.stack([g.mean() for g in channels])), dim=0)
    learned = sum(weight * g for weight, g in zip(a, channels, strict=True))
    assert isinstance(learned, Tensor)
    norm = torch.linalg.matrix_norm((learned - prior).double())  # a sum of genes x genes squares
    return Dense(learned, norm.to(learned) / genes)


def step(
    model: GRAPE,
    genes: GeneInputs,
    conditions: Sequence[Sequence[int]],
    losses: Sequence[tuple[Tensor, Tensor, Tensor]],
    edges: Mapping[str, Ends],
    masks_seed: int,
) -> float:
    """One training step's loss (Eq. 18), gradients left in the parameters.

    ``losses``: of each condition its cells [cells, measured], its control [measured], and their weight. A condition is
    passed and differentiated by itself; what all of them share, the structure, is differentiated once at the end.
    """
    z = model.represent(genes)
    dense = dense_structure(model, z, edges)
    first, second = edges["learned"]
    whole = model.graph(Pairs(first, second, dense.learned[first, second]), genes.coding)
    graph, fused = replace(whole, similarity={r: _leaf(x) for r, x in whole.similarity.items()}), _leaf(z.fused)
    torch.manual_seed(masks_seed)
    masks = model.messages.draw_masks(graph)
    unmasked = _pass(model, graph, fused, (), masks)
    start = _leaf(unmasked)
    loss = model.config.structure.regulariser * dense.regulariser
    total = float(loss.detach())
    for targets, (cells, control, share) in zip(conditions, losses, strict=True):
        state = _pass(model, graph, fused, targets, masks)
        if model.config.model.readout == "centred":
            state = state - start
        prediction = model.readout(state[:, None, :])[0] + control
        huber = F.huber_loss(
            torch.tanh(prediction - control).expand_as(cells),
            torch.tanh(cells - control),
            delta=model.config.training.huber_delta,
        )
        part = share * (F.mse_loss(prediction.expand_as(cells), cells) + huber)
        part.backward()
        total += float(part.detach())
    ends = [(unmasked, start), (z.fused, fused), *((whole.similarity[r], x) for r, x in graph.similarity.items())]
    reached = [(tensor, leaf.grad) for tensor, leaf in ends if leaf.grad is not None and tensor.requires_grad]
    torch.autograd.backward([loss, *(tensor for tensor, _ in reached)], [None, *(grad for _, grad in reached)])
    return total


@torch.no_grad()
def predictions(model: GRAPE, graph: GeneGraph, fused: Tensor, conditions: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """The change of every measured gene [measured], a whole pass for each condition."""
    unmasked = _pass(model, graph, fused, (), None)
    for targets in conditions:
        state = _pass(model, graph, fused, targets, None)
        if model.config.model.readout == "centred":
            state = state - unmasked
        yield model.readout(state[:, None, :])[0]


def _pass(
    model: GRAPE, graph: GeneGraph, fused: Tensor, targets: Sequence[int], masks: list[LayerMasks] | None
) -> Tensor:
    """Eq. 11 for one condition: [genes, width]."""
    return model.messages(graph, mask_perturbed(fused, [targets]), masks, model.similarity_bias)[:, 0]


def _similarity(z: Tensor, weight: Tensor) -> Tensor:
    """Eq. 4 for all pairs, head by head."""
    heads = [F.normalize(z @ one, dim=1) for one in weight]
    matrix = sum(head @ head.T for head in heads)
    assert isinstance(matrix, Tensor)
    return matrix / len(weight)


def _matrix(ends: Ends, genes: int) -> Tensor:
    found = torch.zeros(genes, genes, dtype=torch.bool)
    found[ends] = True
    return found | found.T


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
