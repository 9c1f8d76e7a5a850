"""``grape-dgl plot``: figures of a run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grape_dgl.cli.options import check_output, echo_json, json_option
from grape_dgl.data.conditions import parse_condition, targets
from grape_dgl.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd


@click.command("plot")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--condition", "conditions", multiple=True, help="Test condition to draw [all]. Repeatable.")
@click.option(
    "--gene",
    "genes",
    multiple=True,
    help="Draw the learned network around this gene [those of --condition that have edges, or one]. Repeatable.",
)
@click.option("--format", "ending", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the figures [RUN/plots].")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@json_option
def command(
    run: Path,
    conditions: tuple[str, ...],
    genes: tuple[str, ...],
    ending: str,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Draw RUN: predicted against observed change per test condition, training curves, the network around a gene.

    Prints the path of every figure.

    \b
    Examples:
      grape-dgl plot runs/demo
      grape-dgl plot runs/one --condition KLF1+MAP2K6 --gene KLF1 --format svg
    """
    import pandas as pd

    from grape_dgl.evaluation.predictions import Predictions
    from grape_dgl.plots import change_figure, network_figure, save_figure, training_figure
    from grape_dgl.run import read_json

    if not (run / "log.csv").is_file():
        raise ModelError(f"'{run}' is no run folder of grape-dgl train: it has no log.csv")
    folder = check_output(run / "plots" if out is None else out, force)
    predictions = Predictions.read(run / "predictions.h5ad")
    edges = pd.read_csv(run / "graph.tsv.gz", sep="\t", keep_default_na=False)
    symbols = pd.read_csv(run / "nodes.tsv", sep="\t", keep_default_na=False, dtype=str)["symbol"]
    names = [parse_condition(text, set(symbols)) for text in conditions] or list(predictions.conditions)
    linked = _linked(edges, names)[: None if conditions else 1]
    figures = {f"change-{name}": change_figure(predictions, name) for name in names}
    report = read_json(run / "metrics.json", run) if (run / "metrics.json").is_file() else {}
    silent = all(report.get("training", {}).get("silent", [False]))
    figures |= {f"network-{gene}": network_figure(edges, gene, silent) for gene in genes or linked}
    figures["training"] = training_figure(pd.read_csv(run / "log.csv"))
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name.replace('/', '_')}.{ending}" for name in figures}
    for name, figure in figures.items():
        save_figure(figure, paths[name])
        if not as_json:
            click.echo(paths[name])
    if as_json:
        echo_json({name: str(path) for name, path in paths.items()})


def _linked(edges: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """The targets of ``conditions`` that have edges, those with the most first."""
    degree = Counter([*edges["source"], *edges["target"]])
    found = {gene for name in conditions for gene in targets(name) if degree[gene]}
    return sorted(found, key=lambda gene: (-degree[gene], gene))
