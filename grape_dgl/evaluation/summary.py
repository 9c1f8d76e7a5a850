"""Means and paired differences over conditions, which are the sample: each counts once, however often it is tested.

Where a table holds several splits (a condition then has several rows per model and metric), a condition is first
averaged over the splits it appears in. Undefined scores are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from grape_dgl.errors import DataError, did_you_mean

SPLIT_COLUMNS = ("seed", "split")


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Plain nested values for JSON from a long table of ``evaluate``.

    ``test``: model -> metric -> mean over conditions, None where no condition has a value. ``standard_error``: of that
    mean, None below two conditions. ``n_test``: number of conditions. ``n_undefined``: model -> metric -> number of
    undefined scores.
    """
    means: dict[str, dict[str, float | None]] = {}
    errors: dict[str, dict[str, float | None]] = {}
    undefined: dict[str, dict[str, int]] = {}
    for (model, metric), group in table.groupby(["model", "metric"], sort=False):
        values = group.groupby("condition")["value"].mean().dropna()
        means.setdefault(model, {})[metric] = float(values.mean()) if len(values) else None
        errors.setdefault(model, {})[metric] = float(values.sem()) if len(values) > 1 else None
        undefined.setdefault(model, {})[metric] = int(group["value"].isna().sum())
    return {
        "test": means,
        "standard_error": errors,
        "n_test": int(table["condition"].nunique()),
        "n_undefined": undefined,
    }


@dataclass(frozen=True)
class Difference:
    """Mean difference of two models over conditions, with its 95 % bootstrap interval."""

    mean: float | None
    low: float | None
    high: float | None
    """None where fewer than two conditions (or groups) have both scores."""
    n: int
    """Conditions with both scores."""
    n_undefined: int
    """Conditions without both."""


def bootstrap(
    table: pd.DataFrame,
    model_a: str,
    model_b: str,
    metric: str,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    n: int = 2000,
    seed: int = 0,
) -> Difference:
    """Score of ``model_a`` minus score of ``model_b``, paired by condition, resampled over conditions.

    A condition is first averaged over its splits, where the table has a column ``seed`` or ``split``. ``groups`` gives
    each condition the unit or units that are resampled instead, such as its target genes: a condition then weighs the
    product of how often its units were drawn (Owen's pigeonhole bootstrap), so that combinations which share a gene
    do not count as independent. Raises DataError for an unknown model or metric.
    """
    for column, wanted in (("model", model_a), ("model", model_b), ("metric", metric)):
        known = list(table[column].unique())
        if wanted not in known:
            hint = did_you_mean(wanted, known)
            raise DataError(f"the table has no {column} '{wanted}'{hint}; there are: {', '.join(known)}")
    rows = table[table["metric"] == metric]
    keys = ["condition", *(c for c in SPLIT_COLUMNS if c in table)]
    scores = rows.pivot_table(index=keys, columns="model", values="value", dropna=False)
    paired = (scores[model_a] - scores[model_b]).groupby("condition").mean()
    found = paired.dropna()
    if found.empty:
        return Difference(None, None, None, 0, len(paired))
    values = found.to_numpy()
    units = [_units(groups[c]) if groups is not None else (c,) for c in found.index]
    drawn = resampled(values, units, n, seed)
    low, high = (None, None) if drawn is None else (float(q) for q in np.percentile(drawn, [2.5, 97.5]))
    return Difference(float(values.mean()), low, high, len(found), len(paired) - len(found))


def resampled(values: np.ndarray, units: Sequence[tuple[str, ...]], n: int = 2000, seed: int = 0) -> np.ndarray | None:
    """Means of ``values`` [conditions] in ``n`` draws of their units (less those that miss every condition).

    None with fewer than two conditions or units.
    """
    if len(values) < 2 or len({one for unit in units for one in unit}) < 2:
        return None
    weights = _weights(units, n, np.random.default_rng(seed))
    total = weights.sum(axis=1)
    some = total > 0
    return weights[some] @ values / total[some]


def _units(group: str | Sequence[str]) -> tuple[str, ...]:
    return (group,) if isinstance(group, str) else tuple(group)


def _weights(units: Sequence[tuple[str, ...]], n: int, rng: np.random.Generator) -> np.ndarray:
    """How much each condition weighs in each of ``n`` draws of units with replacement, [n, conditions]."""
    names = sorted({u for unit in units for u in unit})
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    column = {name: i for i, name in enumerate(names)}
    return np.stack([counts[:, [column[u] for u in unit]].prod(axis=1) for unit in units], axis=1).astype(np.float64)
