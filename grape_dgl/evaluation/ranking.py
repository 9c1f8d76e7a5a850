"""Metrics that ask whether a prediction is nearer to its own condition than to the other test conditions.

Each takes one predicted vector [genes], the observed vectors [conditions, genes] of all test conditions, and the row
that is its own. They depend on which conditions are in the test part, never on other models.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

from grape_dgl.evaluation.cards import Undefined, metric

CELL_EVAL = "cell-eval 0.8, discrimination_score_"
PITFALLS = (
    "Chance is (n + 1) / 2n over n test conditions, which many near-alike conditions make hard to beat. A tie counts "
    "half; cell-eval breaks it by the order of conditions. All targets of a combination are left out; cell-eval leaves "
    "out the gene that is named as the condition."
)


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of conditions", of="expression", beside="own",
    formula="share of the other test conditions c with |p - o_c| > |p - o_own| (Euclidean)",
    pitfalls="Chance is .5. A tie counts as wrong. Depends on the test part.",
    source="Vinas Torne et al. 2025 (Systema), centroid accuracy",
)  # fmt: skip
def centroid_accuracy(predicted: np.ndarray, observed: np.ndarray, own: int) -> float:
    """Share of the other test conditions whose observed profile is farther from the prediction than its own."""
    distance = _distances(predicted, observed, "euclidean")
    return float(np.sum(distance > distance[own]) / (len(distance) - 1))


@metric(
    best="high", bounds=(0.0, 1.0), unit="normalised rank", beside="own", without_targets=True,
    formula="1 - rank / n; rank = conditions whose change is nearer to p than o_own, by sum_g |p_g - o_g|",
    pitfalls=PITFALLS, source=CELL_EVAL + "l1",
)  # fmt: skip
def discrimination_l1(predicted: np.ndarray, observed: np.ndarray, own: int) -> float:
    """Rank of the own condition among all test conditions, by Manhattan distance of changes."""
    return _discrimination(predicted, observed, own, "cityblock")


@metric(
    best="high", bounds=(0.0, 1.0), unit="normalised rank", beside="own", without_targets=True,
    formula="1 - rank / n; rank = conditions whose change is nearer to p than o_own, by Euclidean distance",
    pitfalls=PITFALLS, source=CELL_EVAL + "l2",
)  # fmt: skip
def discrimination_l2(predicted: np.ndarray, observed: np.ndarray, own: int) -> float:
    """Rank of the own condition among all test conditions, by Euclidean distance of changes."""
    return _discrimination(predicted, observed, own, "euclidean")


@metric(
    best="high", bounds=(0.0, 1.0), unit="normalised rank", beside="own", without_targets=True,
    formula="1 - rank / n; rank = conditions whose change is nearer to p than o_own, by 1 - cosine",
    pitfalls=PITFALLS + " Undefined for a prediction of no change.", source=CELL_EVAL + "cosine",
)  # fmt: skip
def discrimination_cosine(predicted: np.ndarray, observed: np.ndarray, own: int) -> float:
    """Rank of the own condition among all test conditions, by cosine distance of changes."""
    if not predicted.any():
        raise Undefined("the predicted change is zero and has no direction")
    if not observed.any(axis=1).all():
        raise Undefined("the observed change of a test condition is zero and has no direction")
    return _discrimination(predicted, observed, own, "cosine")


def _discrimination(
    predicted: np.ndarray, observed: np.ndarray, own: int, by: Literal["cityblock", "euclidean", "cosine"]
) -> float:
    distance = _distances(predicted, observed, by)
    ties = np.sum(distance == distance[own]) - 1
    return float(1 - (np.sum(distance < distance[own]) + ties / 2) / len(distance))


def _distances(
    predicted: np.ndarray, observed: np.ndarray, by: Literal["cityblock", "euclidean", "cosine"]
) -> np.ndarray:
    """Distance of the prediction to each observed vector [conditions]; Undefined without company or genes."""
    if len(observed) < 2:
        raise Undefined("a rank needs at least two test conditions")
    if not len(predicted):
        raise Undefined("no gene left to compare")
    return cdist(predicted[None].astype(np.float64, copy=False), observed.astype(np.float64, copy=False), by)[0]
