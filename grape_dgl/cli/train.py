"""``grape-dgl train``: the main job, from a screen to a run folder."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from grape_dgl.cli.knowledge import feature_cache, load_priors, prior_option
from grape_dgl.cli.options import (
    check_output,
    config_options,
    data_options,
    json_option,
    load_screen,
    output_options,
    resolve_config,
    split_file,
)
from grape_dgl.errors import GrapeError
from grape_dgl.training.interruption import PROGRESS

log = logging.getLogger("grape_dgl")

SHOWN = ("rmse", "dac_nonzero", "pcc_delta", "pcc_delta_de20", "dac", "pcc_delta_shared_control")


@click.command("train")
@data_options
@config_options
@click.option("--graph", type=click.Path(path_type=Path), metavar="TSV",
              help="Edge table (as build-graph writes it) that replaces the prior graph.")  # fmt: skip
@prior_option
@click.option("--resume", is_flag=True,
              help="Go on after the last epoch of a training that was stopped in --out.")  # fmt: skip
@click.option("--profile", is_flag=True, help="Say on stderr where the time went.")
@output_options(required=True, help="Run folder to write.")
@json_option
def command(
    out: Path,
    force: bool,
    as_json: bool,
    graph: Path | None,
    prior: tuple[str, ...],
    profile: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Train GRAPE on DATA and score it on held-out conditions beside control, mean and linear.

    Writes the run folder: config.toml, split.json, model/, log.csv, graph.tsv.gz, nodes.tsv, predictions.h5ad,
    metrics.csv and metrics.json. Ctrl-C ends the training after the epoch in hand, writes the run all the same, and
    exits with 130. However it was stopped, the same command with --resume goes on after the last epoch, and ends with
    the weights that it would have had.

    \b
    Examples:
      grape-dgl train demo --out runs/demo
      grape-dgl train screen.h5ad --annotation genes.tsv.gz --sequences promoters.fa --out runs/one
      grape-dgl train adamson --split single --seed 1 --set structure.hops=2 --out runs/adamson
    """
    if (out / PROGRESS).exists() and not (force or resume):
        raise GrapeError(f"'{out}' holds a training that was stopped; go on with --resume, or begin anew with --force")
    check_output(out, force or resume)
    config = resolve_config(**options)
    screen = load_screen(**options)

    from grape_dgl.data.conditions import CONTROL
    from grape_dgl.data.splits import Split
    from grape_dgl.pipeline import train

    path = split_file(options["split"])
    split = None
    if path:
        labels = {**dict.fromkeys(screen.notes["control_labels"], CONTROL), **screen.notes["labels"]}
        split = Split.from_json(path, screen.conditions, list(screen.genes.symbol), labels)
    if graph is not None and prior:
        raise click.UsageError("--graph replaces the whole prior graph: --prior cannot add to it.")
    shown = sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
    train(
        screen, out, config, split, graph=graph, priors=load_priors(prior, screen, config.training.seed),
        cache=feature_cache(options["cache"]), progress=shown, force=force,
        resume=resume,
    )  # fmt: skip
    report = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    if profile:
        click.echo(profile_table(report), err=True)
    click.echo(json.dumps(report, indent=1) if as_json else score_table(report))
    if report["interrupted"]:
        log.warning("the training was stopped before its end; the same command with --resume goes on")
        raise click.exceptions.Exit(130)


def profile_table(report: dict[str, Any]) -> str:
    """Seconds of the run by phase, then of the training by phase, whole and per epoch."""
    training, epochs, searches = (report["training"][name] for name in ("seconds", "epochs", "searches"))
    lines = [f"{phase:<26}{seconds:>9.2f} s" for phase, seconds in report["seconds"].items()]
    lines.append(f"of train, {epochs} epochs:")
    for phase, seconds in sorted(training.items(), key=lambda item: -item[1]):
        share = 100 * seconds / max(sum(training.values()), 1e-9)
        lines.append(f"  {phase:<24}{seconds:>9.2f} s {share:>5.0f} % {1000 * seconds / epochs:>9.1f} ms per epoch")
    if number := sum(searches.values()):
        lines.append(
            f"{number} searches for similar genes, {100 * searches['by the bound'] / number:.0f} % by few directions, "
            f"{100 * searches['of all pairs'] / number:.0f} % over all pairs, the others for a new threshold"
        )
    return "\n".join(lines)


def score_table(report: dict[str, Any]) -> str:
    """The leading scores, a model per line; ``-`` where a score is undefined for every condition."""
    rows = [["model", *SHOWN]]
    for model, scores in report["test"].items():
        rows.append([model, *("-" if scores[name] is None else f"{scores[name]:.4f}" for name in SHOWN)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"mean over {report['n_test']} test conditions; all scores: metrics.csv, metrics.json"])
