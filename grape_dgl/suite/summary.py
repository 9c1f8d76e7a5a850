"""What a long table says: means over conditions with intervals, paired differences with Holm's correction, ranks, cost.

Conditions are the sample: a condition is first averaged over the splits it appears in. Where conditions combine genes,
the genes are resampled, since combinations that share one are not independent.

What stands side by side has the same splits: where models have run on different seeds, a data set and kind of split has
several blocks (see `blocks`), each a comparison of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from grape_dgl.data.conditions import targets
from grape_dgl.evaluation.catalogue import card
from grape_dgl.evaluation.ceiling import normalised
from grape_dgl.evaluation.summary import resampled
from grape_dgl.suite.spec import SIMPLE

BLOCK = ["data", "split", "block"]
DRAWS = 2000
FLOOR = ("control", "mean")
CEILINGS = ["ceiling", "ceiling_bootstrap"]
"""Models that are none, see evaluation.ceiling."""
ENOUGH = 0.9
"""Share of the scores that any model has, from which on a model is ranked and can be the best simple one. One whose
prediction is often constant has no correlation there, and what it keeps can be the easy conditions."""


def blocks(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Scores in which every model has the same splits, with what ``BLOCK`` says of them.

    Of each data set and kind of split, for each set of seeds that a model has run on: the models that have all of
    these, on these. Block 0 has the most seeds. Rows of failed jobs are left out.
    """
    for (data, split), part in table[table["metric"] != ""].groupby(["data", "split"], observed=True, sort=False):
        seeds = part.groupby("model", observed=True, sort=False)["seed"].agg(frozenset)
        for number, chosen in enumerate(sorted(set(seeds), key=lambda one: (-len(one), sorted(one)))):
            models = seeds.index[[chosen <= own for own in seeds]]
            of_models = part[part["model"].isin(models) & part["seed"].isin(chosen)]
            yield dict(zip(BLOCK, (data, split, number), strict=True)), of_models


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, split, block, metric and model.

    Columns: ``mean`` with ``low`` and ``high`` (95 % bootstrap interval), ``n`` conditions, ``n_undefined`` scores and
    ``splits``; ``by_split``, the mean over splits of their means, as many papers have it, and its standard error
    ``by_split_error``; ``normalised``, where the suite has a noise ceiling: 0 for the better of ``control`` and
    ``mean``, 1 for the ceiling, on the scores that all three have; ``minus_mean`` and ``minus_best_simple`` with their
    intervals (``_low``, ``_high``) and ``_p`` (two-sided by the bootstrap, at least the ``2 ** (1 - n)`` of a sign test
    on n resampled units, corrected over the models by Holm); ``best_simple``, the simple model that is best on average,
    and ``rank``, averaged over conditions (1 is best): both of models with ``ENOUGH`` scores, where all of them have
    one. Failed jobs are not scores: see `costs`.
    """
    rows = [
        known | row
        for known, scores in blocks(table)
        for metric, part in scores.groupby("metric", observed=True, sort=False)
        for row in _compared(str(metric), part)
    ]
    return pd.DataFrame(rows)


def _compared(metric: str, part: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The models of one block and metric."""
    by_split = part.pivot_table(
        index=["condition", "seed"], columns="model", values="value", observed=True, dropna=False, sort=False
    )
    each = by_split.groupby("condition", observed=True).mean()
    across = by_split.groupby("seed").mean()
    way = card(metric)[0].best
    sign = -1.0 if way == "low" else 1.0
    kinds = part.drop_duplicates("model").set_index("model")["kind"]
    scored = by_split.drop(columns=CEILINGS, errors="ignore").notna().sum()
    ranked = scored.index[(scored > 0) & (scored >= ENOUGH * scored.max())]
    common = by_split[ranked].dropna().groupby("condition", observed=True).mean()
    simple = [model for model in ranked if kinds[model] in SIMPLE]
    best = (sign * common[simple].mean()).idxmax() if simple and len(common) else ""
    ranks = (-sign * common).rank(axis=1).mean().reindex(each.columns)
    floors = (sign * each.reindex(columns=list(FLOOR)).mean()).dropna()
    references = {"minus_mean": "mean" if "mean" in each else "", "minus_best_simple": best}
    found = {}
    for model in each:
        values = each[model].dropna()
        mean, low, high, _ = _interval(values)
        of_model = part[part["model"] == model]
        row = {
            "metric": metric, "model": model, "mean": mean, "low": low, "high": high, "n": len(values),
            "by_split": float(across[model].mean()), "by_split_error": float(across[model].sem()),
            "n_undefined": int(of_model["value"].isna().sum()), "splits": int(of_model["seed"].nunique()),
            "rank": float(ranks[model]), "best_simple": best,
            "normalised": _normalised(by_split, model, floors.idxmax(), way) if len(floors) else np.nan,
        }  # fmt: skip
        for name, reference in references.items():
            paired = pd.Series(dtype=float)
            if reference and model != reference and model not in CEILINGS:  # where both are defined
                paired = (by_split[model] - by_split[reference]).groupby("condition", observed=True).mean().dropna()
            row |= dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_p"), _interval(paired), strict=True))
        found[model] = row
    for name in references:
        asked = [model for model, row in found.items() if np.isfinite(row[f"{name}_p"])]
        for model, p in zip(asked, holm([found[model][f"{name}_p"] for model in asked]), strict=True):
            found[model][f"{name}_p"] = p
    yield from found.values()


def _normalised(by_split: pd.DataFrame, model: str, floor: str, way: Literal["high", "low"]) -> float:
    """Of the way from ``floor`` to the ceiling, on the scores that all three have; NaN without a ceiling."""
    if "ceiling" not in by_split:
        return float("nan")
    common = by_split[list(dict.fromkeys([model, floor, "ceiling"]))].dropna()
    level = common.groupby("condition", observed=True).mean().mean()
    return float(normalised(level[model], level[floor], level["ceiling"], way))


def _interval(values: pd.Series) -> tuple[float, float, float, float]:
    """Mean, 95 % interval, and two-sided p that it is 0, of values by condition; NaN where there are too few."""
    nothing = float("nan")
    if values.empty:
        return nothing, nothing, nothing, nothing
    units = [targets(str(name)) for name in values.index]
    drawn = resampled(values.to_numpy(), units, DRAWS)
    mean = float(values.mean())
    if drawn is None:
        return mean, nothing, nothing, nothing
    low, high = np.percentile(drawn, [2.5, 97.5])
    side = min((drawn <= 0).sum(), (drawn >= 0).sum())
    least = 2.0 ** (1 - len({gene for unit in units for gene in unit}))
    return mean, float(low), float(high), float(min(1.0, max(least, 2 * (side + 1) / (len(drawn) + 1))))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction of p-values (Holm 1979)."""
    order = np.argsort(p)
    steps = np.array(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found


def by_seen(table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, split, block, class, metric and model: ``mean`` over ``n`` conditions.

    ``seen`` says how many of the targets of a test condition the other parts of the split contain (``seen1 of 2``), or
    is the class of a GEARS simulation split. A condition may be of another class on another split.
    """
    keys = ["seen", "metric", "model"]
    parts = []
    for known, scores in blocks(table):
        of = " of " + scores["condition"].astype(str).str.count(r"\+").add(1).astype(str)
        words = scores["seen"].astype(str)
        scores = scores.assign(seen=words.where(~words.str.match("seen"), words + of))
        each = scores[scores["seen"] != ""].groupby([*keys, "condition"], observed=True, sort=False)["value"]
        means = each.mean().dropna().groupby(keys, observed=True, sort=False).agg(["mean", "size"])
        part = means.rename(columns={"size": "n"}).reset_index()
        parts.append(part.assign(**known)[[*BLOCK, *part]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*BLOCK, *keys, "mean", "n"])


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set and model: median seconds and peak memory of its jobs, threads, tuning, jobs, failures."""
    jobs = table.drop_duplicates(["data", "split", "seed", "model"])
    rows = []
    for (data, model), part in jobs.groupby(["data", "model"], observed=True, sort=False):
        failed = part[part["metric"] == ""]
        rows.append({
            "data": data, "model": model, "seconds": part["seconds"].dropna().median(),
            "threads": part["threads"].dropna().max(), "peak_memory_mb": part["peak_memory_mb"].dropna().median(),
            "tuned": str(part["tuned"].astype(str).max()),
            "trials": int(part["trials"].max() or 0) if part["trials"].notna().any() else 0,
            "jobs": len(part), "failed": len(failed), "reasons": sorted(set(failed["reason"].astype(str))),
        })  # fmt: skip
    return pd.DataFrame(rows)
