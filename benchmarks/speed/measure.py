"""What the scripts of this folder share: genes, paired timings, and the contract that goes into the JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

import grape_dgl
from grape_dgl.config import Config
from grape_dgl.data.catalog import default_cache
from grape_dgl.engine import Engine
from grape_dgl.features.store import encode_all
from grape_dgl.features.text import TextEncoder
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.pipeline import versions

DATA = Path(os.environ.get("GRAPE_DGL_TEST_DATA", "."))
TABLE = DATA / "adamson_genes.tsv.gz"
"""Columns symbol, biotype, description: of the 5,060 genes of the Adamson screen."""
ALL_GENES = DATA / "annotables_grch38.tsv.gz"
"""The same columns of all genes of Ensembl."""


def text_genes(table: Path, number: int = 0) -> GeneInputs:
    """The first ``number`` genes (0: all) of a table, by MiniLM on what it says of them."""
    return _encoded(_read(table)[: number or None])


def mixed_genes(table: Path, number: int, noncoding: float = 0.3, seed: int = 0) -> GeneInputs:
    """So many genes that a table describes, drawn with ``seed``; those of fewer are among those of more."""
    rows = _read(table)
    rows = rows[rows["description"] != ""].drop_duplicates("symbol").sample(frac=1, random_state=seed)
    coding, few = rows["biotype"] == "protein_coding", round(noncoding * number)
    return _encoded(pd.concat([rows[coding][: number - few], rows[~coding][:few]]))


def _read(table: Path) -> pd.DataFrame:
    return pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False, quoting=3)


def _encoded(rows: pd.DataFrame) -> GeneInputs:
    text = [f"{symbol}: {about}" for symbol, about in zip(rows["symbol"], rows["description"], strict=True)]
    vectors = encode_all(text, TextEncoder("minilm", "mean"), default_cache() / "features", "descriptions")
    coding = torch.from_numpy((rows["biotype"] == "protein_coding").to_numpy())
    return _inputs(torch.from_numpy(vectors), coding)


def random_genes(number: int, noncoding: float = 0.3, seed: int = 0) -> GeneInputs:
    """Normal features of MiniLM's width: a graph without hubs."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(number, 384, generator=draw)
    return _inputs(values, torch.rand(number, generator=draw) >= noncoding)


def _inputs(values: torch.Tensor, coding: torch.Tensor) -> GeneInputs:
    return GeneInputs({"text": values}, {"text": torch.ones(len(values), dtype=torch.bool)}, coding)


def new_model(genes: GeneInputs, engine: Engine, seed: int = 0, **sections: Any) -> GRAPE:
    """Untrained, its thresholds those of its target degree, its read-out not blank."""
    torch.manual_seed(seed)
    model = GRAPE(Config.resolve(**sections), genes.widths, len(genes), engine)
    model.freeze_statistics(genes)
    torch.nn.init.normal_(model.readout.weight, std=0.1)
    with torch.no_grad():
        model.learn_graph(model.represent(genes), refresh=True)
    return model


def paired(jobs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Wall seconds of every job, each once in each of ``repeats`` rounds, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(repeats):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
            print(f"round {number + 1} of {repeats}: {name} {seconds[name][-1]:.3f} s", file=sys.stderr)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": median(values), "least": min(values), "largest": max(values)}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Of two jobs, round by round."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


def arguments(description: str, repeats: int = 3, threads: int = 2) -> argparse.ArgumentParser:
    """What every script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--out", type=Path)
    return parser


def commit() -> str:
    """Of the package and the scripts that ran, with a + where they were changed since."""
    git = ["git", "-C", str(Path(grape_dgl.__file__).parents[1])]
    head = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "diff", "--quiet", "HEAD", "--", "grape_dgl", "benchmarks/*.py"], check=False
    ).returncode
    return head + "+" * changed


def report(script: str, given: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """JSON on stdout and in ``--out``: the figures, and what decides them beside the machine's other work."""
    settings = {name: str(value) for name, value in vars(given).items() if name != "out"}
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    malloc = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    contract = {
        "script": script, "commit": commit(), "settings": settings, "machine": machine, "malloc": malloc,
        "versions": versions(),
    }  # fmt: skip
    text = json.dumps(contract | dict(found), indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
