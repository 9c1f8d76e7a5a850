"""How do time and memory of a training step grow with the genes? And with one gene that is linked to 30 % of them?

Run: python benchmarks/speed/scaling.py [--genes 2500 5000 10000 20000] [--hidden 64] [--repeats 3] [--out F]

Contract: the step of step.py (60 conditions, 2,000 cells, 4 heads x 16, target degree 20) on normal features (seed 0),
30 % of the genes non-coding, ``--hidden`` wide. Each number of genes in a process of its own, whose peak memory is
given; one warm-up, then ``--repeats`` steps, and as many with each similarity compared pair by pair instead of by the
bound of ``graph.search``. ``exponent``: slope of a line through log seconds (peak memory) over log genes. ``hub``: a
given graph in which one gene is linked to 30 % of the others, the hub among the perturbed genes; the same step, and the
largest difference of its predictions from whole passes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import measure
import numpy as np
import torch
from step import Step

from grape_dgl.graph import search
from grape_dgl.graph.hetero import Pairs
from grape_dgl.graph.similarity import unique_pairs
from grape_dgl.memory import peak_mb, reset_peak
from grape_dgl.model import GeneInputs


def timed(job: Callable[[], Any], repeats: int) -> dict[str, float]:
    return measure.spread(measure.paired({"step": job}, repeats)["step"])


def new_step(genes: GeneInputs, hidden: int) -> Step:
    return Step(measure.new_model(genes, "dgl", model={"width": 16, "hidden": hidden}), genes)


def of_size(number: int, hidden: int, repeats: int, threads: int) -> dict[str, Any]:
    """Of one number of genes, in a process of its own."""
    torch.set_num_threads(threads)
    step = new_step(measure.random_genes(number), hidden)
    reset_peak()
    step.fast()
    seconds, peak = timed(step.fast, repeats), peak_mb()
    searches = step.model.structure.searches.values()
    bounded, plain = (sum(getattr(one, kind) for one in searches) for kind in ("bounded", "plain"))
    search.LEAST = 10**9
    step.fast()
    return {
        "genes": number,
        "seconds": seconds,
        "peak_memory_mb": peak,
        "edges": len(step.edges["learned"][0]),
        "searches": {"by the bound": bounded, "all pairs": plain},
        "seconds_all_pairs": timed(step.fast, repeats),
    }


def with_hub(genes: GeneInputs) -> GeneInputs:
    """The same genes with a given graph: ten random neighbours each, and gene 0 linked to 30 % of all."""
    number, draw = len(genes), np.random.default_rng(0)
    ends = torch.from_numpy(draw.integers(0, number, (2, 10 * number)))
    spokes = torch.from_numpy(draw.choice(np.arange(1, number), int(0.3 * number), replace=False))
    first = torch.cat([ends.amin(dim=0), torch.zeros_like(spokes)])
    second = torch.cat([ends.amax(dim=0), spokes])
    distinct = first != second
    first, second = unique_pairs(first[distinct], second[distinct], number)
    value = torch.where(first == 0, 0.9, 0.5)
    return replace(genes, given=Pairs(first, second, value))


def of_hub(number: int, hidden: int, repeats: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    genes = with_hub(measure.random_genes(number))
    model = measure.new_model(genes, "dgl", model={"width": 16, "hidden": hidden, "ablation": "no_gsl"})
    step = Step(model, genes)
    step.targets[0] = (0,)
    step.fast()
    model.eval()
    with torch.no_grad():
        z = model.represent(genes)
        graph = model.graph(model.learn_graph(z).pairs, genes.coding)
        fast, whole = (model.propagate(graph, z.fused, step.targets[:6], plain) for plain in (False, True))
    model.train()
    apart = float((fast - whole).abs().max() / whole.abs().max())
    return {"genes": number, "relative_difference": apart, "seconds": timed(step.fast, repeats)}


def alone(job: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """In a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(job, *given).result()


def exponent(genes: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(genes), np.log(values), 1)[0])


def main() -> None:
    parser = measure.arguments("Times a training step for growing numbers of genes.")
    parser.add_argument("--genes", type=int, nargs="+", default=[2500, 5000, 10000, 20000])
    parser.add_argument("--hidden", type=int, default=64)
    given = parser.parse_args()
    how = (given.hidden, given.repeats, given.threads)
    rows = [alone(of_size, number, *how) for number in given.genes]
    found = {
        "sizes": rows,
        "exponent": {
            "seconds": exponent(given.genes, [row["seconds"]["median"] for row in rows]),
            "peak_memory_mb": exponent(given.genes, [row["peak_memory_mb"] for row in rows]),
        },
        "hub": alone(of_hub, 5060, *how),
    }
    measure.report("scaling", given, found)


if __name__ == "__main__":
    main()
