"""How fast are sums over edges, dot products along edges and attention logits? Ours, DGL's kernels, and gathering rows.

Run: python benchmarks/speed/kernels.py [--edges 106000] [--repeats 5] [--threads 1] [--out F]

Contract: 5,060 nodes, ``--edges`` edges between random ones (seed 0), float32. ``sum``: 4 heads of 64 and of 16 numbers
with a weight per edge and head; ``dot``: rows of 256 and 768 numbers; ``logits``: of GATv2, 4 heads of 64 and of 16;
each forward and backward. Every job once as warm-up, then once in each of ``--repeats`` rounds; medians and extremes
over rounds of seconds, and of ratios within a round to ours. Results are compared once: the largest difference over
the largest value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import measure
import torch
import torch.nn.functional as F
from torch import Tensor

from grape_dgl import engine as seam
from grape_dgl import sparse
from grape_dgl.engine import bipartite
from grape_dgl.nn.logits import attention_logits

NODES, SLOPE = 5060, 0.2


def gathered_sum(relation: Any, u: Tensor, weight: Tensor) -> Tensor:
    out = torch.zeros((relation.n_dst, *u.shape[1:]))
    return out.index_add(0, relation.dst, u[relation.src] * weight)


def gathered_dot(relation: Any, u: Tensor, v: Tensor) -> Tensor:
    return (u[relation.src] * v[relation.dst]).sum(dim=1)


def logits(pair: Tensor, attn: Tensor) -> Tensor:
    return (F.leaky_relu(pair, SLOPE) * attn).sum(-1, keepdim=True)


def both_ways(of: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Forward and backward; the gradients, side by side."""
    out = of(*given)
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(out.square().sum(), given)])


def ways(kind: str, relations: dict[str, Any]) -> dict[str, Callable[..., Tensor]]:
    """Name -> function of the tensors of ``kind``."""
    dgl = seam._dgl().ops
    pattern, known, plain = seam.pattern(relations["torch"]), relations["dgl"], relations["torch"]
    if kind == "sum":
        return {
            "ours": lambda u, w: sparse.weighted_sum(pattern, u, w),
            "DGL": lambda u, w: dgl.u_mul_e_sum(known, u, w),
            "gathering": lambda u, w: gathered_sum(plain, u, w),
        }
    if kind == "logits":
        ends = seam.edge_ends(plain)
        return {
            "ours": lambda u, v, a: attention_logits(ends, u, v, a, SLOPE),
            "DGL": lambda u, v, a: logits(dgl.u_add_v(known, u, v), a),
            "gathering": lambda u, v, a: logits(u[plain.src] + v[plain.dst], a),
        }
    return {
        "ours": lambda u, v: sparse.dot(pattern, u, v),
        "DGL": lambda u, v: dgl.u_dot_v(known, u, v).squeeze(-1),
        "gathering": lambda u, v: gathered_dot(plain, u, v),
    }


def main() -> None:
    parser = measure.arguments("Times the kernels of message passing.", repeats=5, threads=1)
    parser.add_argument("--edges", type=int, default=106_000)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    draw = torch.Generator().manual_seed(0)
    src, dst = (torch.randint(0, NODES, (given.edges,), generator=draw) for _ in range(2))
    relations = {engine: bipartite(engine, src, dst, NODES, NODES) for engine in ("dgl", "torch")}

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).requires_grad_()

    cases = {
        "sum, 4 x 64": (tensor(NODES, 4, 64), tensor(given.edges, 4, 1)),
        "sum, 4 x 16": (tensor(NODES, 4, 16), tensor(given.edges, 4, 1)),
        "dot, 256": (tensor(NODES, 256), tensor(NODES, 256)),
        "dot, 768": (tensor(NODES, 768), tensor(NODES, 768)),
        "logits, 4 x 64": (tensor(NODES, 4, 64), tensor(NODES, 4, 64), tensor(4, 64)),
        "logits, 4 x 16": (tensor(NODES, 4, 16), tensor(NODES, 4, 16), tensor(4, 16)),
    }
    found = {}
    for name, tensors in cases.items():
        jobs = {who: partial(both_ways, of, *tensors) for who, of in ways(name.split(",")[0], relations).items()}
        results = {who: job() for who, job in jobs.items()}
        seconds = measure.paired(jobs, given.repeats)
        found[name] = {
            who: {
                "seconds": measure.spread(seconds[who]),
                "times_ours": measure.ratio(seconds[who], seconds["ours"]),
                "differs": float((results[who] - results["ours"]).abs().max() / results["ours"].abs().max()),
            }
            for who in jobs
        }
    measure.report("kernels", given, {"cases": found})


if __name__ == "__main__":
    main()
