"""What each idea gains or loses beside the response of the preset ``best``, one at a time.

Run: python benchmarks/ideas.py --data FOLDER [--splits 20] [--suite FILE] [--demos 0 1 2 3 4]

Contract: the data sets of the suite (split ``condition``, and ``gene`` where conditions have several targets) and the
demo (its splits as far as seed 4), seeds 0, 1, ...; training and validation conditions and the model's half of the
controls against held-out conditions and the other half, as in the benchmark; Pearson delta (0 where a prediction is
constant) and RMSE, means over conditions. All of these conditions are development data. The first line is the response
without knowledge; every other one changes one thing. Markdown on stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats
from tqdm import tqdm

from grape_dgl.config import ResponseConfig, SplitConfig, SplitKind
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.splits import make_split
from grape_dgl.suite.models import Bench
from grape_dgl.suite.spec import DataSpec, Suite
from grape_dgl.training.knowledge import Kernel
from grape_dgl.training.response import (
    Evidence,
    chosen_knowledge,
    common_share,
    incidence,
    own_change,
    shrunk,
    themselves,
)

SHARE, PENALTY = ResponseConfig().knowledge, ResponseConfig().penalty


@dataclass(frozen=True)
class View:
    """One split: what is known, what is asked, and what is true."""

    evidence: Evidence
    asked: tuple[tuple[int, ...], ...]
    """Targets of the held-out conditions"""
    kernels: Mapping[str, Kernel]
    slope: np.ndarray
    """[measured, measured]: change of a gene for each unit of another's, over the model's control cells"""
    base: np.ndarray
    """[asked, measured] control mean of the model's half"""
    reference: np.ndarray
    """Of the other half"""
    observed: np.ndarray

    def scores(self, change: np.ndarray) -> tuple[float, float]:
        """Pearson delta and RMSE."""
        true, found = (x - x.mean(axis=1, keepdims=True) for x in (self.observed - self.reference, change))
        length = np.sqrt(np.square(true).sum(axis=1) * np.square(found).sum(axis=1))
        pearson = (true * found).sum(axis=1) / np.where(length > 1e-9, length, np.inf)
        return float(pearson.mean()), float(np.sqrt(np.square(self.base + change - self.observed).mean(axis=1)).mean())


Common = Callable[[np.ndarray], np.ndarray]


def share_of_mean(change: np.ndarray) -> np.ndarray:
    return common_share(change) * change.mean(axis=0)


def by_effect(change: np.ndarray) -> np.ndarray:
    weight = np.linalg.norm(change, axis=1, keepdims=True)
    return common_share(change) * (weight * change).sum(axis=0) / weight.sum()


def trimmed(change: np.ndarray) -> np.ndarray:
    return common_share(change) * stats.trim_mean(change, 0.2)


def first_component(change: np.ndarray) -> np.ndarray:
    """The mean, as far as it is along the first singular vector."""
    along = np.linalg.svd(change, full_matrices=False)[2][0]
    return common_share(change) * along * (along @ change.mean(axis=0))


def response(
    view: View,
    *,
    own: Callable[[Evidence], np.ndarray] = own_change,
    noise: float = ResponseConfig().control_noise,
    common: Common = share_of_mean,
    kernels: Sequence[str] = (),
    share: float = SHARE,
    penalty: float | None = PENALTY,
    together: float = 1.0,
    coupled: bool = False,
    per_target: bool = False,
    by_cells: bool = False,
    rank: int | None = None,
) -> np.ndarray:
    """The response with one thing changed; a penalty of None is chosen by leave-one-out.

    ``by_cells``: a condition counts by its number of cells, in the common change and in the effects. ``rank``: effects
    lie along so many directions of genes, singular vectors of what training conditions show beside the common change.
    """
    conditions, trained = [*view.evidence.targets, *view.asked], len(view.evidence)
    alone = own(view.evidence)
    apart = np.zeros((len(conditions), len(alone)))
    rows, genes = themselves(conditions, len(alone))
    apart[rows, genes] = alone[genes]
    if coupled:
        moved = apart @ view.slope
        moved[rows, genes] = 0
        left = view.evidence.change - apart[:trained]
        left = left - share_of_mean(left)
        apart += max((left * moved[:trained]).sum() / (2 * np.square(moved[:trained]).sum() + 1e-12), 0) * moved
    change = shrunk(replace(view.evidence, change=view.evidence.change - apart[:trained]), noise)
    every = np.unique([gene for ids in conditions for gene in ids])
    which = incidence(conditions, every)
    number = which.sum(axis=1, keepdims=True)
    noise_of = view.evidence.cells.mean() / view.evidence.cells if by_cells else np.ones(trained)
    mean = common_share(change) * np.average(change, axis=0, weights=1 / noise_of) if by_cells else common(change)
    if per_target:
        mean = common_share(change) * (number[:trained] * change).sum(axis=0) / np.square(number[:trained]).sum()
    always = (number if per_target else np.ones_like(number)) * mean
    which = np.where(number > 1, together, 1.0) * which
    parts = [which @ which.T, *(which @ view.kernels[name](every, every) @ which.T for name in kernels)]
    parts = [part / max(np.diag(part)[:trained].mean(), 1e-12) for part in parts]
    alike = parts[0] if not kernels else (1 - share) * parts[0] + share * np.mean(parts[1:], axis=0)
    within, left = alike[:trained, :trained], change - always[:trained]
    if penalty is None:

        def lost(one: float) -> float:
            inverse = np.linalg.inv(within + one * np.eye(trained))
            return float(np.square(inverse @ left / np.diag(inverse)[:, None]).sum())

        penalty = min((0.01, 0.03, 0.05, 0.1, 0.3, 1.0), key=lost)
    effects = alike[trained:, :trained] @ np.linalg.solve(within + penalty * np.diag(noise_of), left)
    if rank is not None:
        along = np.linalg.svd(left, full_matrices=False)[2][:rank]
        effects = effects @ along.T @ along
    return always[trained:] + apart[trained:] + effects


def expression(view: View) -> np.ndarray:
    """Mean profiles, not changes, by a Gaussian process in which the control is a condition without targets."""
    evidence = view.evidence
    conditions = [*evidence.targets, (), *view.asked]
    every = np.unique([gene for ids in conditions for gene in ids])
    which, trained = incidence(conditions, every.astype(np.int64)), len(evidence) + 1
    perturbed = (which.sum(axis=1) > 0).astype(float)
    alike = 1e3 + 0.5 * np.outer(perturbed, perturbed) + which @ which.T / which[: len(evidence)].sum(axis=1).mean()
    profiles = np.vstack([evidence.change, np.zeros(evidence.change.shape[1])])
    weights = np.linalg.solve(alike[:trained, :trained] + PENALTY * np.eye(trained), profiles)
    return alike[trained:, :trained] @ weights


def gated(view: View) -> np.ndarray:
    """What is known of genes joins where it is surely better; in ``best`` training conditions alone choose."""
    return response(view, kernels=list(chosen_knowledge(view.evidence, ResponseConfig(), view.kernels)))


def constant(evidence: Evidence) -> np.ndarray:
    rows, genes = themselves(evidence.targets, len(evidence.control))
    return np.full(len(evidence.control), evidence.change[rows, genes].sum() / (len(genes) + 1))


def of_level(evidence: Evidence) -> np.ndarray:
    rows, genes = themselves(evidence.targets, len(evidence.control))
    level = evidence.control[genes]
    squares = np.square(level).sum() * (1 + 1 / max(len(level), 1))
    return (level * evidence.change[rows, genes]).sum() / max(squares, 1e-12) * evidence.control


def nothing(evidence: Evidence) -> np.ndarray:
    return np.zeros(len(evidence.control))


IDEAS: dict[str, Callable[[View], np.ndarray]] = {
    "the response, without knowledge": response,
    "a target's own expression: as any other gene": partial(response, own=nothing),
    "a target's own expression: a constant in place of a fold": partial(response, own=constant),
    "a target's own expression: a share of its level": partial(response, own=of_level),
    "genes coupled to a target in control cells follow it": partial(response, coupled=True),
    "noise of the control mean: kept": partial(response, noise=0.0),
    "noise of the control mean: all the median change taken out": partial(response, noise=1.0),
    "common change: the whole mean": partial(response, common=lambda change: change.mean(axis=0)),
    "common change: weighted by effect": partial(response, common=by_effect),
    "common change: along the first component": partial(response, common=first_component),
    "common change: trimmed mean": partial(response, common=trimmed),
    "common change: one for each target": partial(response, per_target=True),
    "effects in combinations: .8 of those alone": partial(response, together=0.8),
    "effects along 3 directions of genes": partial(response, rank=3),
    "effects along 10 directions of genes": partial(response, rank=10),
    "conditions weighted by cells": partial(response, by_cells=True),
    "penalty by leave-one-out": partial(response, penalty=None),
    "knowledge, always: text": partial(response, kernels=["text"]),
    "knowledge, always: DNA": partial(response, kernels=["seq"]),
    "knowledge, always: GO": partial(response, kernels=["go"]),
    "knowledge, always: text, .7 of the effects": partial(response, kernels=["text"], share=0.7),
    "knowledge, where surely better (`best`)": gated,
    "expression, not change, with the control as a condition": expression,
}


def views(bench: Bench, kind: SplitKind, splits: int) -> Iterator[View]:
    """The splits of a data set."""
    screen, kernels = bench.screen, bench.knowledge([f"go={bench.spec.go}"] if bench.spec.go else [])
    for seed in range(splits):
        split, control = make_split(screen.conditions, SplitConfig(kind=kind), seed), screen.control_halves(seed)
        cells = screen.expression[control.model].toarray().astype(np.float64)
        cells -= cells.mean(axis=0)
        spread = np.square(cells).mean(axis=0)
        halves = (control.model, control.reference)
        yield View(
            Evidence.of(screen, [*split.train, *split.val], control),
            tuple(tuple(screen.targets(name).tolist()) for name in split.test),
            kernels(screen, control),
            (cells.T @ cells / len(cells)) / np.where(spread > 0, spread, np.inf)[:, None],
            *(np.stack([screen.control_mean(half, name) for name in split.test]) for half in halves),
            np.stack([screen.mean(name) for name in split.test]),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, default=Path(__file__).parent / "suites" / "accuracy.toml")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--demos", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    columns: dict[str, list[tuple[Bench, SplitKind, int]]] = {}
    for spec in Suite.read(given.suite, [given.data]).data:
        bench = Bench(spec, default_cache())
        columns[f"{spec.name} condition"] = [(bench, "condition", given.splits)]
        if any("+" in name for name in bench.screen.conditions):
            columns[f"{spec.name} gene"] = [(bench, "gene", given.splits)]
    demos = [Bench(DataSpec(f"demo_{seed}", f"demo:seed={seed}"), default_cache()) for seed in given.demos]
    columns["demo condition"] = [(bench, "condition", min(5, given.splits)) for bench in demos]
    found: dict[str, list[str]] = {name: [] for name in IDEAS}
    for several in tqdm(columns.values(), file=sys.stderr):
        seen = [view for bench, kind, splits in several for view in views(bench, kind, splits)]
        for name, idea in IDEAS.items():
            known = "GO" not in name or "go" in seen[0].kernels
            scores = np.mean([view.scores(idea(view)) for view in seen], axis=0) if known else None
            found[name].append("-" if scores is None else f"{scores[0]:.3f}, {scores[1]:.4f}")
    print(f"| Pearson delta, RMSE | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
    for name, cells in found.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
