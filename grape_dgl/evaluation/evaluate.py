"""Scores of several models on the same test conditions, as one long table: one row per model, condition and metric.

A score's name says what it compares. The plain names lead; every other form is reported beside them:

* ``rmse``, ``dac``, ``dac_nonzero``, ``pcc_delta``: all genes. The observed change is taken from reference control
  cells that no model has seen (disjoint controls), the predicted change from the model's own control cells.
* ``*_de20``, ``*_de40``: the 20 or 40 genes with the highest absolute t-score of the condition's cells against the
  reference control cells.
* ``*_shared_control``: the paper's form. One control mean, the model's, stands in the prediction and in the truth, and
  its noise correlates them; DE genes are those stored in the file, else from all control cells.
* ``*_heldout``: DE genes are chosen on cells that are not scored. The condition's cells and the reference control cells
  are each cut into two halves (at random by ``seed``, evenly within each batch); the genes are chosen on the first half
  of both, and the observed change is the second half's mean minus the second half's control mean.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.de import Moments, moments, ranked, stored_de, t_scores
from grape_dgl.evaluation.metrics import METRICS, Undefined
from grape_dgl.evaluation.null import null_screen
from grape_dgl.evaluation.summary import bootstrap, summary

__all__ = ["bootstrap", "evaluate", "metric_names", "null_screen", "summary"]

log = logging.getLogger("grape_dgl")

DE_SIZES = (20, 40)
ALL_GENES = ("rmse", "dac", "dac_nonzero", "pcc_delta")
PAPER = ("dac", "pcc_delta")


class View(NamedTuple):
    """One way to look at a condition: which observed change, over which genes, by which metrics."""

    suffix: str
    metrics: tuple[str, ...]
    observed: np.ndarray
    """[measured] observed change"""
    genes: np.ndarray
    """indices of the genes that count"""
    note: str
    """Why there are fewer genes than the name says, or no genes at all; else empty."""


def metric_names() -> list[str]:
    """Every metric of the long table, in its order."""
    de = [f"{name}_de{size}" for size in DE_SIZES for name in PAPER]
    shared = [f"{name}_shared_control" for name in (*PAPER, *de)]
    return [*ALL_GENES, *de, *shared, *(f"{name}_heldout" for name in de)]


def evaluate(
    screen: Screen,
    control: ControlHalves,
    changes: Mapping[str, np.ndarray],
    conditions: Sequence[str],
    seed: int = 0,
    *,
    exclude_targets: bool = False,
) -> pd.DataFrame:
    """Score predicted changes against the cells of ``conditions``.

    ``changes``: model name -> change [conditions, measured] from ``screen.control_mean(control.model, condition)``.
    ``seed`` draws the halves of the ``*_heldout`` forms. ``exclude_targets`` leaves the genes that a condition perturbs
    out of its scores and DE genes.

    Returns the columns model, condition, metric, value (NaN where undefined) and reason: why a value is undefined, or
    that fewer genes were there than its name says; else empty. Raises DataError for an array of another shape or with
    values that are not finite.
    """
    genes = screen.genes.measured
    for name, change in changes.items():
        if change.shape != (len(conditions), genes):
            raise DataError(
                f"the changes of model '{name}' have shape {change.shape}; "
                f"expected ({len(conditions)} conditions, {genes} measured genes)"
            )
        if not np.isfinite(change).all():
            first = conditions[int(np.flatnonzero(~np.isfinite(change).all(axis=1))[0])]
            raise DataError(f"model '{name}' predicts NaN or infinite values for '{first}'; expected finite changes")
    reference = _Reference(screen, control, seed)
    rows = []
    for at, condition in enumerate(conditions):
        truth = screen.mean(condition)
        own_control = screen.control_mean(control.model, condition)
        for view in reference.views(condition, exclude_targets):
            for name, change in changes.items():
                for metric in view.metrics:
                    if METRICS[metric].of == "expression":
                        compared = own_control + change[at], truth
                    else:
                        compared = change[at], view.observed
                    value, reason = _score(metric, *compared, view)
                    rows.append((name, condition, metric + view.suffix, value, reason))
    table = pd.DataFrame(rows, columns=["model", "condition", "metric", "value", "reason"])
    places = {
        column: {name: place for place, name in enumerate(names)}
        for column, names in (("model", list(changes)), ("condition", conditions), ("metric", metric_names()))
    }
    return table.sort_values(list(places), key=lambda names: names.map(places[names.name]), ignore_index=True)


def _score(metric: str, predicted: np.ndarray, observed: np.ndarray, view: View) -> tuple[float, str]:
    if view.note and not len(view.genes):
        return float("nan"), view.note
    try:
        return METRICS[metric](predicted[view.genes], observed[view.genes]), view.note
    except Undefined as undefined:
        return float("nan"), str(undefined)


class _Reference:
    """The control side of every comparison: reference cells, their halves and their moments, computed once."""

    def __init__(self, screen: Screen, control: ControlHalves, seed: int) -> None:
        self.screen, self.control, self.seed = screen, control, seed
        self.choosing, self.scoring = self._halves("control", control.reference)
        self.moments = {
            "": self._moments(control.reference),
            "_shared_control": self._moments(screen.control_cells),
            "_heldout": self._moments(self.choosing),
        }

    def views(self, condition: str, exclude_targets: bool) -> Iterator[View]:
        screen = self.screen
        cells = screen.cells(condition)
        measured = np.arange(screen.genes.measured)
        targets = screen.targets(condition) if exclude_targets else np.array([], dtype=np.int64)
        kept = measured[~np.isin(measured, targets)]
        truth = screen.mean(condition)

        observed = truth - screen.control_mean(self.control.reference, condition)
        yield View("", ALL_GENES, observed, kept, "")
        yield from self._de_views("", observed, *self._rank(cells, "", targets))

        shared = truth - screen.control_mean(self.control.model, condition)
        yield View("_shared_control", PAPER, shared, kept, "")
        stored = screen.stored_de.get(condition)
        if stored:
            order, note = stored_de(stored, list(screen.genes.symbol[: screen.genes.measured]), targets), ""
        else:
            order, note = self._rank(cells, "_shared_control", targets)
        yield from self._de_views("_shared_control", shared, order, note)

        choosing, scoring = self._halves(condition, cells)
        order, note = self._rank(choosing, "_heldout", targets)
        if not len(scoring) or not len(self.scoring):
            order, note = order[:0], "no cells are left to score on"
            apart = np.zeros_like(truth)
        else:
            apart = self._moments(scoring).mean - screen.control_mean(self.scoring, condition)
        yield from self._de_views("_heldout", apart, order, note)

    def _de_views(self, suffix: str, observed: np.ndarray, order: np.ndarray, note: str) -> Iterator[View]:
        for size in DE_SIZES:
            fewer = f"{len(order)} genes instead of {size}" if len(order) < size else ""
            yield View(f"_de{size}{suffix}", PAPER, observed, order[:size], note or fewer)

    def _rank(self, cells: np.ndarray, form: str, exclude: np.ndarray) -> tuple[np.ndarray, str]:
        """DE genes of ``cells`` and an empty note, or no genes and the reason."""
        if min(len(cells), self.moments[form].n) < 2:
            return np.array([], dtype=np.int64), "a t-test needs at least two cells of the condition and two of control"
        return ranked(t_scores(self._moments(cells), self.moments[form]), exclude), ""

    def _moments(self, cells: np.ndarray) -> Moments:
        return moments(self.screen.expression[cells])

    def _halves(self, name: str, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two halves of ``cells``, evenly within each batch, drawn by seed and name whatever else is scored."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        shuffled = rng.permutation(np.sort(cells))
        shuffled = shuffled[np.argsort(self.screen.batch[shuffled], kind="stable")]
        return shuffled[::2], shuffled[1::2]
