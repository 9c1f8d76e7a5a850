"""What is expected of a condition before the graph speaks: common and additive effects, in closed form.

The change of condition c over the genes is ``common + sum of effects of its targets``, a ridge regression on which
targets a condition has; a target that training has not seen adds nothing of its own. Three shrinkages make it hold
on screens of some tens of conditions; none is tuned on any:

* *Noise of the control mean.* It stands in every observed change, so what the median condition changes of a gene is
  partly this noise, and the median is taken out by the share that noise can explain, ``control_noise`` at most: the
  more of it goes, the better changes correlate with those from other control cells, and the worse ``change + control``
  is as a prediction of expression, which wants the error of the control mean to cancel.
* *Noise of a condition's mean.* Genes whose changes are as small as sampling explains are shrunk towards 0, by
  ``t / (t + noise)``, t the excess of their mean square over it.
* *Common change.* The mean of the conditions counts by the share of it that a condition shows that is not in it.

The margins are what conditions that were left out were off by, gene by gene, as in split-conformal prediction (Lei et
al. 2018): of n such conditions, the ``LEVEL * (n + 1)``-th smallest error, and the largest where there are few. They
are those of the response alone, against the model's half of the control, and apart for conditions of which every
target was seen elsewhere. The variance within conditions that shrinks genes is that of all of them, left out or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ModelError

FOLDS = 25
"""Parts that are left out in turn, at most."""
LEAST_COMMON = 0.05
"""Of the mean: a condition of which nothing is known still has a direction."""
LEVEL = 0.9
"""Share of the condition means that lie within the margins."""
ENOUGH = 10
"""Left-out conditions of a kind from which margins of its own are taken."""


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
        )

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> Evidence:
        """Of some conditions."""
        kept = tuple(self.targets[row] for row in rows)
        return Evidence(self.change[rows], kept, self.cells[rows], self.within, self.controls)


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

    def change(self, conditions: Sequence[Sequence[int]]) -> Float[np.ndarray, "conditions measured"]:
        """Of conditions, each the node ids of its targets."""
        return self.common + incidence(conditions, self.targets) @ self.effects

    def margin(self, conditions: Sequence[Sequence[int]]) -> Float[np.ndarray, "conditions measured"]:
        """``LEVEL`` of the observed changes of such conditions lie within so much of the predicted one."""
        seen = set(self.targets.tolist())
        return self.margins[[int(not seen.issuperset(ids)) for ids in conditions]]

    def tensors(self) -> dict[str, np.ndarray]:
        """To be saved."""
        return {f"response.{name}": np.ascontiguousarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], measured: int) -> Response:
        """As saved; KeyError where a part is missing, ModelError where parts do not fit together."""
        names = ("common", "targets", "effects", "margins")
        common, seen, effects, margins = (tensors[f"response.{name}"] for name in names)
        if (common.shape, effects.shape, margins.shape) != ((measured,), (len(seen), measured), (2, measured)):
            raise ModelError(
                f"the saved response has effects {effects.shape} and margins {margins.shape}; expected those of "
                f"{len(seen)} targets and {measured} genes: it is altered, train again"
            )
        return cls(common, seen, effects, margins)


def fit_response(evidence: Evidence, settings: ResponseConfig) -> Response:
    """The additive response of ``evidence``, with margins of 0."""
    change = shrunk(evidence, settings.control_noise, settings.gene_noise)
    seen = np.unique(np.concatenate([np.array(ids, dtype=np.int64) for ids in evidence.targets]))
    which = incidence(evidence.targets, seen)
    share = {"shared": common_share, "mean": lambda change: 1.0, "none": lambda change: 0.0}[settings.common]
    common = share(change) * change.mean(axis=0)
    scale = which.sum() / len(which)  # mean diagonal of the kernel which @ which.T, as each entry is 0 or 1
    few = sp.csc_matrix(which)
    damped = sp.csc_matrix(few.T @ few + settings.penalty * scale * sp.eye(len(seen)))
    effects = splu(damped).solve(few.T @ (change - common))
    return Response(common, seen, effects, np.zeros((2, change.shape[1])))


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


def held_out(evidence: Evidence, settings: ResponseConfig) -> Float[np.ndarray, "conditions measured"]:
    """What the response to all other conditions expects of each, in ``FOLDS`` parts where they are many."""
    expected = np.zeros_like(evidence.change)
    for rows in _parts(len(evidence)):
        rest = np.setdiff1d(np.arange(len(evidence)), rows)
        if len(rest):
            expected[rows] = fit_response(evidence.take(rest), settings).change([evidence.targets[r] for r in rows])
    return expected


def left_out_margins(
    evidence: Evidence, expected: Float[np.ndarray, "conditions measured"], settings: ResponseConfig
) -> Float[np.ndarray, "2 measured"]:
    """Per gene the ``LEVEL`` quantile of what left-out conditions were off by, ``expected`` being their `held_out`.

    The first row is of conditions whose targets are all in parts that were not left out with them, the second of those
    with one that nothing was seen of: each condition once, with its own target left out where others share it.
    """
    genes = np.unique([gene for ids in evidence.targets for gene in ids])
    which = incidence(evidence.targets, genes) > 0
    off, known = np.abs(evidence.change - expected), np.zeros(len(evidence), dtype=bool)
    for rows in _parts(len(evidence)):
        rest = np.setdiff1d(np.arange(len(evidence)), rows)
        known[rows] = ~(which[rows] & ~which[rest].any(axis=0)).any(axis=1)
    seen, unseen, left = off[known], [off[~known]], known.copy()
    for group in _parts(len(genes)) if known.any() else []:
        touched = which[:, group].any(axis=1)
        hit, rest = np.flatnonzero(touched & left), np.flatnonzero(~touched)
        if len(hit) and len(rest):
            fitted = fit_response(evidence.take(rest), settings)
            unseen.append(np.abs(evidence.change[hit] - fitted.change([evidence.targets[row] for row in hit])))
            left[hit] = False
    kinds = [seen, np.concatenate(unseen)]
    pooled = np.concatenate(kinds)
    of = [kind if len(kind) >= ENOUGH else pooled for kind in kinds]
    return np.stack([np.quantile(errors, LEVEL, axis=0, method="weibull") for errors in of])


def _parts(number: int) -> list[np.ndarray]:
    """Numbers below ``number`` in ``FOLDS`` parts at the most, in a fixed random order: neighbours share targets."""
    return np.array_split(np.random.default_rng(0).permutation(number), min(FOLDS, number))


@dataclass(frozen=True)
class Expectations:
    """What the response expects of conditions that it has not seen itself: under these, a network is trained."""

    train: Float[np.ndarray, "train measured"]
    validation: Float[np.ndarray, "validation measured"]
    both: Float[np.ndarray, "both measured"]
    """Of training and validation conditions, each by all others"""
    response: Response
    """Of all of them"""

    @classmethod
    def of(
        cls,
        screen: Screen,
        train: Sequence[str],
        validation: Sequence[str],
        control: ControlHalves,
        settings: ResponseConfig,
    ) -> Expectations:
        """By the training and validation conditions and the model's half of the control only."""
        part, whole = (Evidence.of(screen, names, control) for names in (train, [*train, *validation]))
        both = held_out(whole, settings)
        checked = fit_response(part, settings).change(whole.targets[len(train) :]) if validation else both[:0]
        response = replace(fit_response(whole, settings), margins=left_out_margins(whole, both, settings))
        return cls(held_out(part, settings), checked, both, response)
