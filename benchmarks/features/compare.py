"""What gene features are worth on real cells: kernel ridge (and GRAPE) with different knowledge, on the same splits.

Run: python benchmarks/features/compare.py norman_subset.h5ad --annotation annotables_grch38.tsv.gz \\
         --sequences epd_promoters.fa --summaries gene_summaries.json --go gene2go_human_direct.tsv.gz \\
         [--splits 200] [--grape-splits 0] [--out compare.json]

Contract: splits of the kinds ``condition`` and ``gene`` with seeds 0, 1, ... (70 % to train on, no validation part for
kernel ridge; validation cut from it for GRAPE); each seed also draws the disjoint halves of the controls. Kernel ridge
has fixed penalties, nothing is tuned; GRAPE has its default settings. A score of a condition is averaged over the test
splits it is in, then over conditions (``by_split``: over the conditions of a split, then over splits); differences to
``mean`` are paired by condition and bootstrapped over conditions, which are the sample. ``centred`` is the Pearson
correlation after removing the training mean from both sides.
norman_subset is development data: no claim about other cells.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import grape_dgl
from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.kernel_ridge import KernelRidgeBaseline, identity_kernel, jaccard_kernel, linear_kernel
from grape_dgl.baselines.linear import LinearBaseline
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.config import FeatureConfig, SplitConfig
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.screen import Screen
from grape_dgl.data.vectors import Features
from grape_dgl.features.encode import encode
from grape_dgl.graph.go import read_go
from grape_dgl.pipeline import joined, versions

KINDS = ("condition", "gene")
COLUMNS = ("pcc_delta", "rmse", "centred")


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """NaN where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 1e-12 else float("nan")


def scored(
    screen: Screen, split: grape_dgl.Split, seed: int, predicted: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row per model and test condition."""
    halves = screen.control_halves(seed)
    reference, rows = screen.control_mean(halves.reference), []
    trained = training_changes(screen, [*split.train, *split.val], halves).mean(axis=0)
    truly = np.mean([screen.mean(name) - reference for name in (*split.train, *split.val)], axis=0)
    for model, changes in predicted.items():
        for name, change in zip(split.test, changes, strict=True):
            observed, own = screen.mean(name), screen.control_mean(halves.model, name)
            rows.append({
                "model": model, "kind": split.kind, "seed": seed, "condition": name,
                "pcc_delta": pearson(change, observed - reference),
                "rmse": float(np.sqrt(np.mean((own + change - observed) ** 2))),
                "centred": pearson(change - trained, observed - reference - truly),
            })  # fmt: skip
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over conditions, and the paired difference to ``mean`` in pcc_delta with its 95 % interval."""
    lines = []
    for kind in KINDS:
        part = table[table["kind"] == kind]
        each = part.groupby(["model", "condition"])[list(COLUMNS)].mean()
        base = each["pcc_delta"].xs("mean") if "mean" in part["model"].values else None
        for model in part["model"].unique():
            own = each.xs(model)
            splits = part[part["model"] == model].groupby("seed")["pcc_delta"].mean()
            row = {"split": kind, "model": model, **own.mean().to_dict(), "by_split": splits.mean()}
            if base is not None and model not in ("mean", "control"):
                found = (own["pcc_delta"] - base).dropna().to_numpy()
                drawn = np.random.default_rng(0).choice(found, (2000, len(found))).mean(axis=1)
                low, high = np.percentile(drawn, [2.5, 97.5])
                row |= {"minus_mean": found.mean(), "low": low, "high": high}
            lines.append(row)
    return pd.DataFrame(lines)


def markdown(found: pd.DataFrame) -> str:
    """The table as it stands in the docs."""
    titles = ["split", "model", "Pearson delta", "RMSE", "centred", "by split", "minus `mean`"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in found.to_dict("records"):
        numbers = [
            "-" if np.isnan(row[c]) else f"{row[c]:.4f}" if c == "rmse" else f"{row[c]:.3f}"
            for c in (*COLUMNS, "by_split")
        ]
        known = "minus_mean" in row and not np.isnan(row["minus_mean"])
        difference = f"{row['minus_mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" if known else ""
        lines.append("| " + " | ".join([row["split"], row["model"], *numbers, difference]) + " |")
    return "\n".join(lines)


def features_of(screen: Screen, summaries: Mapping[str, str], dna: Sequence[str]) -> dict[str, Features]:
    """Encoded features by name: text of the annotation, text of the summaries, DNA by each model."""
    cache = default_cache() / "features"
    found = {"minilm": encode(screen.genes, FeatureConfig(), cache, only="text")["text"]}
    if summaries:
        pairs = zip(screen.genes.symbol, screen.genes.description, strict=True)
        texts = np.array([summaries.get(str(symbol)) or described for symbol, described in pairs], dtype=object)
        summarised = dataclasses.replace(screen.genes, description=texts)
        found["minilm summaries"] = encode(summarised, FeatureConfig(), cache, only="text")["text"]
    for model in dna:
        found[model] = encode(screen.genes, FeatureConfig(dna_model=model), cache, only="seq")["seq"]
    return found


def models(features: Mapping[str, Features], terms: Any) -> list[Model]:
    """Kernel ridge on each feature and on mixtures, beside the baselines."""
    kernels = {name: linear_kernel(one.values, one.present) for name, one in features.items()}
    text = kernels["minilm"]

    def ridge(name: str, penalty: float, *parts: Any) -> Model:
        return KernelRidgeBaseline(parts, penalty, f"{name}, penalty {penalty:g}")

    made: list[Model] = [ControlBaseline(), MeanBaseline(), LinearBaseline(joined({"text": features["minilm"]}))]
    made.append(ridge("identity", 0.1, identity_kernel))
    made += [ridge(name, penalty, kernel) for name, kernel in kernels.items() for penalty in (0.1, 3.0)]
    made.append(ridge("identity + minilm", 0.1, identity_kernel, text))
    if terms is not None:
        go = jaccard_kernel(terms)
        made += [
            ridge("GO", 0.1, go),
            ridge("identity + GO", 0.01, identity_kernel, go),
            ridge("minilm + GO", 0.1, text, go),
        ]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen")
    parser.add_argument("--annotation", action="append", default=[])
    parser.add_argument("--sequences", action="append", default=[])
    parser.add_argument("--summaries", type=Path)
    parser.add_argument("--go", type=Path)
    parser.add_argument("--dna", nargs="*", default=["kmer", "cispliceai"])
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--grape-splits", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    annotation = grape_dgl.Annotation.from_files(arguments.annotation, arguments.sequences)
    screen = grape_dgl.read_screen(arguments.screen, annotation=annotation)
    summaries = json.loads(arguments.summaries.read_text(encoding="utf-8")) if arguments.summaries else {}
    terms = read_go(arguments.go, screen.genes, None) if arguments.go else None
    candidates = models(features_of(screen, summaries, arguments.dna), terms)
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for seed in tqdm(range(arguments.splits), desc=f"kernel ridge, {kind}", file=sys.stderr):
            split = grape_dgl.make_split(screen.conditions, SplitConfig(kind=kind, validation=0.0), seed)
            halves, predicted = screen.control_halves(seed), {}
            for model in candidates:
                model.fit(screen, split, halves)
                predicted[model.name] = model.predict(split.test)
            rows += scored(screen, split, seed, predicted)
        for seed in range(arguments.grape_splits):
            config = grape_dgl.Config.resolve(split={"kind": kind}, training={"seed": seed})
            split = grape_dgl.make_split(screen.conditions, config.split, seed)
            with tempfile.TemporaryDirectory() as folder:
                run = grape_dgl.train(screen, Path(folder) / "run", config, split, cache=default_cache() / "features")
                predictions = run.predict(split.test)
            order = [predictions.conditions.index(name) for name in split.test]
            rows += scored(screen, split, seed, {"GRAPE": predictions.change[order]})
    table = pd.DataFrame(rows)
    print(markdown(summary(table)))
    if arguments.out:
        from grape_dgl.writing import write_json

        known = table.astype(object).where(table.notna(), None).to_dict("records")
        write_json(arguments.out, {"versions": versions(), "splits": arguments.splits, "rows": known})


if __name__ == "__main__":
    main()
