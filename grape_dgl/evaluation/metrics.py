"""Metrics of one condition: a predicted gene vector against an observed one, both 1-D arrays [genes]."""

from __future__ import annotations

import numpy as np

from grape_dgl.evaluation.cards import Undefined, correlation, metric, pair

LOG = "log1p expression"
GEARS = "Roohani, Huang, Leskovec 2024 (GEARS)"


@metric(
    best="low", bounds=(0.0, np.inf), unit=LOG, of="expression", symmetric=True, depth="root",
    formula="sqrt(mean_g (p_g - o_g)^2)",
    pitfalls="Genes that do not change dominate: no change at all scores well. Grows with the noise of the control "
    "mean, which stands in the prediction. pertpy's root_mean_squared_error is this times sqrt(genes).",
    source="Chi et al. 2025 (GRAPE), RMSE",
)  # fmt: skip
def rmse(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Root of the mean squared error over genes of the mean expression profile."""
    return float(np.sqrt(mse(predicted, observed)))


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes", symmetric=True,
    formula="mean_g [sign(p_g) = sign(o_g)]",
    pitfalls="sign(0) = sign(0) counts as right, so silent genes reward a model that predicts no change; see "
    "dac_nonzero. On DE genes it is GEARS' share of DE20 in the right direction.",
    source="Chi et al. 2025 (GRAPE), DAC",
)  # fmt: skip
def dac(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Direction accuracy: share of genes whose predicted change has the observed sign; 0 agrees with 0 only."""
    predicted, observed = pair(predicted, observed)
    return float(np.mean(np.sign(predicted) == np.sign(observed)))


@metric(
    best="high", bounds=(0.0, 1.0), unit="share of genes",
    formula="mean over {g: o_g != 0} of [sign(p_g) = sign(o_g)]",
    pitfalls="Most observed signs are noise: chance is .5, and the ceiling is far below 1.",
    source="grape_dgl: DAC that gives no credit for silent genes",
)  # fmt: skip
def dac_nonzero(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Direction accuracy over the genes whose observed change is not zero."""
    predicted, observed = pair(predicted, observed)
    changed = observed != 0
    if not changed.any():
        raise Undefined("no gene has an observed change")
    return float(np.mean(np.sign(predicted[changed]) == np.sign(observed[changed])))


@metric(
    best="high", bounds=(-1.0, 1.0), unit="correlation", symmetric=True, depth="correlation",
    formula="Pearson_g(p, o)",
    pitfalls="Blind to scale. With one control mean in the prediction and in the truth (*_shared_control) its noise "
    "alone correlates them. The mean of the training changes scores well: see pcc_perturbed_mean. Equal to GEARS' and "
    "cell-eval's pearson_delta.",
    source="Chi et al. 2025 (GRAPE), PCC_delta",
)  # fmt: skip
def pcc_delta(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Pearson correlation over genes of predicted and observed change from control."""
    return correlation(*pair(predicted, observed))


@metric(
    best="low", bounds=(0.0, np.inf), unit=f"({LOG})^2", of="expression", symmetric=True, depth="square",
    formula="mean_g (p_g - o_g)^2",
    pitfalls="The square of rmse for one condition; its mean over conditions is led by the strongest ones.",
    source=f"{GEARS}, mse; cell-eval, mse; pertpy, mse",
)  # fmt: skip
def mse(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Mean squared error over genes of the mean expression profile."""
    predicted, observed = pair(predicted, observed)
    return float(np.mean((predicted - observed) ** 2))


@metric(
    best="low", bounds=(0.0, np.inf), unit=LOG, symmetric=True, depth="root",
    formula="mean_g |p_g - o_g|",
    pitfalls="Genes that do not change dominate. The change of log1p expression is a log fold change with a "
    "pseudocount of 1 normalised count.",
    source="cell-eval, mae_delta; pertpy, mean_absolute_error of changes",
)  # fmt: skip
def mae_delta(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Mean absolute error over genes of the log fold change."""
    predicted, observed = pair(predicted, observed)
    return float(np.mean(np.abs(predicted - observed)))


@metric(
    best="low", bounds=(0.0, np.inf), unit=f"({LOG})^2", of="expression", beside="weights", symmetric=True,
    depth="square",
    formula="sum_g w_g (p_g - o_g)^2; w = m^2 / sum(m^2), m = |t| scaled to 0..1 over genes",
    pitfalls="The weights come from the cells that are scored. Here t compares with control cells, as in the authors' "
    "second form; their first compares with the cells of all other perturbations.",
    source="Mejia et al. 2025 (Diversity by Design), WMSE",
)  # fmt: skip
def wmse(predicted: np.ndarray, observed: np.ndarray, weights: np.ndarray) -> float:
    """Squared error of the mean expression profile, weighted by evidence of differential expression."""
    predicted, observed = pair(predicted, observed)
    total = weights.sum()
    if not total > 0:
        raise Undefined("no gene has more evidence of a change than another")
    return float(weights @ (predicted - observed) ** 2 / total)


def de_weights(scores: np.ndarray) -> np.ndarray:
    """Weights [genes] of ``wmse``, not yet summing to 1, from t-scores [genes]; all 0 where the scores are equal."""
    size = np.abs(scores)
    span = np.ptp(size) if len(size) else 0.0
    return ((size - size.min()) / span) ** 2 if span > 0 else np.zeros_like(size)


@metric(
    best="high", bounds=(-1.0, 1.0), unit="correlation", of="expression", beside="perturbed_mean", symmetric=True,
    depth="correlation",
    formula="Pearson_g(p - m, o - m), m = mean expression over the training conditions",
    pitfalls="Undefined for the mean of the training conditions itself. No change at all does not score 0: it predicts "
    "-m, and weak conditions lie on that side.",
    source="Vinas Torne et al. 2025 (Systema), Pearson delta with perturbed reference",
)  # fmt: skip
def pcc_perturbed_mean(predicted: np.ndarray, observed: np.ndarray, perturbed_mean: np.ndarray) -> float:
    """Pearson correlation of what is left of prediction and truth after the mean of the training conditions."""
    predicted, observed = pair(predicted, observed)
    mean = perturbed_mean.astype(np.float64)
    if np.linalg.norm(predicted - mean) <= 1e-6 * np.linalg.norm(mean):  # float32 rounding of the same vector
        raise Undefined("the prediction is the mean of the training conditions")
    return correlation(predicted - mean, observed - mean, "difference from the perturbed mean")


@metric(
    best="high", bounds=(-1.0, 1.0), unit="correlation", of="expression", symmetric=True, depth="correlation",
    formula="Pearson_g(p, o)",
    pitfalls="Says that genes differ in expression: no change at all scores close to 1. For comparison with papers.",
    source=f"{GEARS}, pearson; 1 - pertpy's pearson_distance",
)  # fmt: skip
def pearson(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Pearson correlation over genes of predicted and observed mean expression."""
    return correlation(*pair(predicted, observed), "expression")


@metric(
    best="high", bounds=(-np.inf, 1.0), unit="share of variance", of="expression",
    formula="1 - sum_g (p_g - o_g)^2 / sum_g (o_g - mean(o))^2",
    pitfalls="As pearson: no change at all scores close to 1. For comparison with papers.",
    source="Wu et al. 2023 (GraphVCI), R2; 1 - pertpy's r2_distance, observation first",
)  # fmt: skip
def r2(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Share of the variance over genes of the observed mean expression that the prediction explains."""
    predicted, observed = pair(predicted, observed)
    total = np.sum((observed - observed.mean()) ** 2)
    if total <= 1e-24 * np.sum(observed**2):
        raise Undefined("the observed expression is the same for every gene")
    return float(1 - np.sum((predicted - observed) ** 2) / total)
