"""How do time and memory of a training step grow with genes, conditions and degree? And with a gene linked to 30 %?

Run: python benchmarks/speed/scaling.py [--genes 2500 5000 10000 20000] [--conditions 15 30 60 120 240]
     [--degrees 5 10 20 40] [--hidden 64] [--table annotables_grch38.tsv.gz] [--repeats 3] [--out F]

Contract: the step of step.py (60 conditions, 2,000 cells, 4 heads x 16, target degree 20), ``--hidden`` wide, 30 % of
the genes non-coding. Features: for ``sizes``, MiniLM on genes drawn (seed 0) from ``--table``, encoded before; else
normal numbers (seed 0). Each row in a process of its own, whose peak memory is given; one warm-up, then ``--repeats``
steps. ``sizes``: by number of genes, and in turn with each similarity compared pair by
pair instead of by the bound of ``graph.search``. ``conditions`` and ``degrees``: at 5,060 genes. ``exponent``: slope
of a line through log seconds (peak memory) over the log of what is varied. ``hub``: a given graph of 5,060 genes in
which one gene is linked to 30 % of the others, the hub among the perturbed genes; the same step, and the largest
difference of its predictions from whole passes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import measure
import numpy as np
import torch
from step import CONDITIONS, Step

from grape_dgl.graph import search
from grape_dgl.graph.hetero import Pairs
from grape_dgl.graph.similarity import unique_pairs
from grape_dgl.memory import peak_mb, reset_peak
from grape_dgl.model import GeneInputs

GENES = 5060


def timed(job: Callable[[], Any], repeats: int) -> dict[str, float]:
    return measure.spread(measure.paired({"step": job}, repeats)["step"])


def new_step(genes: GeneInputs, hidden: int, conditions: int = CONDITIONS, degree: int = 20) -> Step:
    sections = {"model": {"width": 16, "hidden": hidden}, "structure": {"sparsity": f"degree:{degree}"}}
    return Step(measure.new_model(genes, "dgl", **sections), genes, conditions)


def encoded(table: Path, number: int) -> dict[str, Any]:
    return {"genes": len(measure.mixed_genes(table, number))}


def of_size(table: Path, number: int, hidden: int, repeats: int, threads: int) -> dict[str, Any]:
    """Of one number of genes."""
    torch.set_num_threads(threads)
    step = new_step(measure.mixed_genes(table, number), hidden)
    row, searches = measured(step, repeats), step.model.structure.searched()

    def pairwise() -> None:
        with patch.object(search, "LEAST", 10**9):
            step.fast()

    pairwise()
    seconds = measure.paired({"bound": step.fast, "all pairs": pairwise}, repeats)
    ratio = measure.ratio(seconds["all pairs"], seconds["bound"])
    row["seconds"] = measure.spread(seconds["bound"])
    return {"genes": number, **row, "searches": searches, "all_pairs_take": ratio}


def of_shape(conditions: int, degree: int, hidden: int, repeats: int, threads: int) -> dict[str, Any]:
    """Of a number of conditions and a target degree."""
    torch.set_num_threads(threads)
    step = new_step(measure.random_genes(GENES), hidden, conditions, degree)
    return {"conditions": conditions, "degree": degree, **measured(step, repeats)}


def measured(step: Step, repeats: int) -> dict[str, Any]:
    reset_peak()
    step.fast()
    seconds = timed(step.fast, repeats)
    return {"seconds": seconds, "peak_memory_mb": peak_mb(), "edges": len(step.edges["learned"][0])}


def with_hub(genes: GeneInputs, share: float = 0.3) -> GeneInputs:
    """The same genes with a given graph: ten random neighbours each, and gene 0 linked to a share of all."""
    number, draw = len(genes), np.random.default_rng(0)
    ends = torch.from_numpy(draw.integers(0, number, (2, 10 * number)))
    spokes = torch.from_numpy(draw.choice(np.arange(1, number), int(share * number), replace=False))
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


def exponents(rows: list[dict[str, Any]], varied: str) -> dict[str, float]:
    over = np.log([row[varied] for row in rows])
    values = {
        "seconds": [row["seconds"]["median"] for row in rows],
        "peak_memory_mb": [row["peak_memory_mb"] for row in rows],
    }
    return {name: float(np.polyfit(over, np.log(found), 1)[0]) for name, found in values.items()}


def main() -> None:
    parser = measure.arguments("Times a training step for growing numbers of genes.")
    parser.add_argument("--genes", type=int, nargs="+", default=[2500, 5000, 10000, 20000])
    parser.add_argument("--conditions", type=int, nargs="+", default=[15, 30, 60, 120, 240])
    parser.add_argument("--degrees", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--table", type=Path, default=measure.ALL_GENES)
    given = parser.parse_args()
    how = (given.hidden, given.repeats, given.threads)
    alone(encoded, given.table, max(given.genes))
    sizes = [alone(of_size, given.table, number, *how) for number in given.genes]
    conditions = [alone(of_shape, number, 20, *how) for number in given.conditions]
    degrees = [alone(of_shape, CONDITIONS, number, *how) for number in given.degrees]
    found = {
        "sizes": {"rows": sizes, "exponent": exponents(sizes, "genes")},
        "conditions": {"rows": conditions, "exponent": exponents(conditions, "conditions")},
        "degrees": {"rows": degrees, "exponent": exponents(degrees, "degree")},
        "hub": alone(of_hub, GENES, *how),
    }
    measure.report("scaling", given, found)


if __name__ == "__main__":
    main()
