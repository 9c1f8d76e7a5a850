"""The seam to DGL: message-passing kernels behind two engines with the same numbers.

``dgl`` runs DGL's compiled kernels (CPU, where DGL has a wheel); ``torch`` is plain torch (any device, any platform).
A graph is made by :func:`graph` for one engine; the functions below it take a relation of either engine, so layers are
written once. No other module imports dgl, and no ``DGLGraph`` reaches a public signature or a file.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from grape_dgl import sparse
from grape_dgl.errors import ConfigError
from grape_dgl.sparse import Pattern, Rows

Engine = Literal["dgl", "torch"]
Triple = tuple[str, str, str]
"""Canonical edge type (source node type, relation, destination node type), as in DGL."""
Edges = tuple[Int[Tensor, " edges"], Int[Tensor, " edges"]]


@functools.cache
def _dgl() -> Any:
    """DGL, imported on first use with its traps disarmed (backend choice, graphbolt of another torch build)."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    from importlib.metadata import version

    if version("dgl").startswith(("2.0", "2.1", "2.2", "2.3")):
        sys.modules.setdefault("dgl.graphbolt", types.ModuleType("dgl.graphbolt"))
    import dgl
    import dgl.nn.functional
    import dgl.nn.pytorch
    import dgl.ops

    return dgl


def default_engine(device: str = "cpu") -> Engine:
    """The engine that ``auto`` means on ``device``: DGL on the CPU where it is installed, else torch."""
    return "dgl" if device == "cpu" and importlib.util.find_spec("dgl") is not None else "torch"


def choose_engine(name: str, device: str) -> Engine:
    """Resolve ``auto``; ConfigError where DGL is asked for and cannot run."""
    if name == "torch":
        return "torch"
    if name == "auto":
        return default_engine(device)
    if device != "cpu":
        raise ConfigError(f"engine 'dgl' runs on the CPU only and the device is '{device}'; use --engine torch")
    if importlib.util.find_spec("dgl") is None:
        raise ConfigError("engine 'dgl' is not installed (no wheel for this Python or platform); use --engine torch")
    return "dgl"


@dataclass(frozen=True)
class TorchRelation:
    """One relation of the torch engine: edge ``e`` runs from node ``src[e]`` to node ``dst[e]``."""

    src: Tensor
    dst: Tensor
    n_src: int
    n_dst: int

    @functools.cached_property
    def pattern(self) -> Pattern:
        return Pattern.of(self.src, self.dst, self.n_src, self.n_dst)


@dataclass(frozen=True)
class TorchGraph:
    """A heterograph of the torch engine, with the two members of ``DGLGraph`` that the layers use."""

    relations: Mapping[Triple, TorchRelation]
    dsttypes: tuple[str, ...]

    @property
    def canonical_etypes(self) -> list[Triple]:
        return list(self.relations)

    def __getitem__(self, triple: Triple) -> TorchRelation:
        return self.relations[triple]


def graph(engine: Engine, edges: Mapping[Triple, Edges], nodes: Mapping[str, int]) -> Any:
    """A heterograph of ``engine``: ``edges`` per canonical type, ``nodes`` per node type (so that none vanishes).

    Raises IndexError for an id outside its node type; the ids are copied, so a later edit cannot reach the graph.
    """
    for (source, relation, target), (src, dst) in edges.items():
        for ids, kind in ((src, source), (dst, target)):
            if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < nodes[kind]:
                raise IndexError(f"relation {relation}: node id outside 0..{nodes[kind] - 1} of type '{kind}'")
    if engine == "dgl":
        return _dgl().heterograph(
            {t: (s.clone(), d.clone()) for t, (s, d) in edges.items()}, num_nodes_dict=dict(nodes)
        )
    made = {t: TorchRelation(s.clone(), d.clone(), nodes[t[0]], nodes[t[2]]) for t, (s, d) in edges.items()}
    return TorchGraph(made, tuple(nodes))


def simple_graph(engine: Engine, src: Int[Tensor, " edges"], dst: Int[Tensor, " edges"], nodes: int) -> Any:
    """The only relation of a graph with one node type."""
    triple = ("g", "gg", "g")
    return graph(engine, {triple: (src, dst)}, {"g": nodes})[triple]


def bipartite(engine: Engine, src: Int[Tensor, " edges"], dst: Int[Tensor, " edges"], n_src: int, n_dst: int) -> Any:
    """A relation from ``n_src`` nodes to ``n_dst`` other nodes."""
    triple = ("s", "sd", "d")
    return graph(engine, {triple: (src, dst)}, {"s": n_src, "d": n_dst})[triple]


def pattern(relation: Any) -> Pattern:
    """The edges of a relation by source and by target; each engine keeps what it has sorted once."""
    if isinstance(relation, TorchRelation):
        return relation.pattern
    sources, targets = relation.num_src_nodes(), relation.num_dst_nodes()
    (start, source, edge), out = relation.adj_tensors("csc"), relation.adj_tensors("csr")
    return Pattern(Rows(start, source, edge, sources), Rows(out[0], out[1], out[2], targets))


def _edges(relation: Any) -> int:
    return len(relation.src) if isinstance(relation, TorchRelation) else int(relation.num_edges())


def hetero_conv(
    engine: Engine, modules: dict[str, nn.Module], aggregate: Callable[[list[Tensor], str], Tensor]
) -> nn.Module:
    """DGL's ``HeteroGraphConv`` (or its torch twin, with the same parameter names) over one module per relation."""
    if engine == "dgl":
        conv: nn.Module = _dgl().nn.pytorch.HeteroGraphConv(modules, aggregate=aggregate)
        return conv
    return _TorchHeteroConv(modules, aggregate)


class _TorchHeteroConv(nn.Module):
    def __init__(self, modules: dict[str, nn.Module], aggregate: Callable[[list[Tensor], str], Tensor]) -> None:
        super().__init__()
        self.mods = nn.ModuleDict(modules)
        self.agg_fn = aggregate

    def forward(self, g: TorchGraph, inputs: dict[str, Tensor], mod_kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        received: dict[str, list[Tensor]] = {kind: [] for kind in g.dsttypes}
        for triple in g.canonical_etypes:
            source, relation, target = triple
            message = self.mods[relation](g[triple], (inputs[source], inputs[target]), **mod_kwargs.get(relation, {}))
            received[target].append(message)
        return {kind: self.agg_fn(messages, kind) for kind, messages in received.items() if messages}


def _full_precision(tensor: Tensor) -> AbstractContextManager[Any]:
    """DGL's kernels break under CPU autocast."""
    return torch.autocast(tensor.device.type, enabled=False)


def exact(tensor: Tensor) -> Tensor:
    """In single precision where it is less precise (autocast)."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def float64(tensor: Tensor) -> Tensor:
    """``tensor`` in double precision, on the CPU where its device (MPS) has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def edge_ends(relation: Any) -> Edges:
    """Source and target of every edge."""
    return (relation.src, relation.dst) if isinstance(relation, TorchRelation) else relation.edges()


def dot_ends(
    relation: Any, u: Float[Tensor, "sources dim"], v: Float[Tensor, "targets dim"]
) -> Float[Tensor, " edges"]:
    """``<u[src], v[dst]>`` for every edge; neither pass gathers an [edges dim] tensor that autograd keeps."""
    u, v = exact(u), exact(v)
    with _full_precision(u):
        if sparse.usable(u, _edges(relation)):
            return sparse.dot(pattern(relation), u, v)
        if isinstance(relation, TorchRelation):
            return _EdgeDot.apply(relation, u, v)
        return _dgl().ops.u_dot_v(relation, u, v).squeeze(-1)


def softmax(relation: Any, logits: Float[Tensor, "edges *rest"]) -> Float[Tensor, "edges *rest"]:
    """Softmax over the edges that end in the same node."""
    if not isinstance(relation, TorchRelation):
        with _full_precision(logits):
            return _dgl().nn.functional.edge_softmax(relation, exact(logits))
    logits = exact(logits)
    shape = (relation.n_dst, *logits.shape[1:])
    index = relation.dst.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    with torch.no_grad():
        top = torch.full(shape, -torch.inf, dtype=logits.dtype, device=logits.device).scatter_reduce_(
            0, index, logits, "amax"
        )
    share = torch.exp(logits - top.index_select(0, relation.dst))
    total = torch.zeros(shape, dtype=logits.dtype, device=logits.device).index_add(0, relation.dst, share)
    return share / total.index_select(0, relation.dst)


def weighted_sum(
    relation: Any, u: Float[Tensor, "sources *rest"], weight: Float[Tensor, "edges *broadcast"]
) -> Float[Tensor, "targets *rest"]:
    """``sum over edges into i of weight[e] * u[src[e]]`` for every destination i; zero where no edge ends.

    The last dimension of ``weight`` is 1; others may be 1 for all of ``u``.
    """
    u, weight = exact(u), exact(weight)
    with _full_precision(u):
        if sparse.usable(u, _edges(relation)):
            return sparse.weighted_sum(pattern(relation), u, weight)
        if isinstance(relation, TorchRelation):
            out = torch.zeros((relation.n_dst, *u.shape[1:]), dtype=u.dtype, device=u.device)
            return out.index_add(0, relation.dst, u.index_select(0, relation.src) * weight)
        return _dgl().ops.u_mul_e_sum(relation, u, weight)


class _EdgeDot(torch.autograd.Function):
    """Edge-wise dot product in blocks; its backward is two sparse-dense products."""

    block = 65_536

    @staticmethod
    def forward(ctx: Any, relation: TorchRelation, u: Tensor, v: Tensor) -> Tensor:
        ctx.relation = relation
        ctx.save_for_backward(u, v)
        ends = zip(relation.src.split(_EdgeDot.block), relation.dst.split(_EdgeDot.block), strict=True)
        return torch.cat([(u[s] * v[d]).sum(-1) for s, d in ends])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        relation, (u, v) = ctx.relation, ctx.saved_tensors
        ends = torch.stack([relation.src, relation.dst])
        matrix = torch.sparse_coo_tensor(ends, grad, (relation.n_src, relation.n_dst), check_invariants=False)
        return None, torch.sparse.mm(matrix, v), torch.sparse.mm(matrix.t(), u)
