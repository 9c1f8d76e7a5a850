"""How fast are the predictions of all single perturbations? Ours against a whole pass per gene.

Run: python benchmarks/speed/prediction.py [--width 64|16] [--engine dgl|torch] [--sample 40] [--repeats 3] [--out F]

Contract: an untrained model (seed 0) on MiniLM features of the 5,060 rows of ``--table``, two layers of 4 heads x
``--width``, float64 as trained models are (``training.ensemble.ready``). ``all``: every gene once, in parts, written to
an ``.h5ad`` file as ``grape-dgl predict --all-single`` does. ``plain``: one ``HeteroGraphConv`` pass per gene for a
sample of ``--sample`` genes (seed 0), on DGL's own kernels and on ours; its seconds for all genes are extrapolated from
the sample; they share a graph that is built before. One warm-up on few genes, then ``--repeats`` rounds. The sample's
predictions are compared once: largest difference over the largest change. Peak memory: this process, over ours alone.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import measure
import numpy as np
import plain
import torch

from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.memory import peak_mb, reset_peak
from grape_dgl.training.ensemble import Ensemble, ready


def everything(ensemble: Ensemble, conditions: int | None = None) -> None:
    """The first ``conditions`` genes (None: all), one by one perturbed, into a file that is gone afterwards."""
    genes = len(ensemble.genes)
    nothing = np.broadcast_to(np.float32(0), (genes, genes))
    names = np.array([f"G{gene}" for gene in range(genes)], dtype=object)
    blank = Predictions(tuple(names), names, change=nothing, control=np.zeros(genes), expected=nothing)

    def parts():  # noqa: ANN202
        start = 0
        for change in ensemble.predict([(gene,) for gene in range(genes)[:conditions]]):
            yield range(start, start + len(change.mean)), {"X": change.mean, "change": change.mean}
            start += len(change.mean)

    with tempfile.TemporaryDirectory() as folder:
        blank.write_rows(Path(folder) / "all.h5ad", ["change"], parts())


def main() -> None:
    parser = measure.arguments("Times the predictions of all single perturbations.")
    parser.add_argument("--table", type=Path, default=measure.TABLE)
    parser.add_argument("--genes", type=int, default=5060)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--engine", choices=["dgl", "torch"], default="dgl")
    parser.add_argument("--sample", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    genes = measure.text_genes(given.table, given.genes)
    ensemble = ready([measure.new_model(genes, given.engine, model={"width": given.width})], genes)
    (model,), genes = ensemble.members, ensemble.genes
    sample = [(int(gene),) for gene in np.random.default_rng(0).choice(len(genes), given.sample, replace=False)]
    with torch.no_grad():
        z = model.represent(genes)
        graph = model.graph(model.learn_graph(z).pairs, genes.coding)

    def passes(kernels: AbstractContextManager[None] | None = None) -> np.ndarray:
        with kernels or plain.as_first_written():
            return torch.stack(list(plain.predictions(model, graph, z.fused, sample))).numpy()

    everything(ensemble, 10)
    reset_peak()
    everything(ensemble)
    peak = peak_mb()
    mine = next(iter(ensemble.predict(sample))).mean
    apart = float(np.abs(mine - passes()).max() / np.abs(mine).max())
    jobs = {"all": lambda: everything(ensemble), "plain": passes, "plain, our kernels": lambda: passes(nullcontext())}
    seconds = measure.paired(jobs, given.repeats)
    whole = {name: [value * len(genes) / given.sample for value in seconds[name]] for name in jobs if name != "all"}
    found = {
        "genes": len(genes),
        "seconds": measure.spread(seconds["all"]),
        "seconds_plain_extrapolated": {name: measure.spread(values) for name, values in whole.items()},
        "times_faster": {name: measure.ratio(values, seconds["all"]) for name, values in whole.items()},
        "relative_difference": apart,
        "peak_memory_mb": peak,
    }
    measure.report("prediction", given, found)


if __name__ == "__main__":
    main()
