"""The tables of a benchmark as Markdown, for a page of documentation or a pull request."""

from __future__ import annotations

from typing import Any

import pandas as pd

COLUMNS = {
    "pcc_delta": "Pearson delta", "rmse": "RMSE", "pcc_delta_de20_heldout": "Pearson delta of DE20, held out",
    "pcc_delta_shared_control": "shared control", "centroid_accuracy": "centroid accuracy",
}  # fmt: skip
"""Metric -> title; the first leads and is compared."""


def markdown(summary: pd.DataFrame, costs: pd.DataFrame) -> str:
    """The table of one block: a line per model, with its Pearson delta against ``mean`` and the best
    simple model, some other scores, splits and seconds of a job. In brackets: conditions, where some are undefined."""
    lead = next(iter(COLUMNS))
    titles = ["model", f"{COLUMNS[lead]}", "minus mean", "p", "minus best simple", "p", *list(COLUMNS.values())[1:]]
    titles += ["splits", "seconds"]
    seconds, conditions = costs.set_index("model")["seconds"], summary["n"].max()
    lines = [titles, ["---"] * len(titles)]
    for model, part in summary.groupby("model", sort=False):
        rows = part.set_index("metric")
        row: Any = rows.loc[lead]
        line = [str(model).replace("|", "\\|"), _interval(row["mean"], row["low"], row["high"])]
        for name in ("minus_mean", "minus_best_simple"):
            line += [_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], "+"), _number(row[f"{name}_p"])]
        for name in list(COLUMNS)[1:]:
            known, n = rows["mean"].get(name, float("nan")), rows["n"].get(name, 0)
            line.append(_number(known, ".4f" if name == "rmse" else ".3f") + (f" ({n})" if 0 < n < conditions else ""))
        spent = seconds.get(model, float("nan"))
        lines.append([*line, str(row["splits"]), "<0.1" if spent < 0.1 else _number(spent, ".1f")])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _interval(mean: float, low: float, high: float, sign: str = "") -> str:
    form = f"{sign}.3f"
    return _number(mean, form) + ("" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]")


def _number(value: float, form: str = ".3f") -> str:
    return "-" if pd.isna(value) else f"{value:{form}}"
