"""How well a score can be (noise ceiling) and how well it is for nothing (floor), from the cells alone.

* ``ceiling``: one half of a condition's cells and of the reference control cells predicts, the other half of both is
  scored; then the score of whole samples instead of halves where that is known (``Metric.depth``: Spearman-Brown for
  correlations, error variance in proportion to 1 / cells). It is what a repeat of the experiment would score.
  Other scores (directions, ranks, overlaps) stay those of halves, which is low. Where genes are chosen or cells are cut
  once more (``_de20``, ``_heldout``) the correction is about right, for it takes the two halves to be alike.
* ``ceiling_bootstrap``: cells drawn with replacement from a condition's own cells predict, against the model's control
  cells, and all of them are scored as ``evaluate`` does. Prediction and truth share the noise of the cells, so it is
  high for conditions of few cells.

A prediction without noise can score above ``ceiling``: its correlation with the truth reaches the square root of a
repeat's. The two together bracket what is there to be reached.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError
from grape_dgl.evaluation.catalogue import card
from grape_dgl.evaluation.evaluate import evaluate
from grape_dgl.evaluation.views import halves


def ceiling(
    screen: Screen,
    control: ControlHalves,
    conditions: Sequence[str],
    seed: int = 0,
    *,
    repeats: int = 10,
    exclude_targets: bool = False,
    metrics: Sequence[str] | None = None,
    trained: np.ndarray | None = None,
) -> pd.DataFrame:
    """Both noise ceilings as the columns of ``evaluate``, for models ``ceiling`` and ``ceiling_bootstrap``.

    Arguments as for ``evaluate``. Each value is a mean over ``repeats`` random draws; it is NaN with a reason where no
    draw has a value. A correlation of halves that is not positive is kept as it stands, with a reason: leaving it out
    would raise the mean over conditions. Raises DataError where there are fewer than two reference control cells.
    """
    if len(control.reference) < 2:
        raise DataError("one reference control cell; a noise ceiling needs at least two control cells on that side")
    tables = []
    for repeat in range(repeats):
        draw = [seed, repeat]
        parts = _split_half(screen, control, conditions, int(np.random.default_rng(draw).integers(2**31)))
        boot = {"ceiling_bootstrap": _resampled(screen, control, conditions, np.random.default_rng([*draw, 1]))}
        for cells, sides, changes in (parts, (screen, control, boot)):
            # the same mean expression over the training conditions, whatever control cells stand in it
            other = screen.control_mean(control.model) - cells.control_mean(sides.model)
            tables.append(
                evaluate(
                    cells, sides, changes, conditions, seed, exclude_targets=exclude_targets, metrics=metrics,
                    trained=None if trained is None else trained + other,
                )
            )  # fmt: skip
    keys = ["model", "condition", "metric"]
    grouped = pd.concat(tables).groupby(keys, sort=False)
    table = grouped.agg(value=("value", "mean"), reason=("reason", _common)).reset_index()
    whole = [_at_full_depth(*row) for row in table[["model", "metric", "value", "reason"]].itertuples(index=False)]
    table["value"], table["reason"] = zip(*whole, strict=True) if whole else ([], [])
    few = table["condition"].map({c: len(screen.cells(c)) < 2 for c in conditions}) & (table["model"] == "ceiling")
    table.loc[few, ["value", "reason"]] = float("nan"), "halves need at least two cells of the condition"
    order = table["model"] == "ceiling_bootstrap"
    return pd.concat([table[~order], table[order]], ignore_index=True)


def floor(
    screen: Screen,
    control: ControlHalves,
    conditions: Sequence[str],
    trained: np.ndarray,
    seed: int = 0,
    *,
    exclude_targets: bool = False,
    metrics: Sequence[str] | None = None,
) -> pd.DataFrame:
    """``evaluate`` of no change (``control``) and of the mean of ``trained`` [conditions, measured] (``mean``)."""
    mean = np.float32(np.atleast_2d(trained).mean(axis=0))
    changes = {
        "control": np.zeros((len(conditions), screen.genes.measured), dtype=np.float32),
        "mean": np.tile(mean, (len(conditions), 1)),
    }
    return evaluate(
        screen, control, changes, conditions, seed, exclude_targets=exclude_targets, metrics=metrics, trained=trained
    )


def normalised(
    score: np.ndarray | float,
    floor: np.ndarray | float,
    ceiling: np.ndarray | float,
    best: Literal["high", "low"] = "high",
) -> np.ndarray:
    """(score - floor) / (ceiling - floor): 0 at the floor, 1 at the ceiling.

    NaN where one of the three is missing or the ceiling is not better than the floor (``best`` says which way is).
    """
    score, floor, ceiling = (np.asarray(value, dtype=np.float64) for value in (score, floor, ceiling))
    better = ceiling > floor if best == "high" else ceiling < floor
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(better, (score - floor) / (ceiling - floor), np.nan)


def _split_half(
    screen: Screen, control: ControlHalves, conditions: Sequence[str], seed: int
) -> tuple[Screen, ControlHalves, dict[str, np.ndarray]]:
    """The screen without the predicting halves, its control sides, and what those halves predict."""
    first, second = halves(screen, "control", control.reference, seed)
    cells = {c: halves(screen, c, screen.cells(c), seed) for c in conditions}
    rows = np.concatenate([first, second, *(scored if len(scored) else whole for whole, scored in cells.values())])
    kept = sorted({*conditions})
    place = {c: kept.index(c) for c in conditions}
    sizes = [len(scored) or len(whole) for whole, scored in cells.values()]
    rest = dataclasses.replace(
        screen,
        expression=screen.expression[rows],
        condition=np.concatenate([np.full(len(control.reference), -1), np.repeat([place[c] for c in cells], sizes)]),
        conditions=tuple(kept),
        batch=screen.batch[rows],
        rank=None,
        stored_de={c: genes for c, genes in screen.stored_de.items() if c in place},
    )
    sides = ControlHalves(np.arange(len(first)), np.arange(len(first), len(control.reference)))
    changes = [_mean(screen, cells[c][0]) - rest.control_mean(sides.model, c) for c in conditions]
    return rest, sides, {"ceiling": np.stack(changes)}


def _resampled(
    screen: Screen, control: ControlHalves, conditions: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Changes [conditions, measured] of as many cells of each condition, drawn with replacement."""
    drawn = (rng.choice(screen.cells(c), len(screen.cells(c))) for c in conditions)
    return np.stack(
        [_mean(screen, rows) - screen.control_mean(control.model, c) for rows, c in zip(drawn, conditions, strict=True)]
    )


def _mean(screen: Screen, rows: np.ndarray) -> np.ndarray:
    return np.asarray(screen.expression[rows].mean(axis=0), dtype=np.float64).ravel()


def _common(reasons: pd.Series) -> str:
    """The most frequent reason, or none where some draw needed none."""
    return "" if (reasons == "").any() else str(reasons.mode().iloc[0])


def _at_full_depth(model: str, name: str, value: float, reason: str) -> tuple[float, str]:
    """The mean score of halves as that of whole samples."""
    depth = card(name)[0].depth
    if model != "ceiling" or np.isnan(value):
        return value, reason
    if depth == "correlation":
        if value <= 0:
            return value, "the halves do not agree; the score of halves is kept"
        return 2 * value / (1 + value), reason
    return value / {"square": 2.0, "root": 2.0**0.5}.get(depth, 1.0), reason
