"""Metrics of one condition: a predicted gene vector against an observed one.

Each metric is a function over two 1-D arrays [genes] and carries its card (best direction, bounds, source, what it
compares); the metric table of the docs is built from these cards. A metric that has no value raises Undefined with the
reason: the score is then missing and counted, never 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Function = Callable[[np.ndarray, np.ndarray], float]


class Undefined(ValueError):
    """The metric has no value for these vectors; the message is the reason."""


@dataclass(frozen=True)
class Metric:
    """One metric: its function and its card."""

    name: str
    function: Function
    best: Literal["high", "low"]
    bounds: tuple[float, float]
    source: str
    of: Literal["change", "expression"]
    """What it compares: change from control, or expression."""

    def __call__(self, predicted: np.ndarray, observed: np.ndarray) -> float:
        return self.function(predicted, observed)


METRICS: dict[str, Metric] = {}


def metric(
    *,
    best: Literal["high", "low"],
    bounds: tuple[float, float],
    source: str,
    of: Literal["change", "expression"] = "change",
) -> Callable[[Function], Function]:
    """Register a function under its own name, with its card."""

    def register(function: Function) -> Function:
        METRICS[function.__name__] = Metric(function.__name__, function, best, bounds, source, of)
        return function

    return register


@metric(best="low", bounds=(0.0, np.inf), source="Chi et al. 2025, RMSE", of="expression")
def rmse(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Root of the mean squared error over genes of the mean expression profile."""
    predicted, observed = _pair(predicted, observed)
    return float(np.sqrt(np.mean((predicted - observed) ** 2)))


@metric(best="high", bounds=(0.0, 1.0), source="Chi et al. 2025, DAC")
def dac(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Direction accuracy: share of genes whose predicted change has the observed sign; 0 agrees with 0 only.

    A gene that is silent everywhere counts as right for a model that predicts no change: see dac_nonzero.
    """
    predicted, observed = _pair(predicted, observed)
    return float(np.mean(np.sign(predicted) == np.sign(observed)))


@metric(best="high", bounds=(0.0, 1.0), source="grape_dgl: DAC that gives no credit for silent genes")
def dac_nonzero(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Direction accuracy over the genes whose observed change is not zero."""
    predicted, observed = _pair(predicted, observed)
    changed = observed != 0
    if not changed.any():
        raise Undefined("no gene has an observed change")
    return float(np.mean(np.sign(predicted[changed]) == np.sign(observed[changed])))


@metric(best="high", bounds=(-1.0, 1.0), source="Chi et al. 2025, PCC_delta")
def pcc_delta(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Pearson correlation over genes of predicted and observed change from control."""
    predicted, observed = _pair(predicted, observed)
    if len(predicted) < 2:
        raise Undefined("a correlation needs at least two genes")
    centred = [_centred(predicted, "predicted"), _centred(observed, "observed")]
    return float(np.clip(centred[0] @ centred[1], -1.0, 1.0))


def card_table() -> list[dict[str, Any]]:
    """One row per metric: name, best, low and high bound, source, what it compares and the docstring's first line."""
    return [
        {
            "metric": m.name,
            "best": m.best,
            "low": m.bounds[0],
            "high": m.bounds[1],
            "source": m.source,
            "of": m.of,
            "meaning": (inspect.getdoc(m.function) or "").partition("\n")[0],
        }
        for m in METRICS.values()
    ]


def _pair(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64; Undefined without genes."""
    if predicted.shape != observed.shape or predicted.ndim != 1:
        raise ValueError(f"expected two vectors [genes], found shapes {predicted.shape} and {observed.shape}")
    if not len(predicted):
        raise Undefined("no gene left to compare")
    return predicted.astype(np.float64), observed.astype(np.float64)


def _centred(values: np.ndarray, which: str) -> np.ndarray:
    """``values`` minus their mean, at unit length; Undefined where they are constant up to rounding."""
    centred = values - values.mean()
    length = np.linalg.norm(centred)
    if length <= 1e-12 * np.linalg.norm(values):
        raise Undefined(f"the {which} change is the same for every gene")
    return centred / length
