"""``grape-dgl benchmark``: models x data sets x splits x seeds, scored the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grape_dgl.cli.knowledge import PATH
from grape_dgl.cli.options import echo_json, json_option

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("pcc_delta", "rmse")
"""Metrics of the printed table; all are in summary.csv."""


@click.command("benchmark")
@click.argument("suite", type=PATH)
@click.option(
    "-o", "--out", type=PATH, required=True, metavar="FOLDER", help="Where results are kept and gone on with."
)
@click.option(
    "--data",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where files that SUITE names are looked for, beside its own folder. Repeatable.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs at a time.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Fewer or more seeds than SUITE says.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="These models of SUITE only. Repeatable.")
@click.option("--retry", is_flag=True, help="Do failed jobs again.")
@click.option(
    "--cache",
    type=PATH,
    metavar="FOLDER",
    help="Where data sets, features and environments are kept [GRAPE_DGL_DATA or the user's cache].",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["png", "svg", "pdf", "csv", "md"]),
    help="Figures (csv, md: tables) as files in FOLDER/figures as well. Repeatable.",
)
@json_option
def command(
    suite: Path,
    out: Path,
    folders: tuple[Path, ...],
    workers: int,
    seeds: int | None,
    models: tuple[str, ...],
    retry: bool,
    cache: Path | None,
    formats: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the benchmark that the TOML file SUITE describes, and report it: FOLDER/report.html and its tables.

    What is done is kept in --out: the same command goes on where it was stopped or killed. A job that fails is a row
    with its reason; the others count all the same, and the command ends with 1.

    \b
    Examples:
      grape-dgl benchmark benchmarks/suites/smoke.toml --out runs/smoke
      grape-dgl benchmark benchmarks/suites/norman_subset.toml --data data --out runs/norman --workers 2
    """
    import dataclasses

    from grape_dgl.data.catalog import default_cache
    from grape_dgl.errors import ConfigError, DataError, did_you_mean
    from grape_dgl.suite.benchmark import CARD, benchmark
    from grape_dgl.suite.report import write_reports
    from grape_dgl.suite.spec import Suite

    wanted = Suite.read(suite, folders)
    names = [model.name for model in wanted.models]
    for name in models:
        if name not in names:
            raise ConfigError(f"suite '{suite}' has no model '{name}'{did_you_mean(name, names)}; {', '.join(names)}")
    wanted = dataclasses.replace(
        wanted,
        seeds=seeds or wanted.seeds,
        models=tuple(model for model in wanted.models if not models or model.name in models),
    )
    found = benchmark(wanted, out, cache or default_cache(), workers, retry)
    write_reports(out, formats)
    if as_json:
        shown = found.astype(object).where(found.notna(), None)
        echo_json(shown.to_dict("records"))
    else:
        click.echo(as_text(found))
    if failed := len(json.loads((out / CARD).read_text(encoding="utf-8"))["failed"]):
        raise DataError(f"{failed} jobs failed; why stands in '{out / CARD}' and the report; --retry does them again")


def as_text(found: pd.DataFrame) -> str:
    """One line per data set, split, block and model."""
    lines = []
    for (data, split, _), part in found.groupby(["data", "split", "block"], observed=True, sort=False):
        lines.append(f"{data}, split {split}, seeds: {part['splits'].iloc[0]}")
        width = max(len(str(model)) for model in part["model"])
        lines.append(" " * width + "".join(f"  {metric:>26}" for metric in SHOWN))
        for model, rows in part.groupby("model", observed=True, sort=False):
            cells = [_cell(rows[rows["metric"] == metric]) for metric in SHOWN]
            lines.append(f"{model:<{width}}" + "".join(f"  {cell:>26}" for cell in cells))
    return "\n".join([*lines, "mean over conditions [95 % bootstrap interval]; all metrics: summary.csv"])


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty or rows["mean"].isna().all():
        return "-"
    row = rows.iloc[0]
    interval = "" if rows["low"].isna().all() else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['mean']:.4f}{interval}"
