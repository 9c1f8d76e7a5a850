"""When is a whole pass cheaper than correcting the unmasked one?

Run: python benchmarks/speed/breakeven.py [--shares .01 .03 .1 .3 .6] [--width 16] [--repeats 5] [--out F]

Contract: 5,060 genes with normal features (seed 0), 30 % non-coding, a given graph of ten random neighbours each, in
which gene 0 is linked to a share of all others; the condition perturbs it. ``corrected`` and ``whole``: forward and
backward of both and of the unmasked pass, less the unmasked pass alone within the round; two layers of 4 heads x
``--width``, float32, no dropout. One warm-up, then ``--repeats`` rounds. ``affected``: edges that the correction
computes over those of a whole pass, which the package compares with 1 (``grape_dgl.nn.incremental.affected_edges``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import measure
import torch
from scaling import GENES, with_hub
from torch import Tensor

from grape_dgl.model import mask_perturbed
from grape_dgl.nn.incremental import UnmaskedPass, affected_edges


def at(share: float, width: int, repeats: int) -> dict[str, Any]:
    """One share of genes that are linked to the hub."""
    genes = with_hub(measure.random_genes(GENES), share)
    model = measure.new_model(genes, "dgl", model={"width": width, "hidden": 64, "ablation": "no_gsl"}).eval()
    with torch.no_grad():
        z = model.represent(genes)
        graph = model.graph(model.learn_graph(z).pairs, genes.coding)
    fused, condition = z.fused.requires_grad_(), [(0,)]
    layers = model.config.model.layers

    def both_ways(added: Callable[[UnmaskedPass], Tensor]) -> Callable[[], None]:
        def job() -> None:
            base = model.unmasked(graph, fused)
            (base.states.square().sum() + added(base).square().sum()).backward()

        return job

    def whole(base: UnmaskedPass) -> Tensor:
        return model.messages(graph, mask_perturbed(fused, condition), None, model.similarity_bias)

    jobs = {
        "unmasked": both_ways(lambda base: base.states),
        "corrected": both_ways(lambda base: base.reached(condition).state),
        "whole": both_ways(whole),
    }
    for job in jobs.values():
        job()
    seconds = measure.paired(jobs, repeats)
    corrected, passed = (
        [a - b for a, b in zip(seconds[name], seconds["unmasked"], strict=True)] for name in ("corrected", "whole")
    )
    return {
        "share": share,
        "affected": float(affected_edges(graph, condition, layers)) / (graph.edges * layers),
        "seconds": {"corrected": measure.spread(corrected), "whole": measure.spread(passed)},
        "corrected_over_whole": measure.ratio(corrected, passed),
    }


def main() -> None:
    parser = measure.arguments("Times corrections against whole passes.", repeats=5)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3, 0.6, 0.9])
    parser.add_argument("--width", type=int, default=16)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    measure.report("breakeven", given, {"rows": [at(share, given.width, given.repeats) for share in given.shares]})


if __name__ == "__main__":
    main()
