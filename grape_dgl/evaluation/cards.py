"""What a metric is: a function and its card. The docs (docs/metrics.md) are made of the cards.

A metric that has no value raises Undefined with the reason: the score is then missing and counted, never 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Function = Callable[..., float]
Best = Literal["high", "low"]
Of = Literal["change", "expression", "cells"]
Beside = Literal["", "weights", "significant", "perturbed_mean", "own"]
Depth = Literal["", "correlation", "square", "root"]


class Undefined(ValueError):
    """The metric has no value for these arrays; the message is the reason."""


def attempt(score: Function, *given: Any) -> tuple[float, str]:
    """A score and no reason, or NaN and the reason."""
    try:
        return score(*given), ""
    except Undefined as undefined:
        return float("nan"), str(undefined)


@dataclass(frozen=True)
class Metric:
    """One metric: its function and its card.

    ``beside`` says what the function takes:

    * ``""``: predicted and observed vector [genes], or two matrices [cells, genes] where ``of`` is ``cells``.
    * ``weights``, ``significant``, ``perturbed_mean``: a third vector [genes]: weights, whether a test calls the gene
      changed, mean expression over the training conditions.
    * ``own``: one predicted vector [genes] against the observed vectors [conditions, genes] of all test conditions, and
      the row that is its own.
    """

    name: str
    function: Function
    best: Best
    bounds: tuple[float, float]
    formula: str
    unit: str
    pitfalls: str
    source: str
    of: Of
    """What it compares: change from control, expression, or cells."""
    beside: Beside
    symmetric: bool
    """Whether predicted and observed can be exchanged."""
    without_targets: bool
    """Whether the genes a condition perturbs are always left out."""
    depth: Depth
    """How the score of two half samples becomes that of two whole ones: Spearman-Brown, halved, divided by root 2."""

    def __call__(self, predicted: np.ndarray, observed: np.ndarray, *beside: Any) -> float:
        return self.function(predicted, observed, *beside)

    @property
    def meaning(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


METRICS: dict[str, Metric] = {}


def metric(
    *,
    best: Best,
    bounds: tuple[float, float],
    formula: str,
    pitfalls: str,
    source: str,
    unit: str = "",
    of: Of = "change",
    beside: Beside = "",
    symmetric: bool = False,
    without_targets: bool = False,
    depth: Depth = "",
) -> Callable[[Function], Function]:
    """Register a function under its own name, with its card. In formulas p is predicted, o observed, g a gene."""

    def register(function: Function) -> Function:
        METRICS[function.__name__] = Metric(
            function.__name__, function, best, bounds, formula, unit, pitfalls, source, of, beside, symmetric,
            without_targets, depth,
        )  # fmt: skip
        return function

    return register


def pair(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both vectors as float64; Undefined without genes."""
    if predicted.shape != observed.shape or predicted.ndim != 1:
        raise ValueError(f"expected two vectors [genes], found shapes {predicted.shape} and {observed.shape}")
    if not len(predicted):
        raise Undefined("no gene left to compare")
    return predicted.astype(np.float64), observed.astype(np.float64)


def correlation(predicted: np.ndarray, observed: np.ndarray, what: str = "change") -> float:
    """Pearson correlation of two float64 vectors; Undefined where one is constant (``what`` names it)."""
    if len(predicted) < 2:
        raise Undefined("a correlation needs at least two genes")
    a, b = _centred(predicted, f"predicted {what}"), _centred(observed, f"observed {what}")
    return float(np.clip(a @ b, -1.0, 1.0))


def _centred(values: np.ndarray, which: str) -> np.ndarray:
    """``values`` minus their mean, at unit length; Undefined where they are constant up to rounding."""
    centred = values - values.mean()
    length = np.linalg.norm(centred)
    if length <= 1e-12 * np.linalg.norm(values):
        raise Undefined(f"the {which} is the same for every gene")
    return centred / length
