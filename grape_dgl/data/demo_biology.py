"""What is true in the simulated screen: modules, targets, the planted network, and how a knock-out spreads through it.

Genes belong to modules (pathways). A sparse network is planted, mostly inside modules. A knock-out takes activity from
its target and the loss spreads to a steady state, ``loss = strength * (I - W)^-1 e_target``; each gene answers the loss
of activity with its own sign. Every knock-out also raises a stress response that all share. DNA motifs and descriptions
(demo_text) follow the modules imperfectly, so each modality carries a part of the network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import eigsh, splu

from grape_dgl.data import demo_text

GENES_PER_MODULE = 15
SPECTRAL_RADIUS = 0.85
MOTIF = 8


class Plan(NamedTuple):
    """Which genes there are and which of them are perturbed together."""

    module: np.ndarray
    """Module of each gene, int [genes]; the last genes are targets that nobody measured."""
    coding: np.ndarray
    """bool [genes]."""
    targets: np.ndarray
    """Gene index of each target, int [singles]."""
    conditions: list[tuple[int, ...]]
    """Gene indices of each condition: the singles in the order of ``targets``, then the doubles."""


def draw_plan(measured: int, singles: int, doubles: int, rng: np.random.Generator) -> Plan:
    """Modules, coding genes and conditions. Targets lie in few modules, about four in each, as in pathway screens."""
    hidden = max(1, round(0.1 * singles))
    total = measured + hidden
    modules = max(3, round(total / GENES_PER_MODULE))
    module = rng.permutation(np.arange(total) % modules)
    chosen = rng.permutation(modules)[: max(2, round(singles / 4))]
    module[measured:] = np.resize(chosen, hidden)
    coding = np.ones(total, dtype=bool)
    coding[rng.permutation(measured)[: round(0.275 * measured)]] = False
    # beside the hidden targets, coding genes of the chosen modules are preferred
    preference = 2.0 * ~np.isin(module, chosen) + ~coding + 0.5 * rng.random(total)
    targets = np.concatenate([np.arange(measured, total), np.argsort(preference[:measured])[: singles - hidden]])
    first, second = np.triu_indices(len(targets), k=1)
    pairs = rng.permutation(len(first))[:doubles]
    conditions: list[tuple[int, ...]] = [(int(target),) for target in targets]
    conditions += [(int(targets[first[p]]), int(targets[second[p]])) for p in pairs]
    return Plan(module, coding, targets, conditions)


def draw_genes(plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    """Gene table [genes]: ensgene, symbol, biotype, description ("" for a tenth of the genes, never for a target)."""
    biotype = demo_text.biotypes(plan.coding, rng)
    symbol = demo_text.symbols(plan.module, biotype, rng)
    description = demo_text.descriptions(plan.module, plan.coding, rng)
    lacking = rng.random(len(symbol)) < 0.10
    lacking[plan.targets] = False  # a target without description and sequence could not be predicted at all
    description[lacking] = ""
    ensgene = [f"ENSG9{number:010d}" for number in rng.permutation(10 * len(symbol))[: len(symbol)]]
    return pd.DataFrame({"ensgene": ensgene, "symbol": symbol, "biotype": biotype, "description": description})


def draw_sequences(module: np.ndarray, length: int, rng: np.random.Generator) -> tuple[str, ...]:
    """DNA of the module's GC content with copies of the module's 8-base motif; "" for a tenth of the genes."""
    total, modules = len(module), int(module.max()) + 1
    gc = np.clip(rng.normal(0.48, 0.06, size=modules), 0.3, 0.7)[module] + rng.normal(0, 0.03, size=total)
    strong = rng.random((total, length)) < gc[:, None]
    codes = 2 * strong + (rng.random((total, length)) < 0.5)  # 0 A, 1 T, 2 G, 3 C
    motif = rng.integers(0, 4, size=(modules, MOTIF))
    slots = length // MOTIF
    copies = max(1, slots // 10)
    where = np.argsort(rng.random((total, slots)), axis=1)[:, :copies] * MOTIF  # [genes copies]
    position = (where[:, :, None] + np.arange(MOTIF)).reshape(total, -1)
    planted = np.tile(motif[module], (1, copies))
    carries = rng.random((total, 1)) < 0.85
    kept = carries & (rng.random(position.shape) < 0.9)  # the others are point mutations
    row = np.arange(total)[:, None]
    codes[row, position] = np.where(kept, planted, codes[row, position])
    bases = np.frombuffer(b"ATGC", dtype=np.uint8)[codes]
    present = rng.random(total) >= 0.10
    return tuple(bases[i].tobytes().decode("ascii") if present[i] else "" for i in range(total))


def draw_network(module: np.ndarray, rng: np.random.Generator) -> sparse.csc_matrix:
    """Symmetric W >= 0 [genes, genes]; about four links per gene, one in ten leaves the module."""
    total = len(module)
    near_source = np.repeat(np.arange(total), 2)
    near = _partner(module, near_source, rng)
    # links between modules prefer the same pathway in another context
    far_source = rng.permutation(total)[: total // 5]
    kin = _partner(demo_text.pathway_of(module), far_source, rng)
    far = np.where(rng.random(len(far_source)) < 0.5, kin, rng.integers(0, total, size=len(far_source)))
    ends = np.stack([np.concatenate([near_source, far_source]), np.concatenate([near, far])], axis=1)
    pairs = np.sort(ends, axis=1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    degree = np.bincount(pairs.ravel(), minlength=total)
    weight = rng.uniform(0.5, 1.5, size=len(pairs)) / np.sqrt(degree[pairs[:, 0]] * degree[pairs[:, 1]])
    half = sparse.coo_matrix((weight, (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    spread = (half + half.T).tocsc()
    largest = eigsh(spread, k=1, which="LA", v0=np.ones(total), return_eigenvectors=False)[0]
    return spread * (SPECTRAL_RADIUS / largest)


def _partner(group: np.ndarray, genes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of ``genes``, a random gene of its group (``group``: int [all genes])."""
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], group[genes])
    return order[start + rng.integers(0, np.bincount(group)[group[genes]])]


def draw_effects(plan: Plan, spread: sparse.csc_matrix, rng: np.random.Generator) -> np.ndarray:
    """Change in log rate [conditions, genes]; doubles add up but for an interaction where both singles act."""
    total, singles = len(plan.module), len(plan.targets)
    unit = np.zeros((total, singles))
    unit[plan.targets, np.arange(singles)] = 1.0
    loss = splu(sparse.eye(total, format="csc") - spread).solve(unit).T * rng.uniform(1.3, 2.6, size=(singles, 1))
    answer = np.where(rng.random(total) < 0.25, -1.0, 1.0)  # -1: repressed by its pathway, rises when the pathway fails
    single = -loss * answer
    stress = np.where(rng.random(total) < 0.10, rng.normal(0, 0.4, size=total), 0.0)
    single += rng.uniform(0.2, 0.8, size=(singles, 1)) * stress
    row = {int(target): index for index, target in enumerate(plan.targets)}
    single[np.arange(singles), plan.targets] = -loss[np.arange(singles), plan.targets]
    result = [single]
    for pair in plan.conditions[singles:]:
        a, b = (single[row[target]] for target in pair)
        interaction = rng.normal(0, 0.3) * np.sqrt(np.abs(a * b)) * np.sign(a + b)
        interaction[list(pair)] = 0.0
        result.append((a + b + interaction)[None])
    return np.concatenate(result)
