"""The main job: from a screen to a run folder with model, graph, predictions and honest scores."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grape_dgl.baselines.standard import standard_baselines
from grape_dgl.config import Config
from grape_dgl.data.conditions import targets
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import PARTS, Split, make_split
from grape_dgl.data.vectors import Features
from grape_dgl.engine import choose_engine
from grape_dgl.errors import ModelError
from grape_dgl.evaluation.de import moments, strongest
from grape_dgl.evaluation.evaluate import evaluate, summary
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.features.encode import encode
from grape_dgl.graph.facts import as_text, graph_facts
from grape_dgl.graph.files import edge_table, read_edges, write_edges
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.laps import Laps
from grape_dgl.memory import peak_mb
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.run import Run, gene_inputs, read_json, resolve_device, warn_of_sameness, weights_path
from grape_dgl.training.align import align
from grape_dgl.training.ensemble import ready
from grape_dgl.training.expectations import Expectations
from grape_dgl.training.interruption import PROGRESS, Interruption
from grape_dgl.training.knowledge import knowledge
from grape_dgl.training.progress import read_progress
from grape_dgl.training.weights import load_weights
from grape_dgl.writing import only_one, replacing, write_beside, write_json, write_text

log = logging.getLogger("grape_dgl")

ARTEFACTS = ("config.toml", "split.json", "model", "log.csv", "log-[0-9]*.csv", "graph.tsv.gz", "nodes.tsv",
             "predictions.h5ad", "metrics.csv", "metrics.json", PROGRESS)  # fmt: skip
"""What a training writes"""
NAMED = 20
"""DE genes kept with each condition, for figures."""


def train(
    screen: Screen,
    out: str | Path,
    config: Config | None = None,
    split: Split | None = None,
    control: ControlHalves | None = None,
    *,
    graph: str | Path | None = None,
    priors: Sequence[Prior] = (),
    cache: Path | None = None,
    progress: bool = False,
    force: bool = False,
    resume: bool = False,
) -> Run:
    """Train GRAPE on ``screen``, score it on the test conditions beside baselines, and write the folder ``out``.

    ``split`` defaults to the one that ``config`` describes, ``control`` to the halves that its seed draws; ``graph`` is
    an edge table that replaces the prior graph; ``priors`` are further members of M (Eq. 5); ``cache`` keeps encoded
    features. Ctrl-C ends the training after the epoch in hand and the run is written all the same. A run that is in
    ``out`` is replaced with ``force`` only, and stays where the training fails. Where the loss is not a number, the run
    is written as of the best epoch before, and a ModelError says so.

    With ``resume``, a training that was stopped goes on after its last epoch, and ends with the weights that it would
    have had; screen, settings, split and priors must be those that it began with. Where there is none, one begins.
    """
    from grape_dgl.training.fit import FitFiles, fit  # brings lightning, which takes seconds

    config = Config() if config is None else config
    out = Path(out)
    finished = resume and (out / "metrics.json").exists() and not (out / PROGRESS).exists()
    before = read_progress(out / PROGRESS) if resume else None
    if not (force or resume) and (out / "config.toml").exists():
        raise ModelError(f"'{out}' holds a run already; choose another folder, or replace it with force=True")
    lap, phases, searches, epochs = Laps(), Counter[str](), Counter[str](), 0
    device = resolve_device(config.training.device)
    engine = choose_engine(config.training.engine, device)
    seed = config.training.seed
    split = make_split(screen.conditions, config.split, seed) if split is None else split
    control = screen.control_halves(seed) if control is None else control
    log.info(
        "split %s: %d conditions to train on, %d for validation, %d to test; engine %s on %s",
        split.kind, len(split.train), len(split.val), len(split.test), engine, device,
    )  # fmt: skip

    perturbed = {gene for condition in screen.conditions for gene in targets(condition)}
    features = encode(screen.genes, config.features, cache, perturbed, config.model.only)
    lap("features")
    given = None if graph is None else read_edges(Path(graph), screen.genes)
    inputs = gene_inputs(screen.genes, features, priors, given)
    started_with = digests(config, split, control, screen, inputs)
    if finished:
        same_start(read_json(out / "metrics.json", out).get("started_with", started_with), started_with, out)
        log.info("the run in '%s' is finished", out)
        return Run.load(out)
    if before is not None:
        same_start(before.started_with, started_with, out)
    expected = None
    if config.response.kind != "none":
        expected = Expectations.of(screen, split.train, split.val, control, config.response, knowledge(inputs))
        log.info("response: %s", expected.response)
        lap("response")
    complete = out / "model" / "model.json"
    with (
        only_one(out),
        replacing(out, ARTEFACTS, complete, begun=out / PROGRESS, go_on=before is not None),
        Interruption() as interruption,
    ):
        write_text(out / "config.toml", config.to_toml())
        split.to_json(out / "split.json")
        members: list[GRAPE] = []
        for number in range(config.training.ensemble):
            member = new_model(config, inputs, screen.genes.measured, engine, device, seed + number)
            if before is not None and number < before.member:
                load_weights(member, weights_path(out, number))
                members.append(member)
                continue
            if before is None or number > before.member:
                align(member, inputs.to(device), config.alignment, seed + number)
                lap("align")
            if members and interruption.received:
                break
            log_file = out / (f"log-{number}.csv" if number else "log.csv")
            files = FitFiles(weights_path(out, number), log_file, out / PROGRESS, number, started_with)
            result = fit(
                member, inputs, screen, control, split.train, split.val, files, seed=seed + number, device=device,
                progress=progress, interruption=interruption, expected=expected,
            )  # fmt: skip
            lap("train")
            phases.update(result.phases)
            searches.update(member.structure.searched())
            epochs += result.epochs
            log.info("model %d of %d: %s", number + 1, config.training.ensemble, result)
            members.append(member)
            run = Run(
                config=config,
                genes=screen.genes,
                control=screen.control_mean(control.model),
                ensemble=ready(members, inputs.to(device)),
                feature_sources={m: f.source for m, f in features.items()},
                conditions={name: part for part in PARTS for name in getattr(split, part)},
                response=None if expected is None else expected.response,
            )
            run.save(out)
            if interruption.received or result.diverged:
                break

    predictions = observed_beside(run.predict(split.test), screen, control)
    run.tell_of_unseen(split.test)
    predictions.write(out / "predictions.h5ad")
    pairs = run.ensemble.pairs()
    write_edges(edge_table(pairs, run.genes), out / "graph.tsv.gz")
    lap("predict")
    facts = graph_facts(pairs, run.genes, screen.conditions)
    hardly = ", hardly trained, since the network stays silent" if all(run.silent) else ""
    log.info("learned graph%s: %s", hardly, as_text(facts))
    changes = {"GRAPE": predictions.change}
    for model in standard_baselines(joined(features)):
        model.fit(screen, split, control)
        changes[model.name] = model.predict(split.test)
    lap("baselines")
    table = evaluate(screen, control, changes, split.test, seed)
    lap("score")
    write_beside(out / "metrics.csv", lambda path: table.to_csv(path, index=False))
    differ = variation(predictions)
    warn_of_sameness(differ)
    report = summary(table) | {
        "split": {"kind": split.kind, "seed": split.seed, "train": len(split.train), "val": len(split.val)},
        "variation_elsewhere": differ,
        "graph": facts,
        "interrupted": interruption.received,
        "diverged": result.diverged or None,
        "seconds": {name: round(value, 2) for name, value in {**lap.seconds, "total": lap.total}.items()},
        "training": {
            "epochs": epochs,
            "seconds": {name: round(value, 3) for name, value in phases.items()},
            "searches": searches,
            "silent": run.silent,
            "knowledge": None if expected is None else list(expected.response.knowledge),
        },
        "started_with": started_with,
        "peak_memory_mb": peak_mb(),
        "versions": versions(),
        "data": dict(screen.notes),
    }
    write_json(out / "metrics.json", report)
    if not interruption.received:
        (out / PROGRESS).unlink(missing_ok=True)
    if result.diverged:
        raise ModelError(f"{result.diverged}; '{out}' has the run as of its best epoch before, {result.best_epoch}")
    return run


def same_start(before: Mapping[str, str], now: Mapping[str, str], out: Path) -> None:
    """ModelError where the training in ``out`` began with anything else."""
    if differ := [name for name in now if before.get(name) != now[name]]:
        raise ModelError(
            f"the training in '{out}' began with other {' and other '.join(differ)}; give the same to go on with it, "
            "or train anew in another folder"
        )


def digests(config: Config, split: Split, control: ControlHalves, screen: Screen, inputs: GeneInputs) -> dict[str, str]:
    """Of all that decides a training, by name."""
    expression = screen.expression
    tensors = [*inputs.values.values(), *inputs.present.values(), inputs.coding]
    graphs = [*(prior.pairs for prior in inputs.priors), *([] if inputs.given is None else [inputs.given])]
    tensors += [part for pairs in graphs for part in (pairs.first, pairs.second, pairs.value)]
    parts: dict[str, list[Any]] = {
        "settings": [config.to_toml().encode()],
        "split": [repr([getattr(split, part) for part in PARTS]).encode(), control.model, control.reference],
        "cells": [expression.data, expression.indices, expression.indptr, repr(list(screen.conditions)).encode()],
        "knowledge of genes": [" ".join(screen.genes.symbol).encode(), *(tensor.numpy() for tensor in tensors)],
    }
    found = {}
    for name, values in parts.items():
        digest = hashlib.sha256()
        for value in values:
            digest.update(value if isinstance(value, bytes) else np.ascontiguousarray(value).data)
        found[name] = digest.hexdigest()
    return found


def new_model(config: Config, genes: GeneInputs, measured: int, engine: Any, device: str, seed: int) -> GRAPE:
    """An untrained model, initialised by ``seed``, with its feature statistics fixed on ``genes``."""
    torch.manual_seed(seed)
    model = GRAPE(config, genes.widths, measured, engine)
    model.freeze_statistics(genes)
    return model.to(device)


def observed_beside(predictions: Predictions, screen: Screen, control: ControlHalves) -> Predictions:
    """Predictions of conditions of ``screen`` with observed means, batch-matched control means and DE genes."""
    names = predictions.conditions
    matched, apart = (
        np.stack([screen.control_mean(half, name) for name in names]) for half in (control.model, control.reference)
    )
    reference = moments(screen.expression[control.reference])
    return dataclasses.replace(
        predictions,
        expected=predictions.change + matched,
        observed=np.stack([screen.mean(name) for name in names]),
        reference=apart,
        n_cells=np.array([len(screen.cells(name)) for name in names]),
        de_genes=tuple(" ".join(strongest(screen, name, reference, NAMED)) for name in names),
    )


def variation(predictions: Predictions) -> float | None:
    """How much predictions differ between the conditions, as a share of how much the observed changes do.

    Root mean square over conditions and genes of the deviation from the mean over conditions; a condition counts for
    the genes that it does not perturb itself. Near 0, the model says the same for every perturbation. None where the
    observed changes do not differ.
    """
    others = np.array([~np.isin(predictions.genes.astype(str), targets(name)) for name in predictions.conditions])

    def spread(change: np.ndarray) -> float:
        mean = np.sum(change, axis=0, where=others) / np.maximum(others.sum(axis=0), 1)
        return float(np.sqrt(np.square(change - mean).mean(where=others))) if others.any() else 0.0

    assert predictions.observed is not None
    observed = spread(predictions.observed - (predictions.expected - predictions.change))
    if len(predictions.conditions) < 2 or not observed:
        return None
    return round(spread(predictions.change) / observed, 4)


def joined(features: Mapping[str, Features]) -> np.ndarray:
    """All modalities side by side [genes, d], each column standardised over the genes that have it, else 0."""
    parts = []
    for feature in features.values():
        part = np.zeros_like(feature.values)
        part[feature.present] = feature.standardised()
        parts.append(part)
    return np.concatenate(parts, axis=1)


def build_graph(genes: GeneInputs, config: Config) -> tuple[Pairs, dict[str, float]]:
    """The prior graph of Eq. 3-5 after alignment, cut by the sparsity, and the threshold of every member of M.

    The member ``G_agg`` is the mean of the others; no expression is used.
    """
    seed = config.training.seed
    device = resolve_device(config.training.device)
    model = new_model(config, genes, 0, choose_engine(config.training.engine, device), device, seed)
    genes = genes.to(device)
    align(model, genes, config.alignment, seed)
    model.eval()
    with torch.no_grad():
        z = model.represent(genes)
        pairs = model.structure.unlearned(model.structure.prior(z, refresh=True), z, refresh=True).pairs
    thresholds = {member: model.structure.epsilon(member) for member in model.structure.members}
    return pairs, thresholds | {"G_agg": model.structure.epsilon("learned")}


def versions() -> dict[str, str]:
    """Versions that decide the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("grape_dgl", "torch", "dgl", "transformers", "anndata", "scanpy", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
