"""Figures of a run folder: predicted against observed change, the network around a gene, training curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grape_dgl.errors import DataError, did_you_mean, some
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.writing import write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 32
"""Letters of a name in a figure."""
STEPS = 300
"""At most, in which names are moved off each other."""
COLOURS = {"cc": "#3b6ea5", "cn": "#b5838d", "nn": "#6d9773"}


def plain(name: object) -> str:
    """A name of a gene, condition or model to be drawn: not too long, and its ``$`` are letters, not mathematics."""
    words = str(name)
    return (words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…").replace("$", r"\$")


def change_figure(predictions: Predictions, condition: str, top: int = 10) -> Figure:
    """Predicted against observed change of one condition, its ``top`` DE genes named (else the largest changes).

    Raises DataError where the condition has no observed cells.
    """
    if condition not in predictions.conditions:
        raise DataError(
            f"no prediction of condition '{condition}' beside an observation; there are {len(predictions.conditions)} "
            f"({some(predictions.conditions, 8)}){did_you_mean(condition, predictions.conditions)}"
        )
    row = predictions.conditions.index(condition)
    change = predictions.observed_change
    if change is None or np.isnan(change[row]).any():
        raise DataError(f"condition '{condition}' has no observed cells to plot against")
    observed, predicted = change[row], predictions.change[row]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.85", lw=0.8)
    axes.axvline(0, color="0.85", lw=0.8)
    axes.scatter(observed, predicted, s=8, color="0.55", linewidths=0)
    place = {str(symbol): at for at, symbol in enumerate(predictions.genes)}
    named = [place[symbol] for symbol in predictions.de_genes[row].split() if symbol in place]
    strongest = np.array(named or np.argsort(-np.abs(observed), kind="stable"))[:top]
    what = f"the {len(strongest)} {'strongest DE genes' if named else 'largest changes'}"
    axes.scatter(observed[strongest], predicted[strongest], s=18, color="#c8553d", linewidths=0, label=what)
    axes.legend(loc="upper left", fontsize=7)
    names = [axes.text(observed[g], predicted[g], plain(predictions.genes[g]), fontsize=7) for g in strongest]
    limits = np.array([min(observed.min(), predicted.min()), max(observed.max(), predicted.max())]) * 1.1
    axes.plot(limits, limits, color="0.7", lw=0.8, ls=":")
    axes.set(xlabel="observed change (log1p)", ylabel="predicted change (log1p)", title=plain(condition))
    adjust_text(
        names, ax=axes, iter_lim=STEPS, prevent_crossings=False, force_text=(0.3, 0.6), expand=(1.1, 1.3),
        arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.5},
    )  # fmt: skip
    return figure


def network_figure(edges: pd.DataFrame, gene: str, silent: bool, neighbours: int = 20) -> Figure:
    """The strongest ``neighbours`` of ``gene`` in the learned graph, and the edges between them.

    ``silent``: say that it is of networks that were hardly trained (``Run.silent``).
    """
    import networkx as nx

    mine = edges[(edges["source"] == gene) | (edges["target"] == gene)].nlargest(neighbours, "weight")
    if mine.empty:
        hint = did_you_mean(gene, {*edges["source"], *edges["target"]})
        raise DataError(
            f"gene '{gene}' has no edge in the learned graph{hint}; choose another gene, or train with --set "
            "structure.min_neighbours=5, which links every gene"
        )
    around = {*mine["source"], *mine["target"]}
    inside = edges[edges["source"].isin(around) & edges["target"].isin(around)]
    network = nx.Graph()
    for edge in inside.itertuples():
        network.add_edge(edge.source, edge.target, weight=edge.weight, relation=edge.relation)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes: Axes = figure.subplots()
    places = nx.spring_layout(network, seed=0)
    for relation, colour in COLOURS.items():
        chosen = [(a, b) for a, b, data in network.edges(data=True) if data["relation"] == relation]
        nx.draw_networkx_edges(network, places, chosen, ax=axes, edge_color=colour, width=0.8, label=relation)
    sizes = [260 if name == gene else 90 for name in network]
    fills = ["#c8553d" if name == gene else "#d9d9d9" for name in network]
    nx.draw_networkx_nodes(network, places, ax=axes, node_size=sizes, node_color=fills)
    nx.draw_networkx_labels(network, places, {name: plain(name) for name in network}, ax=axes, font_size=7)
    axes.legend(title="relation", fontsize=7, title_fontsize=7)
    hardly = "\nhardly trained: the network stays silent" if silent else ""
    axes.set_title(f"{plain(gene)}: learned similarity, not regulation{hardly}")
    axes.set_axis_off()
    return figure


def training_figure(log: pd.DataFrame) -> Figure:
    """Loss parts per epoch and, where there was validation, its RMSE."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("mse", "direction", "structure", "val_rmse"):
        if name in log:
            axes.plot(log["epoch"], log[name], label=name, marker=".", lw=1)
    axes.set(xlabel="epoch", ylabel="loss parts; val_rmse in log1p units", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write as the file ending says (png, svg, pdf), beside and renamed."""
    write_beside(path, lambda beside: figure.savefig(beside, dpi=150))
