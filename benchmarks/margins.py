"""How many observed means lie within the 90 % margins of the preset ``best``?

Run: python benchmarks/margins.py --data FOLDER [--splits 40] [--suite benchmarks/suites/accuracy.toml]

Contract: the data sets and kinds of split of the suite, seeds 0, 1, ...; response and margins from training and
validation conditions and the model's half of the controls, as in a training (``Expectations.of``), without the network;
share of all pairs of test condition and gene whose observed change from the model's half lies within the margin, and of
those whose gene has a margin: others are 0 in all training conditions. Last, of the changes that are predicted (not 0)
at genes which the condition does not perturb itself, the share that is smaller than its margin, so that even the
direction is open. Markdown on stdout, means over splits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from grape_dgl.config import Config, SplitConfig, SplitKind
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.splits import make_split
from grape_dgl.suite.models import Bench
from grape_dgl.suite.spec import Suite
from grape_dgl.training.expectations import Expectations


def covered(bench: Bench, kind: SplitKind, seed: int) -> tuple[float, float, float]:
    """Covered of all genes, and of those with a margin; wider than a change that is predicted beside the targets."""
    screen = bench.screen
    split, control = make_split(screen.conditions, SplitConfig(kind=kind), seed), screen.control_halves(seed)
    settings = Config.resolve("best").response
    kernels = bench.knowledge([])(screen, control)
    response = Expectations.of(screen, split.train, split.val, control, settings, kernels).response
    targets = [screen.targets(name).tolist() for name in split.test]
    observed = np.stack([screen.mean(name) - screen.control_mean(control.model, name) for name in split.test])
    margin = response.margin(targets)
    change, some = response.change(targets, kernels), response.margins.any(axis=0)
    inside = np.abs(observed - change) <= margin + 1e-6
    other = np.array([~np.isin(np.arange(screen.genes.measured), ids) for ids in targets]) & (change != 0)
    return float(inside.mean()), float(inside[:, some].mean()), float((margin > np.abs(change))[other].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, default=Path(__file__).parent / "suites" / "accuracy.toml")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=40)
    given = parser.parse_args()
    suite = Suite.read(given.suite, [given.data])
    print("| data | split | covered, all genes | genes with a margin | wider than the change |\n|---|---|---|---|---|")
    for spec in suite.data:
        bench = Bench(spec, default_cache())
        for kind in suite.splits:
            shares = np.mean([covered(bench, kind, seed) for seed in range(given.splits)], axis=0)
            print(f"| {spec.name} | {kind} | {shares[0]:.3f} | {shares[1]:.3f} | {shares[2]:.3f} |")


if __name__ == "__main__":
    main()
