"""What is expected of a condition before the graph speaks: common and additive effects, in closed form.

The change of condition c over the genes is ``common + sum of effects of its targets``, a ridge regression on which
targets a condition has. Before it, the change of a target's own expression is set apart: one fold change for all
targets, below 1 where a screen knocks down or out and above where it activates, which holds for unseen targets too.
Three shrinkages make the rest hold on screens of some tens of conditions; a run tunes none of them (where their numbers
come from: docs/accuracy.md):

* *Noise of the control mean.* It stands in every observed change, so what the median condition changes of a gene is
  partly this noise, and the median is taken out by the share that noise can explain, ``control_noise`` at most: the
  more of it goes, the better changes correlate with those from other control cells, and the worse ``change + control``
  is as a prediction of expression, which wants the error of the control mean to cancel.
* *Noise of a condition's mean.* Genes whose changes are as small as sampling explains are shrunk towards 0, by
  ``t / (t + noise)``, t the excess of their mean square over it.
* *Common change.* The mean of the conditions counts by the share of it that a condition shows that is not in it.

Where what is known of genes (a modality, a prior graph, or all of them) surely makes left-out conditions better, the
effects of targets that are alike by it are alike too: a Gaussian process over targets, of which a share of
``knowledge`` is by its kernel and the rest each target's own. So a target that training has not seen has an effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.sparse.linalg import splu

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ModelError
from grape_dgl.training.gate import surely_better
from grape_dgl.training.knowledge import Kernel

LOG_FOLD = (-6.0, 6.0)
"""Of a target's own expression, natural logarithm."""
LEAST_COMMON = 0.05
"""Of the mean: a condition of which nothing is known still has a direction."""


@dataclass(frozen=True)
class Evidence:
    """What training conditions did, against the model's half of the control."""

    change: Float[np.ndarray, "conditions measured"]
    targets: tuple[tuple[int, ...], ...]
    """Node ids that each condition perturbs"""
    cells: Int[np.ndarray, " conditions"]
    within: Float[np.ndarray, " measured"]
    """Variance of the cells of a condition, pooled over conditions and control"""
    controls: int
    """Control cells"""
    control: Float[np.ndarray, " measured"]
    """Their mean expression"""

    @classmethod
    def of(cls, screen: Screen, conditions: Sequence[str], control: ControlHalves) -> Evidence:
        """From the cells of ``conditions`` and ``control.model`` only."""
        groups = [control.model, *(screen.cells(name) for name in conditions)]
        spread = sum(_squares(screen, rows) for rows in groups)
        change = [np.float64(screen.mean(c)) - screen.control_mean(control.model, c) for c in conditions]
        return cls(
            np.stack(change),
            tuple(tuple(screen.targets(name).tolist()) for name in conditions),
            np.array([len(rows) for rows in groups[1:]]),
            np.asarray(spread) / max(sum(map(len, groups)) - len(groups), 1),
            len(control.model),
            screen.control_mean(control.model).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Evidence:
        """Of some conditions."""
        kept = tuple(self.targets[row] for row in rows)
        return replace(self, change=self.change[rows], targets=kept, cells=self.cells[rows])


def _squares(screen: Screen, rows: np.ndarray) -> np.ndarray:
    """[measured]: sum of squared deviations of cells from their mean."""
    cells, genes = screen.expression[rows], screen.genes.measured
    values = cells.data.astype(np.float64)
    total, squares = (np.bincount(cells.indices, weights=power, minlength=genes) for power in (values, values**2))
    return np.maximum(squares - total**2 / len(rows), 0)


@dataclass(frozen=True)
class Response:
    """The fitted expectation; changes in log1p units."""

    common: Float[np.ndarray, " measured"]
    """What any condition changes"""
    targets: Int[np.ndarray, " seen"]
    """Node ids, ascending"""
    effects: Float[np.ndarray, "seen measured"]
    """What each of them adds"""
    margins: Float[np.ndarray, "2 measured"]
    """Half the width of the interval: every target seen, or not"""
    own: Float[np.ndarray, " measured"]
    """What the expression of a gene changes by when it is perturbed itself, beside its effect"""
    own_margin: float = 0.0
    """Half the width of the interval there, at the least"""
    knowledge: Mapping[str, float] = field(default_factory=dict)
    """Kernel by which a target that is not among them is like these -> its factor; none: it adds nothing"""
    weights: Float[np.ndarray, "seen measured"] | None = None
    """What a target adds for each unit of likeness to each of them, where there is knowledge"""

    def change(
        self, conditions: Sequence[Sequence[int]], kernels: Mapping[str, Kernel] | None = None
    ) -> Float[np.ndarray, "conditions measured"]:
        """Of conditions, each the node ids of its targets; ``kernels`` has those of ``knowledge``.

        Raises KeyError where one of them is missing and a target was not seen.
        """
        found = self.common + incidence(conditions, self.targets) @ self.effects
        rows, genes = themselves(conditions, len(self.own))
        found[rows, genes] += self.own[genes]
        unseen = np.setdiff1d([gene for ids in conditions for gene in ids], self.targets).astype(np.int64)
        if self.weights is None or not len(unseen):
            return found
        kernels = {} if kernels is None else kernels
        alike = sum(factor * kernels[name](unseen, self.targets) for name, factor in self.knowledge.items())
        return found + incidence(conditions, unseen) @ (alike @ self.weights)

    def margin(self, conditions: Sequence[Sequence[int]]) -> Float[np.ndarray, "conditions measured"]:
        """``LEVEL`` of the observed changes of such conditions lie within so much of the predicted one."""
        seen = set(self.targets.tolist())
        found = self.margins[[int(not seen.issuperset(ids)) for ids in conditions]]
        at = themselves(conditions, len(self.own))
        found[at] = np.maximum(found[at], self.own_margin)
        return found

    def __str__(self) -> str:
        """One line for a reader."""
        known = f"alike by {' and '.join(self.knowledge)}" if self.knowledge else "each its own: no knowledge joined"
        return f"effects of {len(self.targets)} targets, {known}"

    def tensors(self) -> dict[str, np.ndarray]:
        """To be saved."""
        parts = {name: getattr(self, name) for name in ("common", "targets", "effects", "margins", "own")}
        parts |= {"own_margin": np.array(self.own_margin)}
        if self.weights is not None:
            parts |= {"weights": self.weights}
            parts |= {f"knowledge.{name}": np.array(factor) for name, factor in self.knowledge.items()}
        return {f"response.{name}": np.ascontiguousarray(value) for name, value in parts.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], measured: int) -> Response:
        """As saved; KeyError where a part is missing, ModelError where parts do not fit together."""
        start = "response.knowledge."
        factors = {name.removeprefix(start): value.item() for name, value in tensors.items() if name.startswith(start)}
        if "response.own_margin" not in tensors:  # as written before targets had a change of their own
            tensors = {**tensors, "response.own": np.zeros(measured), "response.own_margin": np.zeros(1)}
        names = ("common", "targets", "effects", "margins", "own", *(["weights"] if factors else []))
        parts = {name: tensors[f"response.{name}"] for name in names}
        one, each = (measured,), (len(parts["targets"]), measured)
        wanted = {"common": one, "own": one, "margins": (2, measured), "effects": each, "weights": each}
        for name, shape in wanted.items():
            if name in parts and parts[name].shape != shape:
                raise ModelError(
                    f"the saved response has {name} {parts[name].shape}; expected {shape}, which is for "
                    f"{each[0]} targets and {measured} genes: it is altered, train again"
                )
        return cls(**parts, own_margin=tensors["response.own_margin"].item(), knowledge=factors)


def fit_response(evidence: Evidence, settings: ResponseConfig, kernels: Mapping[str, Kernel] | None = None) -> Response:
    """The additive response of ``evidence``, with margins of 0; ``kernels``: those that effects are alike by, if any.

    Conditions are alike as the sum over all pairs of their targets. The kernel of shared targets and each of
    ``kernels`` is scaled until its mean diagonal is 1 over the conditions.
    """
    own, evidence = _apart(evidence, settings)
    change, share = _shared(evidence, settings)
    common = share * change.mean(axis=0)
    seen, which = _design(evidence)
    nothing = np.zeros((2, change.shape[1]))
    if kernels:
        alike, factors = _alike(which, {name: kernel(seen, seen) for name, kernel in kernels.items()}, settings)
        damped = which @ alike @ which.T + settings.penalty * np.eye(len(which))
        weights = which.T @ np.linalg.solve(damped, change - common)
        return Response(common, seen, alike @ weights, nothing, own, knowledge=factors, weights=weights)
    few = sp.csc_matrix(which)
    scale = which.sum() / len(which)  # mean diagonal of the kernel which @ which.T, as each entry is 0 or 1
    damped = sp.csc_matrix(few.T @ few + settings.penalty * scale * sp.eye(len(seen)))
    return Response(common, seen, splu(damped).solve(few.T @ (change - common)), nothing, own)


def chosen_knowledge(evidence: Evidence, settings: ResponseConfig, kernels: Mapping[str, Kernel]) -> dict[str, Kernel]:
    """Of ``kernels`` those by which effects are surely alike, or none: one of them or all, by the smallest error.

    What decides is the squared error of every condition as the others and their mean predict it (leave-one-out in
    closed form; shrinkages, the share of the mean, and the targets' own fold being those of all conditions), against
    that without knowledge (`surely_better`, ``settings.gate``).
    """
    if len(evidence) < 2:
        return {}
    _, evidence = _apart(evidence, settings)
    change, share = _shared(evidence, settings)
    others = share * (change.sum(axis=0) - change) / (len(change) - 1)
    seen, which = _design(evidence)
    known = {name: kernel(seen, seen) for name, kernel in kernels.items()} if settings.knowledge else {}
    known = {name: one for name, one in known.items() if np.diag(one).any()}
    tries = [(name,) for name in known] + ([tuple(known)] if len(known) > 1 else [])

    def error(names: Sequence[str]) -> Float[np.ndarray, " conditions"]:
        alike, _ = _alike(which, {name: known[name] for name in names}, settings)
        inverse = np.linalg.inv(which @ alike @ which.T + settings.penalty * np.eye(len(which)))
        left = (inverse @ change - inverse.sum(axis=1)[:, None] * others) / np.diag(inverse)[:, None]
        off = evidence.change - change + left
        return np.square(off).mean(axis=1)

    without, errors = error(()), {names: error(names) for names in tries}
    sure = [names for names in tries if surely_better(errors[names], without, settings.gate, len(tries))]
    best = min(sure, key=lambda names: errors[names].mean(), default=())
    return {name: kernels[name] for name in best}


def own_change(evidence: Evidence) -> Float[np.ndarray, " measured"]:
    """What each gene's own expression changes by when it is perturbed: ``log1p(fold * expm1(control)) - control``.

    The fold is that of least squared error over all targets of the evidence that are measured, and one gene more, of
    average expression, that stays as it is; without any it is 1. No gene changes by more than the targets did.
    """
    rows, genes = themselves(evidence.targets, len(evidence.control))
    if not len(genes):
        return np.zeros(len(evidence.control))
    level = np.append(evidence.control[genes], evidence.control.mean())
    change = np.append(evidence.change[rows, genes], 0.0)

    def changed(log_fold: float, level: np.ndarray) -> np.ndarray:
        return np.log1p(np.exp(log_fold) * np.expm1(level)) - level

    found = minimize_scalar(
        lambda log_fold: float(np.square(change - changed(log_fold, level)).sum()), bounds=LOG_FOLD, method="bounded"
    )
    return np.clip(changed(found.x, evidence.control), change.min(), change.max())


def themselves(conditions: Sequence[Sequence[int]], measured: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and node id of every target that is measured."""
    pairs = [(row, gene) for row, ids in enumerate(conditions) for gene in ids if gene < measured]
    rows, genes = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, genes


def _apart(evidence: Evidence, settings: ResponseConfig) -> tuple[np.ndarray, Evidence]:
    """The targets' own change, and the evidence without it."""
    if settings.own == "none":
        return np.zeros(len(evidence.control)), evidence
    own, change = own_change(evidence), evidence.change.copy()
    rows, genes = themselves(evidence.targets, len(own))
    change[rows, genes] -= own[genes]
    return own, replace(evidence, change=change)


def _shared(evidence: Evidence, settings: ResponseConfig) -> tuple[np.ndarray, float]:
    """The shrunk changes, and what share of their mean is common to all."""
    change = shrunk(evidence, settings.control_noise, settings.gene_noise)
    share = {"shared": common_share, "mean": lambda change: 1.0, "none": lambda change: 0.0}[settings.common]
    return change, share(change)


def _design(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The targets that were seen, ascending, and which condition has which [conditions, seen]."""
    seen = np.unique(np.concatenate([np.array(ids, dtype=np.int64) for ids in evidence.targets]))
    return seen, incidence(evidence.targets, seen)


def _alike(
    which: np.ndarray, known: Mapping[str, np.ndarray], settings: ResponseConfig
) -> tuple[np.ndarray, dict[str, float]]:
    """The covariance of effects [seen, seen], by the kernels ``known`` of these genes, and the factor of each."""
    own = len(which) / which.sum() * np.eye(which.shape[1])
    if not known:
        return own, {}
    diagonal = {name: ((which @ kernel) * which).sum() / len(which) for name, kernel in known.items()}
    share = settings.knowledge / len(known)
    factors = {name: share / max(float(mean), 1e-12) for name, mean in diagonal.items()}
    mixed = sum(factor * known[name] for name, factor in factors.items())
    return (1 - settings.knowledge) * own + mixed, factors


def shrunk(
    evidence: Evidence, control_noise: float, gene_noise: float = 1.0
) -> Float[np.ndarray, "conditions measured"]:
    """The changes without what noise explains."""
    median = np.median(evidence.change, axis=0)
    explained = evidence.within.sum() / evidence.controls / max(np.square(median).sum(), 1e-12)
    change = evidence.change - min(control_noise, explained) * median
    noise = gene_noise * evidence.within * (1 / evidence.cells).mean()
    excess = np.maximum(np.square(change).mean(axis=0) - noise, 0)
    return change * (excess / np.maximum(excess + noise, 1e-12))


def common_share(change: Float[np.ndarray, "conditions measured"]) -> float:
    """How much of the mean of the others a condition shows, by least squares over all of them."""
    if len(change) < 2:
        return 1.0
    others = (change.sum(axis=0) - change) / (len(change) - 1)
    share = (change * others).sum() / max(np.square(others).sum(), 1e-12)
    return float(np.clip(share, LEAST_COMMON, 1))


def incidence(
    conditions: Sequence[Sequence[int] | np.ndarray], genes: np.ndarray
) -> Float[np.ndarray, "conditions genes"]:
    """1 where a condition perturbs a gene."""
    return np.stack([np.isin(genes, list(ids)) for ids in conditions]).astype(np.float64)
