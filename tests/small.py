"""A small model and its inputs for the tests of the core."""

from __future__ import annotations

from typing import Any

import torch

from grape_dgl.config import Config
from grape_dgl.engine import Engine
from grape_dgl.model import GRAPE, GeneInputs

GENES, MEASURED = 24, 20
"""Gene 3 has no sequence, gene 5 no text, gene 22 neither; every third gene is non-coding."""


def inputs(genes: int = GENES, seed: int = 0, dtype: torch.dtype = torch.float64) -> GeneInputs:
    draw = torch.Generator().manual_seed(seed)
    values = {m: torch.randn(genes, width, generator=draw).to(dtype) for m, width in (("seq", 6), ("text", 5))}
    present = {m: torch.ones(genes, dtype=torch.bool) for m in values}
    if genes == GENES:
        present["seq"][[3, 22]] = False
        present["text"][[5, 22]] = False
    for m, x in values.items():
        x[~present[m]] = 0
    return GeneInputs(values, present, torch.arange(genes) % 3 != 0)


def config(**sections: Any) -> Config:
    """Width 8, two heads everywhere, two hops, two layers, target degree 3."""
    small: dict[str, dict[str, Any]] = {
        "model": {"hidden": 8, "width": 4, "heads": 2, "dropout": 0.0},
        "structure": {"heads": 2, "hops": 2, "sparsity": "degree:3"},
        "training": {"epochs": 3, "cells_per_step": 60, "device": "cpu"},
    }
    for name, values in sections.items():
        small[name] = small.get(name, {}) | values
    return Config.resolve(**small)  # type: ignore[arg-type]


def model(
    engine: Engine = "torch",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    genes: GeneInputs | None = None,
    measured: int = MEASURED,
    **sections: Any,
) -> GRAPE:
    """An untrained model with frozen statistics and refreshed thresholds, and a read-out large enough to see."""
    torch.manual_seed(seed)
    genes = inputs(dtype=dtype) if genes is None else genes
    made = GRAPE(config(**sections), genes.widths, measured, engine).to(dtype)
    made.readout.weight.data = torch.randn(measured, made.readout.weight.shape[1]).to(dtype)
    made.freeze_statistics(genes)
    with torch.no_grad():
        made.learn_graph(made.represent(genes), refresh=True)
    return made
