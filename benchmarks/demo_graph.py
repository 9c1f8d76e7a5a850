"""How well does the gene graph of the features recover the planted network of our simulator, and what limits it?

Run: python benchmarks/demo_graph.py [--seeds 0 1 2 3 4] [--bases 600 3000] [--sparsity degree:20 degree:60 0.01]

Contract: the graph of Eq. 3-5 after alignment, which no expression has touched, of ``demo:seed=S,sequence_length=B`` in
default settings; AUROC of its edge weights against the planted links over all pairs of genes (.5 is chance; a pair that
is no edge counts as 0, so a sparse graph leaves most pairs tied). Beside it the AUROC of the best that any model could
say that knew the module of every gene: links leave the modules too. A tenth of the genes has no description, another no
DNA: each line stands for all genes and then for those that have both, where features carry the network. With more bases
the motifs of a module are easier to see. Markdown on stdout, means over seeds.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

import grape_dgl
from grape_dgl.data.catalog import default_cache, resolve
from grape_dgl.data.simulate import Demo, simulate
from grape_dgl.evaluation.network import edge_auroc
from grape_dgl.features.encode import encode
from grape_dgl.graph.files import edge_table
from grape_dgl.pipeline import build_graph
from grape_dgl.run import gene_inputs


def aurocs(seed: int, bases: int, sparsities: list[str]) -> list[list[float]]:
    """Of the graph at each sparsity, then of the modules; over all genes, and over those with text and DNA."""
    source = resolve(f"demo:seed={seed},sequence_length={bases}")
    assert source.network is not None
    annotation = grape_dgl.Annotation.from_files(source.annotation, source.sequences)
    genes = grape_dgl.read_screen(source.path, annotation=annotation).genes
    network = pd.read_csv(source.network, sep="\t", keep_default_na=False)
    features = encode(genes, grape_dgl.Config().features, default_cache() / "features")
    both = np.logical_and.reduce([one.present for one in features.values()])
    inputs, tables = gene_inputs(genes, features), []
    for sparsity in sparsities:
        config = grape_dgl.Config.resolve(structure={"sparsity": sparsity}, training={"seed": seed})
        pairs, _ = build_graph(inputs, config)
        tables.append(edge_table(pairs, genes))
    truth = simulate(Demo(seed=seed, sequence_length=bases))
    first, second = np.triu_indices(len(truth.module), k=1)
    same = truth.module[first] == truth.module[second]
    names = truth.genes["symbol"].to_numpy()
    tables.append(pd.DataFrame({"source": names[first[same]], "target": names[second[same]], "weight": 1.0}))
    groups = [genes.symbol.astype(str).tolist(), genes.symbol[both].astype(str).tolist()]
    return [[edge_auroc(table, network, symbols) for table in tables] for symbols in groups]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--bases", type=int, nargs="+", default=[600, 3000])
    parser.add_argument("--sparsity", nargs="+", default=["degree:20", "degree:60", "0.01"])
    given = parser.parse_args()
    print("| bases of DNA | genes | " + " | ".join([*given.sparsity, "modules"]) + " |")
    print("|---" * (len(given.sparsity) + 3) + "|")
    for bases in given.bases:
        each = np.array([aurocs(seed, bases, given.sparsity) for seed in given.seeds])
        for name, group in zip(("all", "with text and DNA"), each.transpose(1, 2, 0), strict=True):
            cells = [f"{one.mean():.3f} [{one.min():.3f}, {one.max():.3f}]" for one in group]
            print(f"| {bases} | {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
