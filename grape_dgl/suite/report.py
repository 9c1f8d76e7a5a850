"""The report of a benchmark: one HTML file that works offline, and its figures and tables as files."""

from __future__ import annotations

import base64
import inspect
import io
import json
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from grape_dgl.data.conditions import targets
from grape_dgl.data.vectors import Features
from grape_dgl.evaluation.cards import METRICS
from grape_dgl.evaluation.catalogue import card
from grape_dgl.evaluation.null import NULL_METRICS, is_zero
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.plots import change_figure, network_figure, save_figure
from grape_dgl.report import umap_figure
from grape_dgl.run import Run
from grape_dgl.suite.benchmark import CARD, COSTS, SEEN, SUMMARY, TABLE, read_table
from grape_dgl.suite.figures import bar_figure, calibration_figure, cost_figure, violin_figure
from grape_dgl.suite.markdown import markdown
from grape_dgl.suite.spec import in_file_name
from grape_dgl.suite.summary import BLOCK, CEILINGS, blocks
from grape_dgl.writing import write_text

TABLE1 = ("rmse", "dac", "dac_de20", "dac_de40", "pcc_delta", "pcc_delta_de20", "pcc_delta_de40")
"""Metrics of the paper's Table 1, with disjoint controls; the shared ones stand beside them."""
SHOWN = ("pcc_delta", "dac_nonzero")
CAPTIONS = {
    "scores by condition": "A dot is a condition, averaged over its splits; the red line is the median.",
    "GRAPE and its ablations": "Mean over conditions and 95 % interval.",
    "score and cost": "Pearson delta against the seconds of a job.",
    "calibration": "Genes of all test conditions of seed 0, in tenths by predicted change. On the diagonal, changes "
    "are as large as predicted.",
    "change by": "Test condition of seed 0, every gene a dot; red: its strongest DE genes.",
    "features and learned representation": "UMAP of what the model is given and of what it has learned, by biotype.",
    "network around": "Learned similarity, not regulation; of the model of seed 0.",
}
"""What is seen in a figure, by a piece of its title."""
DRAWN = 12
"""Conditions of a model that are drawn, at most."""
NETWORKS = 3
"""Genes whose neighbours are drawn."""


@dataclass(frozen=True)
class Part:
    """What is shown of one block of a data set and split, see summary.blocks."""

    data: str
    split: str
    block: int
    conditions: int
    splits: int
    table1: list[dict[str, Any]]
    compared: list[dict[str, Any]]
    seen: dict[str, dict[str, str]]
    """Class -> model -> Pearson delta and number of conditions; empty with one class"""
    null: list[dict[str, Any]]
    """Of a data set in which nothing was done: scores that should be zero, mean and standard error over splits"""
    figures: dict[str, Figure]
    """Title -> figure"""


def write_reports(out: Path, formats: Sequence[str] = ()) -> Path:
    """``out/report.html`` from what a benchmark left in ``out``; every figure as ``out/figures/*.FORMAT`` as well."""
    from jinja2 import Environment

    table, facts = pd.read_parquet(out / TABLE), json.loads((out / CARD).read_text(encoding="utf-8"))
    summary, costs, seen = (_read(out / name) for name in (SUMMARY, COSTS, SEEN))
    null = {one["name"] for one in facts["suite"]["data"] if one["null_conditions"]}
    simulated = {one["name"] for one in facts["suite"]["data"] if one["path"].startswith("demo")}
    parts = list(_parts(out, table, summary, costs, seen, null))
    jobs = len(table.drop_duplicates(["data", "split", "seed", "configuration"]))
    template = files("grape_dgl").joinpath("templates/benchmark.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    environment.filters |= {"number": _number, "picture": _picture, "caption": _caption, "way": _way}
    text = environment.from_string(template).render(
        card=facts, parts=parts, costs=costs.to_dict("records"), table1=TABLE1, metrics=_cards(),
        published=published(), jobs=jobs, failed=facts["failed"], simulated=simulated,
    )  # fmt: skip
    write_text(out / "report.html", text)
    for kind in formats:
        for part in parts:
            stem = f"{part.data}-{part.split}" + (f"-block{part.block}" if part.block else "")
            if kind == "csv":
                write_text(out / "figures" / f"{stem}-table1.csv", pd.DataFrame(part.table1).to_csv(index=False))
                continue
            if kind == "md":
                mine = _of(summary, {name: getattr(part, name) for name in BLOCK})
                write_text(out / "figures" / f"{stem}.md", markdown(mine, costs[costs["data"] == part.data]))
                continue
            for title, figure in part.figures.items():
                save_figure(figure, out / "figures" / f"{stem}-{in_file_name(title)}.{kind}")
    return out / "report.html"


def published() -> list[dict[str, Any]]:
    """What others have published, on other splits and other data: to be read beside, never mixed."""
    text = files("grape_dgl.suite").joinpath("published.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["source"]


def _cards() -> list[dict[str, str]]:
    return [
        {"metric": one.name, "best": one.best, "formula": one.formula, "source": one.source,
         "meaning": (inspect.getdoc(one.function) or "").partition("\n")[0]}
        for one in METRICS.values()
    ]  # fmt: skip


def _caption(title: str) -> str:
    return next((text for words, text in CAPTIONS.items() if words in title), "")


def _way(name: str) -> str:
    """An arrow to where a score is better."""
    return "↓" if card(name)[0].best == "low" else "↑"


def _read(path: Path) -> pd.DataFrame:
    """A table whose empty words are dashes."""
    table = read_table(path)
    words = [name for name in ("best_simple", "tuned") if name in table]
    return table.assign(**{name: table[name].fillna("–") for name in words})


def _of(table: pd.DataFrame, known: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these values."""
    return table[(table[list(known)] == pd.Series(known)).all(axis=1)]


def _parts(
    out: Path, table: pd.DataFrame, summary: pd.DataFrame, costs: pd.DataFrame, seen: pd.DataFrame, null: Container[str]
) -> Iterator[Part]:
    every = list(blocks(table))
    for known, part in every:
        mine, cost = _of(summary, known), costs[costs["data"] == known["data"]]
        grape = mine[mine["model"].isin(part.loc[part["kind"] == "GRAPE", "model"])]
        figures = {"scores by condition": violin_figure(part, SHOWN)}
        if grape["model"].nunique() > 1:
            figures["GRAPE and its ablations"] = bar_figure(grape, ("rmse", "pcc_delta", "pcc_delta_de20"))
        figures["score and cost"] = cost_figure(mine, cost, "pcc_delta")
        beside = [other for block, other in every if all(block[name] == known[name] for name in ("data", "split"))]
        if part is max(beside, key=lambda other: other["model"].nunique()):
            figures |= _of_predictions(out, part[part["seed"] == 0])
        yield Part(
            **known,
            conditions=int(part["condition"].nunique()),
            splits=int(part["seed"].nunique()),
            table1=_by_model(mine, [*TABLE1, *(f"{name}_shared_control" for name in TABLE1[1:])]),
            compared=mine[mine["metric"] == "pcc_delta"].to_dict("records"),
            seen=_by_class(_of(seen, known | {"metric": "pcc_delta"})),
            null=_null(mine) if known["data"] in null else [],
            figures=figures,
        )


def _of_predictions(out: Path, table: pd.DataFrame) -> dict[str, Figure]:
    """Figures of seed 0: the first GRAPE, the best other model on this split and the mean; the graph of the first."""
    jobs = table.drop_duplicates("model").set_index("model")
    grape = list(jobs.index[jobs["kind"] == "GRAPE"])[:1]
    hashes = jobs["configuration"]
    files = {str(name): list((out / "predictions").glob(f"*.{job}.h5ad")) for name, job in hashes.items()}
    score = table[table["metric"] == "pcc_delta"].groupby("model", observed=True)["value"].mean().drop(grape).dropna()
    best = [name for name in score.sort_values(ascending=False).index if files[name]][:1]
    shown = [name for name in dict.fromkeys([*grape, *best, "mean"]) if files.get(name)]
    if not shown:
        return {}
    found = {name: Predictions.read(files[name][0]) for name in shown}
    figures = {"calibration": calibration_figure(found)}
    for name in shown[:2]:
        for condition in found[name].conditions[:DRAWN]:
            figures[f"{name}, change by {condition}"] = change_figure(found[name], condition)
    for folder in [path for name in grape for path in (out / "models").glob(f"*.{hashes[name]}")]:
        run = Run.load(folder)
        figures["features and learned representation"] = umap_figure(run.genes, _representations(run))
        edges = run.graph()
        linked = {*edges["source"], *edges["target"]}
        genes = dict.fromkeys(gene for name in run.conditions for gene in targets(name) if gene in linked)
        silent, drawn = all(run.silent), list(genes)[:NETWORKS]
        figures |= {f"network around {gene}": network_figure(edges, gene, silent) for gene in drawn}
    return figures


def _null(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Model, metric, mean over splits, its standard error, and whether that is zero within three of them.

    Without the ceilings, which are made of the noise that stands on both sides.
    """
    wanted = summary["metric"].isin(NULL_METRICS) & summary["by_split"].notna() & ~summary["model"].isin(CEILINGS)
    rows = summary.loc[wanted, ["model", "metric", "by_split", "by_split_error", "splits"]]
    zero = is_zero(rows["by_split"], rows["by_split_error"], rows["splits"]).map({True: "yes", False: "no"}).fillna("–")
    return rows.assign(zero=zero).to_dict("records")


def _representations(run: Run) -> dict[str, Features]:
    """The features of a run, and the fused representation that its first member has learned (Eq. 2)."""
    member, genes = run.ensemble.members[0], run.ensemble.genes
    known = {
        name: Features(values.float().numpy(), genes.present[name].numpy(), {}) for name, values in genes.values.items()
    }
    with torch.no_grad():
        learned = member.represent(genes).fused.float().numpy()
    return known | {"learned": Features(learned, run.described, {})}


def _by_class(seen: pd.DataFrame) -> dict[str, dict[str, str]]:
    if seen["seen"].nunique() < 2:
        return {}
    found: dict[str, dict[str, str]] = {}
    for row in seen.sort_values("seen", kind="stable").itertuples():
        found.setdefault(str(row.seen), {})[str(row.model)] = f"{_number(row.mean)} ({row.n})"
    return found


def _by_model(summary: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for model, part in summary.groupby("model", sort=False):
        by_metric: Mapping[str, Any] = part.set_index("metric").to_dict("index")
        cells = {name: by_metric[name] for name in metrics if name in by_metric}
        rows.append({"model": model} | {f"{name}{end}": cell[end or "mean"] for name, cell in cells.items()
                                        for end in ("", "low", "high", "n")})  # fmt: skip
    return rows


def _number(value: Any, digits: int = 3) -> str:
    """For people; an undefined value is a dash."""
    return "–" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def _picture(figure: Figure) -> str:
    """A figure as base64 of PNG."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return base64.b64encode(image.getvalue()).decode("ascii")
