"""What every metric must do, whatever it measures: over all registered cards, and over all scores of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evaluation.screens import GENES, simulated
from grape_dgl.evaluation.cards import METRICS, Metric, Undefined
from grape_dgl.evaluation.catalogue import all_names
from grape_dgl.evaluation.evaluate import evaluate

SEEDS = range(5)
Order = Callable[[np.ndarray], np.ndarray]


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _case(metric: Metric, seed: int, order: Order = _same) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Prediction, truth and what stands beside them; ``order`` puts the genes (last axis) into another order."""
    rng = np.random.default_rng(seed)
    if metric.of == "cells":
        predicted, observed = rng.normal(0.3, 1, (9, 60)), rng.normal(0, 1, (12, 60))
        return order(predicted), order(observed), []
    predicted, observed = rng.normal(size=(2, 60))
    if metric.beside == "own":
        return order(predicted), order(np.concatenate([rng.normal(size=(6, 60)), observed[None]])), [6]
    third = {
        "weights": rng.random(60),
        "significant": np.abs(observed) > 0.5,
        "perturbed_mean": rng.normal(size=60),
    }
    return order(predicted), order(observed), [order(third[metric.beside])] if metric.beside else []


def _better(metric: Metric, a: float, b: float) -> bool:
    return a >= b if metric.best == "high" else a <= b


every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))


@every_metric
def test_a_perfect_prediction_scores_best(metric: Metric) -> None:
    for seed in SEEDS:
        predicted, observed, beside = _case(metric, seed)
        truth = observed[beside[0]] if metric.beside == "own" else observed
        perfect = metric(truth, observed, *beside)
        if metric.name != "precision_at_50":  # fewer than 50 genes are significant
            assert perfect == pytest.approx(metric.bounds[1 if metric.best == "high" else 0], abs=1e-9)
        assert _better(metric, perfect, metric(predicted, observed, *beside))


@every_metric
def test_a_score_stays_within_its_bounds(metric: Metric) -> None:
    for seed in SEEDS:
        predicted, observed, beside = _case(metric, seed)
        assert metric.bounds[0] <= metric(predicted, observed, *beside) <= metric.bounds[1]


@every_metric
def test_symmetric_where_the_card_says_so(metric: Metric) -> None:
    if metric.beside == "own":
        assert not metric.symmetric
        return
    differences = []
    for seed in SEEDS:
        predicted, observed, beside = _case(metric, seed)
        if metric.of != "cells":
            predicted[:20] = 0  # silent genes tell dac and dac_nonzero apart
        differences.append(abs(metric(predicted, observed, *beside) - metric(observed, predicted, *beside)))
    if metric.symmetric:
        assert max(differences) < 1e-9
    else:
        assert max(differences) > 1e-3


@every_metric
def test_the_order_of_genes_does_not_matter(metric: Metric) -> None:
    for seed in SEEDS:
        shuffled = np.random.default_rng([seed, 1]).permutation(60)
        predicted, observed, beside = _case(metric, seed)
        ties = [np.round(values, 0) for values in (predicted, observed)]
        other = _case(metric, seed, lambda values, at=shuffled: values[..., at])  # type: ignore[misc]
        assert metric(*other[:2], *other[2]) == pytest.approx(metric(predicted, observed, *beside), abs=1e-9)
        there = [values[..., shuffled] for values in ties]
        assert metric(*there, *other[2]) == pytest.approx(metric(*ties, *beside), abs=1e-9)


@every_metric
def test_without_genes_or_cells_there_is_no_score(metric: Metric) -> None:
    predicted, observed, beside = _case(metric, 0)
    if metric.of == "cells":
        predicted = predicted[:0]
    else:
        predicted, observed = predicted[:0], observed[..., :0]
        beside = [third if metric.beside == "own" else third[:0] for third in beside]
    with pytest.raises(Undefined):
        metric(predicted, observed, *beside)


@every_metric
def test_a_card_says_everything(metric: Metric) -> None:
    for text in (metric.formula, metric.unit, metric.pitfalls, metric.source, metric.meaning):
        assert text and text == text.strip()
    assert metric.meaning.endswith((".", "only."))
    assert metric.pitfalls.endswith(".")


def _table(*names: str) -> pd.DataFrame:
    screen = simulated(batches=2)
    rng = np.random.default_rng(0)
    changes = {name: rng.normal(0, 0.2, (len(screen.conditions), len(GENES))) for name in ("a", "b")}
    changes["none"] = np.zeros_like(changes["a"])
    trained = rng.normal(0, 0.2, (7, len(GENES)))
    return evaluate(
        screen, screen.control_halves(1), {name: changes[name] for name in names}, screen.conditions,
        metrics=all_names(), trained=trained,
    )  # fmt: skip


def test_no_score_depends_on_the_other_models() -> None:
    together, alone = _table("b", "none", "a"), _table("a")
    found = together[together["model"] == "a"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, alone)
    assert list(dict.fromkeys(alone["metric"])) == all_names()


def test_what_is_undefined_is_missing_and_says_why() -> None:
    table = _table("none", "a")
    missing = table["value"].isna()
    assert missing.any()
    assert (table.loc[missing, "reason"] != "").all()
    none = table[table["model"] == "none"].groupby("metric")["value"]
    for metric in ("pcc_delta", "pcc_delta_de20_shared_control", "discrimination_cosine"):
        assert none.count()[metric] == 0
    assert none.count()["rmse"] == 4
