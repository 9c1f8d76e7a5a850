"""Metrics of differentially expressed genes: do the largest predicted changes stand where a test finds changes?

Each takes predicted and observed change [genes] and which genes the test calls significant (bool [genes]). A predicted
mean has no significance, so predicted genes are ranked among all genes: the numbers of cell-eval where every predicted
gene is significant and fold changes have a pseudocount of 1 (``pdex_kwargs={"epsilon": 1}``), which makes them changes
of log1p expression.
"""

from __future__ import annotations

import numpy as np

from grape_dgl.evaluation.cards import Undefined, metric, pair

PITFALLS = (
    "The more cells, the more genes are significant: compare within a data set. A gene with a large change that is not "
    "significant keeps even a perfect mean below 1: read it beside the ceiling. Ties share a place, so no change at "
    "all scores chance. cell-eval gives 0 where no gene is significant, and its default pseudocount of 0 ranks genes "
    "first that are silent in the control."
)


def _top(size: np.ndarray, number: int) -> np.ndarray:
    """How much each gene is among the ``number`` largest [genes]: 1 or 0; genes that tie share the last places."""
    if number >= len(size):
        return np.ones(len(size))
    last = np.partition(size, -number)[-number]
    above, tied = size > last, size == last
    return above + tied * (number - above.sum()) / tied.sum()


def _shared(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray, number: int, recall: bool) -> float:
    """Share of the top genes that prediction and observation have in common, in expectation over the order of ties."""
    predicted, observed = _checked(predicted, observed, significant)
    found = int(significant.sum())
    number = min(number, found if recall else len(predicted))
    truth = np.zeros(len(observed))
    truth[significant] = _top(np.abs(observed[significant]), min(number, found))
    return float(truth @ _top(np.abs(predicted), number) / number)


def _checked(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, observed = pair(predicted, observed)
    if not significant.any():
        raise Undefined("no gene is significant")
    return predicted, observed


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes", beside="significant",
    formula="|top_N(|p|) and S| / N, S = significant genes, N = |S|",
    pitfalls=PITFALLS, source="cell-eval 0.8, overlap_at_N",
)  # fmt: skip
def overlap_at_N(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> float:  # noqa: N802
    """Share of the N significant genes among the N largest predicted changes."""
    return _shared(predicted, observed, significant, len(predicted), recall=True)


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes", beside="significant",
    formula="|top_k(|p|) and top_k(|o| within S)| / k, k = min(50, |S|)",
    pitfalls=PITFALLS, source="cell-eval 0.8, overlap_at_50",
)  # fmt: skip
def overlap_at_50(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> float:
    """Share of the 50 largest significant changes among as many largest predicted changes."""
    return _shared(predicted, observed, significant, 50, recall=True)


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes", beside="significant",
    formula="|top_k(|p|) and top_k(|o| within S)| / k, k = min(50, genes)",
    pitfalls=PITFALLS + " With fewer than 50 significant genes 1 is out of reach.",
    source="cell-eval 0.8, precision_at_50",
)  # fmt: skip
def precision_at_50(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> float:
    """Share of the 50 largest predicted changes that are among the 50 largest significant ones."""
    return _shared(predicted, observed, significant, 50, recall=False)


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes", beside="significant", symmetric=True,
    formula="mean over S of [sign(p_g) = sign(o_g)]",
    pitfalls="Chance is .5, or the share of the more frequent direction. Undefined without significant genes.",
    source="cell-eval 0.8, de_direction_match",
)  # fmt: skip
def direction_match(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> float:
    """Share of the significant genes whose predicted change has the observed sign."""
    predicted, observed = _checked(predicted, observed, significant)
    return float(np.mean(np.sign(predicted[significant]) == np.sign(observed[significant])))
