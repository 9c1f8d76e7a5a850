"""Every score of the long table: which metric is taken in which form, under which name; and their page of the docs.

A score's name is a metric's name and the ending of a form. The plain names lead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.errors import DataError, did_you_mean
from grape_dgl.evaluation import distances, metrics, overlap, ranking  # noqa: F401 (importing them fills METRICS)
from grape_dgl.evaluation.cards import METRICS, Metric

DE_SIZES = (20, 40)
PAPER = ("dac", "pcc_delta")
TESTED = ("overlap_at_N", "overlap_at_50", "precision_at_50", "direction_match")
RANKS = ("centroid_accuracy", "discrimination_l1", "discrimination_l2", "discrimination_cosine")

_DE = {f"_de{size}": PAPER for size in DE_SIZES}
STANDARD: dict[str, tuple[str, ...]] = {
    "": ("rmse", "dac", "dac_nonzero", "pcc_delta"),
    **_DE,
    "_shared_control": PAPER,
    **{f"{form}_shared_control": names for form, names in _DE.items()},
    **{f"{form}_heldout": names for form, names in _DE.items()},
}
"""Ending -> metrics of the first scores; their names and order are a contract."""

CELL_SCORES = tuple(name for name, metric in METRICS.items() if metric.of == "cells")
"""Of predicted cells (``evaluation.cells``)."""
FORMS = {
    "": "all genes. The observed change is taken from reference control cells that no model has seen (disjoint "
    "controls), the predicted change from the model's own control cells.",
    "_de20, _de40": "the 20 or 40 genes with the highest absolute t-score of the condition's cells against the "
    "reference control cells.",
    "_shared_control": "the paper's form. One control mean, the model's, stands in the prediction and in the truth, "
    "and its noise correlates them; DE genes are those stored in the file, else from all control cells.",
    "_heldout": "DE genes are chosen on cells that are not scored. The condition's cells and the reference control "
    "cells are each cut into two halves (at random by seed, evenly within each batch); the genes are chosen on the "
    "first half of both, and the observed change is the second half's mean minus the second half's control mean.",
    "_ttest, _wilcoxon": "significant genes are those of Welch's t-test, or of the Wilcoxon rank-sum test, of the "
    "condition's cells against the reference control cells at a false discovery rate of 5 % (Benjamini-Hochberg). "
    "A silent gene counts as a test with p = 1, as in scanpy; pertpy leaves it out, and its TTest is Student's unless "
    "equal_var=False.",
}
"""What the ending of a score's name says."""


DEPTHS = {"": "as it is", "correlation": "Spearman-Brown", "square": "halved", "root": "divided by root 2"}


def metric_names(trained: bool = False) -> list[str]:
    """Scores that ``evaluate`` gives when none are named, in the order of its table; ``trained``: with Systema's."""
    first = [name + form for form, names in STANDARD.items() for name in names]
    more = ["mse", "mse_de20", "mae_delta", "wmse", *RANKS, *(f"{name}_ttest" for name in TESTED)]
    return first + more + (["pcc_perturbed_mean", "pcc_perturbed_mean_de20"] if trained else [])


def all_names() -> list[str]:
    """Every score that ``evaluate`` knows, in the order of its table."""
    asked = ["mse_de20_shared_control", *(f"{name}_wilcoxon" for name in TESTED), "pearson", "pearson_de20", "r2"]
    return metric_names(trained=True) + asked


def check_names(names: Sequence[str]) -> None:
    """DataError for a name that ``evaluate`` does not know."""
    known = all_names()
    for name in names:
        if name in CELL_SCORES:
            raise DataError(f"'{name}' compares cells, not means: grape-dgl evaluate FILE --cells gives it")
        if name not in known:
            raise DataError(f"there is no metric '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}")


def card(name: str) -> tuple[Metric, str]:
    """The metric of a score and its form: ``pcc_delta_de20`` -> (pcc_delta, ``_de20``)."""
    found = max((m for m in METRICS if name == m or name.startswith(f"{m}_")), key=len)
    return METRICS[found], name[len(found) :]


def page() -> str:
    """The content of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made from the cards by `python -m grape_dgl.evaluation.catalogue > docs/metrics.md`. In formulas p is the",
        "prediction, o the observation, g a gene. A score without a value is missing, with its reason, and counted; it",
        "is never 0.",
        "",
        "## Names",
        "",
        "A score of the long table is a metric in a form; the ending of its name says which.",
        "",
        *(f"* {_code(form) or 'no ending'}: {text}" for form, text in FORMS.items()),
        "",
        "Scores when none are named: " + ", ".join(f"`{name}`" for name in metric_names()) + ".",
        "",
        "With the changes of the training conditions (`evaluate(trained=...)`; the suite gives them) also "
        + ", ".join(f"`{name}`" for name in metric_names(trained=True)[len(metric_names()) :])
        + ". By name only: "
        + ", ".join(f"`{name}`" for name in all_names()[len(metric_names(trained=True)) :])
        + ".",
        "",
        "Numbers that other tools give under other names: GEARS' `pearson_delta` and `pearson_delta_de` are",
        "`pcc_delta_shared_control` and `pcc_delta_de20_shared_control`, its share of DE20 in the right direction is",
        "`dac_de20_shared_control`, its `mse_de` is `mse_de20_shared_control`, on DE genes stored in its files (GEARS",
        "takes the mean of all control cells where ours is the model's half). cell-eval's `pearson_delta` is",
        "`pcc_delta`.",
        "",
        "For models that predict cells: `e_distance` and `mmd`, by `grape-dgl evaluate FILE --cells`, or in a suite",
        "that names them, on samples of equal size, beside control cells and other cells of the condition",
        "(`grape_dgl/evaluation/cells.py`).",
        "",
        "What there is to be reached, and what is reached for nothing: `ceiling`, `floor` and `normalised` in",
        "`grape_dgl/evaluation/ceiling.py`. Whether a model scores where nothing was done: `null_test` in `null.py`.",
        "",
        "## Cards",
    ]
    for name in dict.fromkeys([*(card(score)[0].name for score in all_names()), *METRICS]):
        m = METRICS[name]
        low, high = (_number(bound) for bound in m.bounds)
        lines += [
            "",
            f"### {m.name}",
            "",
            m.meaning,
            "",
            f"* Formula: `{m.formula}`",
            f"* Compares: {m.of}{_beside(m)}. Unit: {m.unit}. Best: {m.best}. Bounds: {low} to {high}. "
            f"Symmetric: {'yes' if m.symmetric else 'no'}. From half to whole samples: {DEPTHS[m.depth]}.",
            f"* Pitfalls: {m.pitfalls}",
            f"* Source: {m.source}",
        ]
    return "\n".join(lines) + "\n"


def _code(form: str) -> str:
    return ", ".join(f"`{part}`" for part in form.split(", ") if part)


def _number(bound: float) -> str:
    return "no bound" if np.isinf(bound) else f"{bound:g}"


def _beside(m: Metric) -> str:
    told = {
        "": "",
        "weights": ", weighted by the scores of a t-test",
        "significant": ", given the genes that a test calls significant",
        "perturbed_mean": ", given the mean of the training conditions",
        "own": ", with that of all test conditions",
    }[m.beside]
    return told + (", without target genes" if m.without_targets else "")


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
