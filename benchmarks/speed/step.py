"""How fast is a training step? Ours against GRAPE as one writes it first, on one edge list.

Run: python benchmarks/speed/step.py [--graph text|random] [--width 64|16] [--repeats 3] [--out F]

Contract: a step is Eq. 1-18 forward and backward for 60 distinct conditions of one gene and 2,000 cells: T = 4, K = 3,
two layers of 4 heads x ``--width``, target degree 20, dropout .4, float32; no optimiser. ``plain`` (plain.py) has dense
similarities with autograd and, for each condition, a whole pass with its own backward, on DGL's own kernels and on ours
of ``grape_dgl.sparse``; all compute on the same edges with the same dropout masks. ``torch engine``: ours, without DGL.
``text``: MiniLM on the 5,060 rows of ``--table``; ``random``: normal features, 30 % of the genes non-coding. Genes,
conditions, cells and weights are drawn with seed 0. One warm-up of each (``plain`` with one condition), then
``--repeats`` rounds in which every job runs once, ours 5 times in a row as in a training (their mean counts, since one
lasts a second only); medians and extremes over rounds of seconds and of ratios within a round. Peak memory is the
resident size of this process, which holds torch, DGL and the inputs, over ours alone.

Loss and gradients are compared before the rounds, with weights of seeds 0 to 2: the largest difference of a gradient
over the largest of its parameter's (or a hundredth of the largest of all). Rounding may put one of the millions of
arguments of ReLU and LeakyReLU on the other side of 0, where the slope is another one, in any two computations in
float32. So they are compared once more ``without kinks``, where both functions have none (SiLU, and a slope of 1), and
with seed 0 in float64, where an argument is hardly ever that close to 0.

``one_more_condition``: the share of a whole pass, forward and backward, that a step pays for one more condition: (ours
with 240 - ours with 60 conditions) / 180 over (plain, our kernels, with 60 - the same with 10) / 50.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from unittest.mock import patch

import measure
import numpy as np
import plain
import torch
import torch.nn.functional as F
from torch import Tensor

from grape_dgl.engine import Engine
from grape_dgl.losses import reconstruction_loss, structure_loss
from grape_dgl.memory import peak_mb, reset_peak
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.nn.biotype import GATv2

CELLS, CONDITIONS, MORE, IN_A_ROW = 2000, 60, 240, 5
ENGINES: tuple[Engine, ...] = ("dgl", "torch")


class Step:
    """One step of a model on random cells, both ways."""

    def __init__(self, model: GRAPE, genes: GeneInputs, conditions: int = CONDITIONS) -> None:
        self.model, self.genes = model.train(), genes
        draw = np.random.default_rng(0)
        self.targets = [(int(gene),) for gene in draw.choice(len(genes), conditions, replace=False)]
        generator, dtype = torch.Generator().manual_seed(0), next(model.parameters()).dtype
        self.control = torch.rand(conditions, len(genes), generator=generator, dtype=dtype)
        self.cells = torch.rand(2 * CELLS, len(genes), generator=generator, dtype=dtype)
        with torch.no_grad():
            z = model.represent(genes)
            self.edges = plain.shared_edges(model, z, model.learn_graph(z))

    def fast(self, conditions: int = 0, cells: int = CELLS) -> float:
        """Of the first ``conditions`` (0: all)."""
        conditions = conditions or len(self.targets)
        model, place = self.model, torch.arange(cells) % conditions
        z = model.represent(self.genes)
        structure = model.learn_graph(z)
        torch.manual_seed(1)
        graph = model.graph(structure.pairs, self.genes.coding)
        change = model.propagate(graph, z.fused, self.targets[:conditions])
        delta = model.config.training.huber_delta
        parts = reconstruction_loss(change, self.control[:conditions], place, self.cells[:cells], delta)
        loss = parts[0] + parts[1] + model.config.structure.regulariser * structure_loss(structure)
        loss.backward()
        return float(loss.detach())

    def plain(self, conditions: int = CONDITIONS, products: bool = False) -> float:
        """``products``: sums over edges by our sparse products, where these are chosen."""
        if not products:
            with plain.as_first_written():
                return self.plain(conditions, products=True)
        place = torch.arange(CELLS) % conditions
        cells = [self.cells[:CELLS][place == row] for row in range(conditions)]
        losses = [(part, self.control[row], len(part) / CELLS) for row, part in enumerate(cells)]
        return plain.step(self.model, self.genes, self.targets[:conditions], losses, self.edges, masks_seed=1)

    def gradients(self, of: Callable[[], float]) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients, which are left blank."""
        self.model.zero_grad()
        loss = of()
        found = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        self.model.zero_grad()
        return loss, found


@contextmanager
def without_kinks() -> Iterator[None]:
    """Of ReLU in what is computed, and of LeakyReLU in models that are made."""
    made = partialmethod(GATv2.__init__, negative_slope=1.0)
    relu = patch.multiple(torch, relu=F.silu, relu_=F.silu)
    with relu, patch.object(GATv2, "__init__", made):
        yield


def differences(step: Step) -> dict[str, float]:
    """Of loss and gradients, relative."""
    (loss, fast), (other, slow) = step.gradients(lambda: step.fast(CONDITIONS)), step.gradients(step.plain)
    largest = max(float(one.abs().max()) for one in slow.values())
    apart = [
        float((fast[name] - one).abs().max()) / max(float(one.abs().max()), 0.01 * largest)
        for name, one in slow.items()
    ]
    return {"loss": abs(loss - other) / abs(other), "gradients": max(apart)}


def slope(more: Sequence[float], less: Sequence[float], number: int) -> list[float]:
    return [(a - b) / number for a, b in zip(more, less, strict=True)]


def main() -> None:
    parser = measure.arguments("Times a training step.")
    parser.add_argument("--graph", choices=["text", "random"], default="text")
    parser.add_argument("--table", type=Path, default=measure.TABLE)
    parser.add_argument("--genes", type=int, default=5060)
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    text = given.graph == "text"
    genes = measure.text_genes(given.table, given.genes) if text else measure.random_genes(given.genes)

    def new_step(engine: Engine, seed: int = 0, dtype: torch.dtype = torch.float32) -> Step:
        model = measure.new_model(genes, engine, seed, model={"width": given.width})
        return Step(model.to(dtype), genes.to("cpu", dtype), MORE)

    step, other = (new_step(engine) for engine in ENGINES)
    reset_peak()
    step.fast(CONDITIONS)
    peak = peak_mb()
    step.fast()
    other.fast(CONDITIONS)
    for products in (False, True):
        step.plain(1, products)
    ours: dict[str, Callable[[], float]] = {
        "fast": lambda: step.fast(CONDITIONS),
        "fast, more conditions": step.fast,
        "fast, twice the cells": lambda: step.fast(CONDITIONS, 2 * CELLS),
        "torch engine": lambda: other.fast(CONDITIONS),
    }
    jobs: dict[str, Callable[[], object]] = {
        **{name: lambda job=job: [job() for _ in range(IN_A_ROW)] for name, job in ours.items()},
        "plain": step.plain,
        "plain, our kernels": lambda: step.plain(products=True),
        "plain, our kernels, 10 conditions": lambda: step.plain(10, products=True),
    }
    apart = [differences(new_step("dgl", seed)) for seed in range(3)]
    with without_kinks():
        smooth = [differences(new_step("dgl", seed)) for seed in range(3)]
    double = differences(new_step("dgl", dtype=torch.float64))
    seconds = measure.paired(jobs, given.repeats)
    seconds |= {name: [value / IN_A_ROW for value in seconds[name]] for name in ours}
    fast = seconds["fast"]
    whole = slope(seconds["plain, our kernels"], seconds["plain, our kernels, 10 conditions"], CONDITIONS - 10)
    more = slope(seconds["fast, more conditions"], fast, MORE - CONDITIONS)
    found = {
        "genes": len(genes),
        "edges": {"learned": len(step.edges["learned"][0])},
        "seconds": {name: measure.spread(values) for name, values in seconds.items()},
        "times_faster": {name: measure.ratio(seconds[name], fast) for name in ("plain", "plain, our kernels")},
        "torch_engine_takes": measure.ratio(seconds["torch engine"], fast),
        "one_more_condition": measure.ratio(more, whole),
        "relative_difference": {name: measure.spread([one[name] for one in apart]) for name in apart[0]},
        "without_kinks": {name: measure.spread([one[name] for one in smooth]) for name in smooth[0]},
        "float64": double,
        "peak_memory_mb": peak,
    }
    measure.report("step", given, found)


if __name__ == "__main__":
    main()
