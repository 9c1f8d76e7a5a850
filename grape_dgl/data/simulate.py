"""The ``demo`` data set: a simulated knock-out screen with a known gene network, a pure function of its parameters.

The biology is in demo_biology; here cells are drawn from it (negative-binomial counts) and written as the files a user
would bring, so that the demo is read through the same door as every other screen.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from grape_dgl.data import demo_biology
from grape_dgl.errors import DataError, did_you_mean

FORMAT = 1
"""Raise it when equal parameters give other files than before; it is part of the cache name."""
CELLS_PER_BLOCK = 1000
_LEAST = {"genes": 30, "conditions": 4, "cells": 50, "batches": 1, "seed": 0, "sequence_length": 50}


@dataclass(frozen=True)
class Demo:
    """Parameters of a simulated screen; equal parameters give equal data. DataError where one is out of range."""

    genes: int = 300
    """Measured genes; a tenth of the targets come on top as genes that are not measured."""
    conditions: int = 48
    """Perturbations without the control; a quarter are doubles."""
    cells: int = 6000
    """All cells; 12 % of them are controls."""
    batches: int = 2
    seed: int = 0
    sequence_length: int = 600
    """Bases of DNA per gene."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise DataError(f"demo parameter '{name}' is {getattr(self, name)}; expected {least} or more")
        if self.singles > self.genes // 2:
            raise DataError(
                f"demo has {self.genes} genes for {self.singles} targets; give at least twice as many genes"
            )
        if self.cells < 3 * (self.conditions + 1):
            raise DataError(f"demo has {self.cells} cells for {self.conditions} conditions; give at least 3 cells each")

    @property
    def doubles(self) -> int:
        """Number of conditions that perturb two genes."""
        return self.conditions // 4

    @property
    def singles(self) -> int:
        """Number of conditions that perturb one gene, which is also the number of targets."""
        return self.conditions - self.doubles

    @classmethod
    def parse(cls, spec: str) -> Demo:
        """``"demo"`` or ``"demo:genes=5060,seed=3"``; DataError names an unknown or unreadable parameter."""
        head, _, tail = spec.partition(":")
        if head != "demo":
            raise DataError(f"'{spec}' is not a demo; expected 'demo' or 'demo:genes=300,seed=1'")
        known = [field.name for field in fields(cls)]
        values: dict[str, int] = {}
        for item in filter(None, tail.split(",")):
            name, _, text = (part.strip() for part in item.partition("="))
            if name not in known:
                raise DataError(
                    f"unknown demo parameter '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}"
                )
            if not (text.isascii() and text.isdecimal()):
                raise DataError(f"demo parameter '{item}' is not a whole number; expected {name}=NUMBER")
            values[name] = int(text)
        return cls(**values)


class Simulation(NamedTuple):
    """A simulated screen and the truth behind it."""

    screen: ad.AnnData
    """Raw counts, CSR float32 [cells, measured]; condition and batch in ``obs``, the gene table in ``var``."""
    genes: pd.DataFrame
    """All genes, measured first: ensgene, symbol, biotype, description ("" where lacking)."""
    sequences: tuple[str, ...]
    """DNA of each gene, "" where lacking."""
    network: pd.DataFrame
    """Planted undirected links, each once: source, target (symbols), weight > 0."""
    effects: pd.DataFrame
    """Planted change in log rate [conditions, all genes]."""
    module: np.ndarray
    """Module of each gene, int [all genes]."""


class DemoFiles(NamedTuple):
    """The files of a demo: what a user would bring, and the planted truth."""

    screen: Path
    """AnnData of raw counts."""
    genes: Path
    """Tab-separated ensgene, symbol, biotype, description."""
    sequences: Path
    """FASTA, named by symbol."""
    network: Path
    """Tab-separated source, target, weight of the planted links."""


def simulate(demo: Demo) -> Simulation:
    """Draw the screen, the gene annotation and the network behind both."""
    # one stream per part: another number of cells leaves the genes and the network as they are
    seeds = np.random.SeedSequence(demo.seed).spawn(6)
    plan_rng, text_rng, dna_rng, network_rng, effects_rng, cells_rng = map(np.random.default_rng, seeds)
    plan = demo_biology.draw_plan(demo.genes, demo.singles, demo.doubles, plan_rng)
    genes = demo_biology.draw_genes(plan, text_rng)
    spread = demo_biology.draw_network(plan.module, network_rng)
    effects = demo_biology.draw_effects(plan, spread, effects_rng)
    symbol = genes["symbol"].to_numpy()
    labels = ["+".join(sorted(symbol[list(condition)])) for condition in plan.conditions]
    links = sparse.triu(spread).tocoo()
    network = pd.DataFrame({"source": symbol[links.row], "target": symbol[links.col], "weight": links.data})

    condition = assign(demo.cells, demo.conditions, round(0.12 * demo.cells), cells_rng)
    counts, batch = draw_cells(plan, effects[:, : demo.genes], condition, demo.batches, 1.5 * demo.genes, cells_rng)
    obs = pd.DataFrame(
        {
            "condition": pd.Categorical.from_codes(condition + 1, ["control", *labels]),
            "batch": pd.Categorical([f"batch{code + 1}" for code in batch]),
        },
        index=[f"cell{number:07d}" for number in range(demo.cells)],
    )
    var = genes.iloc[: demo.genes].rename(columns={"symbol": "gene_name", "ensgene": "ensembl_id"})
    uns = {"demo": asdict(demo), "demo_network": {name: network[name].to_numpy() for name in network}}
    return Simulation(
        screen=ad.AnnData(X=counts, obs=obs, var=var.set_index(pd.Index(symbol[: demo.genes])), uns=uns),
        genes=genes,
        sequences=demo_biology.draw_sequences(plan.module, demo.sequence_length, dna_rng),
        network=network,
        effects=pd.DataFrame(effects, index=labels, columns=symbol),
        module=plan.module,
    )


def assign(cells: int, conditions: int, controls: int, rng: np.random.Generator) -> np.ndarray:
    """Condition of each cell [cells] in random order, -1 control; sizes vary mildly and none is empty."""
    controls = max(2, controls)
    share = rng.uniform(0.7, 1.3, size=conditions)
    sizes = 1 + rng.multinomial(cells - controls - conditions, share / share.sum())
    return rng.permutation(np.repeat(np.arange(-1, conditions), [controls, *sizes]))


def draw_cells(
    plan: demo_biology.Plan,
    effects: np.ndarray,
    condition: np.ndarray,
    batches: int,
    depth: float,
    rng: np.random.Generator,
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts, CSR float32 [cells, measured], and batch [cells]; drawn in blocks, so that no dense matrix is made.

    A cell's rate is base + effect + batch shift + the cell's own state of each module, scaled to its library size.
    ``effects``: change in log rate [conditions, measured]. ``condition`` [cells]: index into effects, -1 control.
    ``depth``: median library size, in counts.
    """
    cells, genes = len(condition), effects.shape[1]
    batch = rng.integers(0, batches, size=cells)
    base = rng.normal(0, 1.4, size=genes) - 1.2 * ~plan.coding[:genes] - 3.0 * (rng.random(genes) < 0.25)
    targets = plan.targets[plan.targets < genes]
    base[targets] = np.maximum(base[targets], 0.5)  # screens target genes that are expressed
    batch_shift = rng.normal(0, 0.12, size=(batches, genes))
    library = rng.lognormal(np.log(depth), 0.35, size=cells)
    library *= rng.uniform(0.85, 1.15, size=batches)[batch]
    shape = rng.uniform(1.5, 6.0, size=genes)  # of the gamma-Poisson mixture; variance = mean + mean^2 / shape
    change = np.concatenate([effects, np.zeros((1, genes))])  # the last row, index -1, is the control
    blocks = []
    for start in range(0, cells, CELLS_PER_BLOCK):
        rows = slice(start, min(start + CELLS_PER_BLOCK, cells))
        state = rng.normal(0, 0.2, size=(rows.stop - start, plan.module.max() + 1))[:, plan.module[:genes]]
        rate = np.exp(base + change[condition[rows]] + batch_shift[batch[rows]] + state)
        rate *= library[rows, None] / rate.sum(axis=1, keepdims=True)
        rate *= rng.standard_gamma(np.broadcast_to(shape, rate.shape)) / shape
        blocks.append(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sparse.vstack(blocks, format="csr"), batch


def write_demo(folder: Path, demo: Demo) -> DemoFiles:
    """Write the four files of a demo into ``folder``; each appears whole or not at all, the screen last."""
    files = _files(folder)
    result = simulate(demo)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        partial = _files(Path(name))
        result.genes.to_csv(partial.genes, sep="\t", index=False)
        result.network.to_csv(partial.network, sep="\t", index=False)
        records = zip(result.genes["symbol"], result.sequences, strict=True)
        partial.sequences.write_text("".join(f">{symbol}\n{dna}\n" for symbol, dna in records if dna), encoding="ascii")
        result.screen.write_h5ad(partial.screen, compression="lzf")
        for source, target in zip(reversed(partial), reversed(files), strict=True):
            os.replace(source, target)
    return files


def demo_files(spec: str, cache: Path) -> DemoFiles:
    """The files of ``"demo"`` or ``"demo:genes=...,seed=..."`` in the cache folder, written on first use."""
    demo = Demo.parse(spec)
    changed = [f"{f.name}={getattr(demo, f.name)}" for f in fields(Demo) if getattr(demo, f.name) != f.default]
    folder = cache / "-".join([f"demo-v{FORMAT}", *changed])
    files = _files(folder)
    return files if files.screen.exists() else write_demo(folder, demo)


def _files(folder: Path) -> DemoFiles:
    return DemoFiles(folder / "screen.h5ad", folder / "genes.tsv", folder / "sequences.fa", folder / "network.tsv")
