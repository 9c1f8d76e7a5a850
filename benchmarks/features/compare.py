"""What gene features are worth on real cells: kernel ridge (and GRAPE) with different knowledge, on the same splits.

Run: python benchmarks/features/compare.py norman_subset.h5ad --annotation annotables_grch38.tsv.gz \\
         --sequences epd_promoters.fa --summaries gene_summaries.json --go-text adamson_genes.tsv.gz \\
         --go gene2go_human_direct.tsv.gz [--splits 200] [--grape-splits 10 --runs FOLDER] [--out compare.json]

Contract: splits of the kinds ``condition`` and ``gene`` with seeds 0, 1, ... (70 % to train on, no validation part for
kernel ridge; validation cut from it for GRAPE); each seed also draws the disjoint halves of the controls. Kernel ridge
has fixed penalties, nothing is tuned; GRAPE has its default settings but at most 12 epochs (it ends after 4 without a
better validation score), and only the named features: ``identity`` is one
column per gene, ``GO graph`` a prior graph beside it. Its runs stay in FOLDER, and one that is there is not trained
again; its rows stand in a table of their own, with the baselines on the same splits. A score of a condition is
averaged over the test splits it is in, then over conditions (``by_split``: over the conditions of a split, then over
splits, with the standard error over splits); differences to ``mean`` are paired by condition and bootstrapped over
conditions, which are the sample. ``centred`` is the Pearson correlation after removing the training mean from both
sides.
norman_subset is development data: no claim about other cells.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import grape_dgl
from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.kernel_ridge import KernelRidgeBaseline, identity_kernel, jaccard_kernel
from grape_dgl.baselines.linear import LinearBaseline
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import Model, training_changes
from grape_dgl.config import FeatureConfig, SplitConfig
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.screen import Screen
from grape_dgl.data.vectors import Features
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.features.encode import encode
from grape_dgl.graph.go import read_go
from grape_dgl.graph.hetero import Prior
from grape_dgl.graph.priors import go_prior
from grape_dgl.pipeline import joined, versions
from grape_dgl.training.knowledge import linear_kernel
from grape_dgl.writing import write_json

KINDS = ("condition", "gene")
COLUMNS = ("pcc_delta", "rmse", "centred")
BUDGET = {"epochs": 12, "patience": 4}
"""Of a GRAPE training."""
Variant = tuple[Screen, Sequence[Prior], str]
"""What GRAPE is given: cells with the vectors of their genes, prior graphs, and its ablation."""


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
            row = {
                "split": kind,
                "model": model,
                **own.mean().to_dict(),
                "by_split": splits.mean(),
                "error": splits.sem(),
            }
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
        numbers = ["-" if np.isnan(row[c]) else f"{row[c]:.4f}" if c == "rmse" else f"{row[c]:.3f}" for c in COLUMNS]
        numbers.append("-" if np.isnan(row["by_split"]) else f"{row['by_split']:.3f} ± {row['error']:.3f}")
        known = "minus_mean" in row and not np.isnan(row["minus_mean"])
        difference = f"{row['minus_mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" if known else ""
        lines.append("| " + " | ".join([row["split"], row["model"], *numbers, difference]) + " |")
    return "\n".join(lines)


def features_of(screen: Screen, texts: Mapping[str, Mapping[str, str]], dna: Sequence[str]) -> dict[str, Features]:
    """Encoded features by name: text of the annotation, other ``texts`` (symbol -> text) first, DNA by each model."""
    cache = default_cache() / "features"
    found = {"minilm": encode(screen.genes, FeatureConfig(), cache, only="text")["text"]}
    for name, known in texts.items():
        pairs = list(zip(screen.genes.symbol, screen.genes.description, strict=True))
        described = np.array([known.get(str(symbol)) or usual for symbol, usual in pairs], dtype=object)
        other = dataclasses.replace(screen.genes, description=described)
        found[name] = encode(other, FeatureConfig(), cache, only="text")["text"]
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


def variants(screen: Screen, features: Mapping[str, Features], go: Path | None) -> dict[str, Variant]:
    """GRAPE's feature sets by name: the screen with these vectors only, and prior graphs beside them."""
    alone = np.eye(len(screen.genes), dtype=np.float32)
    identity = Features(alone, np.ones(len(alone), dtype=bool), {"encoder": "identity"})
    texts = [name for name in features if name.startswith("minilm")]
    dna = [name for name in features if name not in texts]
    sets: dict[str, dict[str, Features]] = {"identity": {"identity": identity}}
    sets |= {name: {"text": features[name]} for name in texts} | {
        name: {"text": features["minilm"], "seq": features[name]} for name in dna
    }
    sets |= {f"minilm + {name}": {"text": features["minilm"], "seq": features[name]} for name in dna[:1]}
    made: dict[str, Variant] = {}
    nothing = [""] * len(screen.genes)
    for name, vectors in sets.items():
        bare = dataclasses.replace(
            screen.genes, description=np.array(nothing, dtype=object), sequence=tuple(nothing), vectors=vectors
        )
        # A target without DNA needs something that tells it apart: the text is there, and only_seq leaves it out.
        made[name] = dataclasses.replace(screen, genes=bare), (), "only_seq" if name in dna else "none"
    if go is not None:
        prior = go_prior(go, screen.genes)
        made |= {f"{name} + GO graph": (made[name][0], (prior,), "none") for name in ("identity", list(sets)[-1])}
    return made


def grape_rows(
    made: Mapping[str, Variant], simple: Sequence[Model], kind: str, seed: int, runs: Path
) -> list[dict[str, Any]]:
    """Scores of GRAPE with every feature set, and of ``simple``, on one split; a run that is in ``runs`` is kept."""
    changes: dict[str, np.ndarray] = {}
    for name, (screen, priors, ablation) in made.items():
        config = grape_dgl.Config.resolve(
            split={"kind": kind}, model={"ablation": ablation}, training={"seed": seed, **BUDGET}
        )
        split = grape_dgl.make_split(screen.conditions, config.split, seed)
        folder = runs / f"{kind}-{seed}-{re.sub('[^a-zA-Z]+', '-', name)}"
        if not finished(folder):
            grape_dgl.train(screen, folder, config, split, priors=priors, force=True)
        if not finished(folder):
            raise KeyboardInterrupt  # a training cut short is no result
        found = Predictions.read(folder / "predictions.h5ad")
        changes[f"GRAPE, {name}"] = found.change[[found.conditions.index(test) for test in split.test]]
    for model in simple:
        model.fit(screen, split, screen.control_halves(seed))
        changes[model.name] = model.predict(split.test)
    return scored(screen, split, seed, changes)


def finished(folder: Path) -> bool:
    """Whether the run in ``folder`` came to its own end."""
    path = folder / "metrics.json"
    return path.is_file() and not json.loads(path.read_text(encoding="utf-8"))["interrupted"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen")
    parser.add_argument("--annotation", action="append", default=[])
    parser.add_argument("--sequences", action="append", default=[])
    parser.add_argument("--summaries", type=Path)
    parser.add_argument("--go-text", type=Path)
    parser.add_argument("--go", type=Path)
    parser.add_argument("--dna", nargs="*", default=["kmer", "cispliceai"])
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--grape-splits", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/features"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    annotation = grape_dgl.Annotation.from_files(arguments.annotation, arguments.sequences)
    screen = grape_dgl.read_screen(arguments.screen, annotation=annotation)
    texts: dict[str, Mapping[str, str]] = {}
    if arguments.summaries:
        texts["minilm summaries"] = json.loads(arguments.summaries.read_text(encoding="utf-8"))
    if arguments.go_text:
        table = pd.read_csv(arguments.go_text, sep="\t").dropna(subset="go_text")
        texts["minilm GO text"] = dict(zip(table["symbol"], table["go_text"], strict=True))
    features = features_of(screen, texts, arguments.dna)
    terms = read_go(arguments.go, screen.genes, None) if arguments.go else None
    candidates = models(features, terms)
    rows: dict[str, list[dict[str, Any]]] = {"kernel ridge": [], "GRAPE": []}
    for kind in KINDS:
        for seed in tqdm(range(arguments.splits), desc=f"kernel ridge, {kind}", file=sys.stderr):
            split = grape_dgl.make_split(screen.conditions, SplitConfig(kind=kind, validation=0.0), seed)
            halves, predicted = screen.control_halves(seed), {}
            for model in candidates:
                model.fit(screen, split, halves)
                predicted[model.name] = model.predict(split.test)
            rows["kernel ridge"] += scored(screen, split, seed, predicted)
    if arguments.grape_splits:
        made = variants(screen, features, arguments.go)
        simple = candidates[:4]  # control, mean, linear and the additive ridge
        for seed in tqdm(range(arguments.grape_splits), desc="GRAPE", file=sys.stderr):
            for kind in KINDS:
                rows["GRAPE"] += grape_rows(made, simple, kind, seed, arguments.runs)
    for name, found in rows.items():
        if found:
            print(f"{name}\n\n{markdown(summary(pd.DataFrame(found)))}\n")
    if arguments.out:
        known = pd.DataFrame([row | {"part": name} for name, found in rows.items() for row in found])
        plain = known.astype(object).where(known.notna(), None).to_dict("records")
        write_json(arguments.out, {"versions": versions(), "splits": arguments.splits, "rows": plain})


if __name__ == "__main__":
    main()
