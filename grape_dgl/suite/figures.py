"""Figures of a benchmark, from its long table, its summary and the predictions that were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.plots import plain

BINS = 10
"""Equal shares of the genes, by predicted change, of the calibration."""


def violin_figure(table: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Each model's scores over the test conditions of one data set and split, as Fig. 4 of the paper.

    A condition is averaged over its splits; the bar is the median. Models without a score are left out.
    """
    figure = Figure(figsize=(5.2 * len(metrics), 0.8 + 0.34 * table["model"].nunique()), layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        part = table[table["metric"] == metric]
        each = part.groupby(["model", "condition"], observed=True, sort=False)["value"].mean().dropna()
        names = [model for model in part["model"].unique() if model in each.index.get_level_values(0)]
        for place, name in enumerate(reversed(names)):
            values = each[name].to_numpy()
            if np.ptp(values) > 0:
                drawn = axes.violinplot(values, [place], orientation="horizontal", showextrema=False, widths=0.9)
                for body in drawn["bodies"]:
                    body.set(facecolor="#3b6ea5", alpha=0.35, linewidth=0)
            axes.scatter(values, np.full(len(values), place), s=5, color="0.35", linewidths=0)
            axes.plot([np.median(values)] * 2, [place - 0.35, place + 0.35], color="#c8553d", lw=2)
        axes.axvline(0, color="0.85", lw=0.8, zorder=0)
        axes.set_yticks(range(len(names)), labels=[plain(name) for name in names[::-1]])
        axes.set(xlabel=metric)
    return figure


def bar_figure(summary: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Mean and 95 % interval of some models on one data set and split, as Fig. 5 of the paper."""
    models = list(summary["model"].unique())
    figure = Figure(figsize=(4.6 * len(metrics), 0.9 + 0.36 * len(models)), layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        rows = summary[summary["metric"] == metric].set_index("model").reindex(models[::-1])
        places = np.arange(len(rows))
        axes.barh(places, rows["mean"], color="#b9cbe0")
        known = rows["low"].notna().to_numpy()
        spread = np.abs(rows[["low", "high"]].to_numpy().T - rows["mean"].to_numpy())
        axes.errorbar(rows["mean"][known], places[known], xerr=spread[:, known], fmt="none", ecolor="0.25", capsize=3)
        axes.axvline(0, color="0.85", lw=0.8)
        axes.set_yticks(places, labels=[plain(name) for name in rows.index])
        axes.set(xlabel=metric)
    return figure


def calibration_figure(predictions: Mapping[str, Predictions]) -> Figure:
    """Mean observed against mean predicted change in tenths of the genes by prediction, over all conditions.

    On the diagonal a model's changes are as large as they turn out to be; below it, it promises too much.
    """
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    ends = [0.0]
    for number, (name, found) in enumerate(predictions.items()):
        assert found.observed_change is not None
        observed, predicted = found.observed_change.ravel(), found.change.ravel()
        order = np.argsort(predicted, kind="stable")
        parts = [part for part in np.array_split(order, BINS) if len(part)]
        x, y = (np.array([values[part].mean() for part in parts]) for values in (predicted, observed))
        axes.plot(x, y, marker=".", lw=1.2, color=colormaps["tab10"](number % 10), label=plain(name))
        ends += [*x, *y]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="0.7", lw=0.8, ls=":")
    axes.set(xlabel="mean predicted change (log1p)", ylabel="mean observed change (log1p)")
    axes.legend(fontsize=8)
    return figure


def cost_figure(summary: pd.DataFrame, costs: pd.DataFrame, metric: str) -> Figure:
    """Score against seconds of a job, for one data set and split."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    rows = summary[summary["metric"] == metric].merge(costs[["model", "seconds"]], on="model")
    rows = rows[rows["mean"].notna() & rows["seconds"].notna()]
    axes.scatter(rows["seconds"].clip(lower=1e-3), rows["mean"], color="#3b6ea5", s=18)
    for row in rows.itertuples():
        spot = (max(row.seconds, 1e-3), row.mean)
        axes.annotate(plain(row.model), spot, fontsize=7, xytext=(3, 2), textcoords="offset points")
    axes.set(xscale="log", xlabel="seconds to fit and predict (median)", ylabel=metric)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=7)
    return figure
