"""Scores of several models on the same test conditions, as one long table: one row per model, condition and metric.

Which scores there are, and what the ending of a name says (``_de20``, ``_shared_control``, ``_heldout``, ...), stands
in ``catalogue`` and in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.cards import Metric, attempt
from grape_dgl.evaluation.catalogue import all_names, card, check_names, metric_names
from grape_dgl.evaluation.null import null_screen
from grape_dgl.evaluation.summary import bootstrap, summary
from grape_dgl.evaluation.views import View, Views

__all__ = ["bootstrap", "evaluate", "metric_names", "null_screen", "summary"]

COLUMNS = ["model", "condition", "metric", "value", "reason"]


def evaluate(
    screen: Screen,
    control: ControlHalves,
    changes: Mapping[str, np.ndarray],
    conditions: Sequence[str],
    seed: int = 0,
    *,
    exclude_targets: bool = False,
    metrics: Sequence[str] | None = None,
    trained: np.ndarray | None = None,
) -> pd.DataFrame:
    """Score predicted changes against the cells of ``conditions``.

    ``changes``: model name -> change [conditions, measured] from ``screen.control_mean(control.model, condition)``.
    ``seed`` draws the halves of the ``*_heldout`` forms. ``exclude_targets`` leaves the genes that a condition perturbs
    out of its scores and DE genes. ``metrics``: names of scores (``all_names``); None gives ``metric_names()``, with
    Systema's where ``trained`` is given. ``trained``: observed changes [conditions, measured] of the training
    conditions from ``control.model`` (``baselines.protocol.training_changes``), whose mean is Systema's reference.

    Returns the columns model, condition, metric, value (NaN where undefined) and reason: why a value is undefined, or
    that fewer genes were there than its name says; else empty. No score depends on the other models; the ranks among
    conditions depend on ``conditions``. Raises DataError for an array of another shape or with values that are not
    finite, for an unknown metric, and for Systema's without ``trained``.
    """
    _check(screen, changes, conditions, trained)
    wanted = metric_names(trained is not None) if metrics is None else list(dict.fromkeys(metrics))
    by_form = _by_form(wanted, trained)
    views = Views(screen, control, seed)
    among = _Among(screen, views, conditions)
    rows = []
    for at, condition in enumerate(conditions):
        truth = screen.mean(condition)
        own_control = screen.control_mean(control.model, condition).astype(np.float64)
        predicted = {name: change[at].astype(np.float64) for name, change in changes.items()}
        beside = {} if trained is None else {"perturbed_mean": own_control + np.atleast_2d(trained).mean(axis=0)}
        for view in views.of(condition, exclude_targets, by_form):
            for name, metric in by_form.get(view.form, {}).items():
                genes = among.genes(view, condition) if metric.without_targets else view.genes
                shift = own_control[genes] if metric.of == "expression" else 0.0
                compared: tuple[Any, ...]
                if metric.beside == "own":
                    compared = among.observed(metric)[:, genes], at
                else:
                    observed = truth if metric.of == "expression" else view.observed
                    third = {**view.beside, **beside}.get(metric.beside)
                    compared = (observed[genes],) if third is None else (observed[genes], third[genes])
                for model, change in predicted.items():
                    value, reason = _score(metric, view, shift + change[genes], compared)
                    rows.append((model, condition, name, value, reason))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return _sorted(table, {"model": list(changes), "condition": conditions, "metric": all_names()})


def _check(
    screen: Screen, changes: Mapping[str, np.ndarray], conditions: Sequence[str], trained: np.ndarray | None
) -> None:
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
    if trained is not None and (trained.size == 0 or trained.shape[-1] != genes or not np.isfinite(trained).all()):
        raise DataError(
            f"the changes of the training conditions have shape {trained.shape}; expected finite values "
            f"(conditions, {genes} measured genes)"
        )


def _by_form(names: Sequence[str], trained: np.ndarray | None) -> dict[str, dict[str, Metric]]:
    """Form -> name of the score -> metric, for the wanted names."""
    check_names(names)
    found: dict[str, dict[str, Metric]] = {}
    for name in names:
        metric, form = card(name)
        if metric.beside == "perturbed_mean" and trained is None:
            raise DataError(f"'{name}' needs the changes of the training conditions (evaluate(trained=...))")
        found.setdefault(form, {})[name] = metric
    return found


class _Among:
    """What all test conditions look like, for the metrics that compare a prediction with each; computed when asked."""

    def __init__(self, screen: Screen, views: Views, conditions: Sequence[str]) -> None:
        self._screen, self._views, self._conditions = screen, views, conditions
        self._observed: dict[str, np.ndarray] = {}

    def observed(self, metric: Metric) -> np.ndarray:
        """[conditions, measured] float64: expression or change."""
        if metric.of not in self._observed:
            look = self._screen.mean if metric.of == "expression" else self._views.change
            self._observed[metric.of] = np.stack([look(c) for c in self._conditions]).astype(np.float64)
        return self._observed[metric.of]

    def genes(self, view: View, condition: str) -> np.ndarray:
        """The genes of a view without the targets of the condition."""
        return view.genes[~np.isin(view.genes, self._screen.targets(condition))]


def _score(metric: Metric, view: View, predicted: np.ndarray, compared: tuple[Any, ...]) -> tuple[float, str]:
    if view.note and not len(view.genes):
        return float("nan"), view.note
    value, reason = attempt(metric, predicted, *compared)
    return value, reason or view.note


def _sorted(table: pd.DataFrame, orders: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Rows in the given order of models, conditions and metrics."""
    places = {column: {name: place for place, name in enumerate(names)} for column, names in orders.items()}
    return table.sort_values(list(places), key=lambda names: names.map(places[names.name]), ignore_index=True)
