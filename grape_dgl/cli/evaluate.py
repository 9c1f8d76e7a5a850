"""``grape-dgl evaluate``: score a predictions file against the cells, as training scores its own predictions."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grape_dgl.cli.options import (
    check_output,
    echo_json,
    json_option,
    load_screen,
    output_options,
    reading_options,
)

if TYPE_CHECKING:
    from grape_dgl.data.screen import ControlHalves, Screen
    from grape_dgl.evaluation.predictions import Predictions

log = logging.getLogger("grape_dgl")


@click.command("evaluate")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--truth", required=True, metavar="DATA", help="The screen with the observed cells: .h5ad or a name.")
@reading_options
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Seed of the control halves [the predictions' own, else 0]."
)
@click.option("--exclude-targets", is_flag=True, help="Leave the genes a condition perturbs out of its scores.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Score only this, such as pcc_delta_de20 (all are in docs/metrics.md). Repeatable.",
)
@click.option("--cells", "of_cells", is_flag=True, help="PREDICTIONS holds predicted cells, not means.")
@click.option(
    "--export",
    type=click.Choice(["cell-eval"]),
    help="Write files for another tool into the folder --out instead of scoring.",
)
@output_options(help="Table to write (.csv): one row per model, condition and metric; with --export a folder.")
@json_option
def command(
    predictions: Path,
    truth: str,
    seed: int | None,
    exclude_targets: bool,
    metrics: tuple[str, ...],
    of_cells: bool,
    export: str | None,
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score PREDICTIONS against the cells of --truth, beside the baseline of no change.

    PREDICTIONS is a predictions.h5ad of ours, or any .h5ad with one row per condition (obs_names), one column per gene
    (var_names) and predicted mean expression in X. Read --truth with the flags of the training run.

    --cells: PREDICTIONS has one row per predicted cell, with its condition in obs["condition"] and log1p expression in
    X. Their means are scored, and beside these the energy distance and MMD of samples of equal size from the observed
    cells: of the predicted cells, of control cells, and of other cells of the condition (ceiling).

    --export cell-eval writes real.h5ad and predicted.h5ad, which cell-eval scores as they are, with the reference half
    of the real control cells in the one and the model's half in the other. A predicted cell is a control cell of the
    model's half, moved so that the mean over cells is the predicted one: a gene that rises is raised by the same amount
    in every cell, one that falls is scaled down in every cell; a mean below zero becomes zero. The spread of these
    cells is the control's, so cell-eval's scores of means (pearson_delta, mse, mae, discrimination) count, and those
    that test predicted cells say little. cell-eval takes the plain control mean, ours is matched to batches.

    \b
    Examples:
      grape-dgl evaluate run/predictions.h5ad --truth screen.h5ad
      grape-dgl evaluate run/predictions.h5ad --truth screen.h5ad --json -o metrics.csv
      grape-dgl evaluate run/predictions.h5ad --truth screen.h5ad --export cell-eval -o pair
      grape-dgl evaluate cells.h5ad --cells --truth screen.h5ad
    """
    import numpy as np
    import pandas as pd

    from grape_dgl.evaluation.catalogue import check_names
    from grape_dgl.evaluation.cell_eval import PREDICTED, REAL, cell_eval_pair, write_pair
    from grape_dgl.evaluation.cells import cell_scores, pseudobulks, read_cells
    from grape_dgl.evaluation.evaluate import evaluate, summary
    from grape_dgl.evaluation.predictions import Predictions, spelled
    from grape_dgl.writing import write_beside

    if export is not None and out is None:
        raise click.UsageError("--export writes a folder: say which with -o FOLDER.")
    if export is not None and exclude_targets:
        raise click.UsageError("--export writes every gene, as cell-eval expects; leave --exclude-targets out.")
    check_names(metrics)
    if out is not None:
        check_output(out, force, "" if export else ".csv")
    cells = read_cells(predictions) if of_cells else None
    given = Predictions.read(predictions) if cells is None else Predictions.from_anndata(pseudobulks(cells))
    screen = load_screen(data=truth, **options)
    seed = _seed(seed, given.info.get("seed"))
    control = screen.control_halves(seed)
    scored = _held_out(given).against(screen, control)
    _check_control(scored, screen, control)
    if export is not None and out is not None:
        write_pair(out, *cell_eval_pair(screen, control, scored.conditions, scored.change, seed))
        files = {"real": str(out / REAL), "predicted": str(out / PREDICTED)}
        command_line = f"cell-eval run -ap {shlex.quote(files['predicted'])} -ar {shlex.quote(files['real'])}"
        echo_json({**files, "seed": seed}) if as_json else click.echo(command_line)
        return
    changes = {str(given.info.get("model", predictions.stem)): scored.change, "control": np.zeros_like(scored.change)}
    table = evaluate(
        screen, control, changes, scored.conditions, seed, exclude_targets=exclude_targets, metrics=metrics or None
    )
    scores = summary(table)
    if cells is not None:
        labels = {name: label for label in given.conditions if (name := spelled(label, screen)) in scored.conditions}
        distances = cell_scores(screen, control, cells, labels, predictions.stem, seed, exclude_targets=exclude_targets)
        scores["cells"] = summary(distances)
        table = pd.concat([table, distances], ignore_index=True)
    if out is not None:
        write_beside(out, lambda beside: table.to_csv(beside, index=False))
    if as_json:
        echo_json({**scores, "seed": seed})
    else:
        click.echo(as_text(scores))
        if cells is not None:
            click.echo(as_text(scores["cells"]))


def as_text(scores: Mapping[str, Any]) -> str:
    """The means of ``summary`` as a table, one line per metric; ``-`` where no condition has a value."""
    models = scores["test"]
    metrics = list(next(iter(models.values())))
    width = max(len(name) for name in metrics)
    columns = {name: max(len(name), 8) for name in models}
    lines = [" " * width + "".join(f"  {name:>{size}}" for name, size in columns.items())]
    for metric in metrics:
        values = ((models[name][metric], size) for name, size in columns.items())
        cells = ("-".rjust(size) if value is None else f"{value:{size}.4f}" for value, size in values)
        lines.append(f"{metric:<{width}}" + "".join(f"  {cell}" for cell in cells))
    undefined = {
        f"{name}/{metric}": f"{count}"
        for name, counts in scores["n_undefined"].items()
        for metric, count in counts.items()
        if count and models[name][metric] is not None
    }
    lines.append(f"mean over {scores['n_test']} conditions; - where no condition has a value")
    if undefined:
        lines.append(
            "undefined for some conditions: " + ", ".join(f"{key} {count}" for key, count in undefined.items())
        )
    return "\n".join(lines)


def _held_out(predictions: Predictions) -> Predictions:
    """Without the conditions that the file itself calls train or val: their scores would say nothing."""
    from grape_dgl.errors import DataError

    rows = [i for i, part in enumerate(predictions.split) if part not in ("train", "val")]
    if left_out := len(predictions.split) - len(rows):
        log.warning("%d conditions were trained or validated on and are not scored", left_out)
    if not rows:
        raise DataError("the predictions hold no condition to score; expected some outside train and val")
    return predictions.select(rows)


def _seed(asked: int | None, stored: Any) -> int:
    if asked is not None:
        if stored is not None and int(stored) != asked:
            log.warning("--seed %d is not the seed of the predictions (%d): the control halves differ", asked, stored)
        return asked
    if stored is None:
        log.info("the predictions store no seed; control halves are drawn with seed 0 (--seed N chooses)")
    return 0 if stored is None else int(stored)


def _check_control(scored: Predictions, screen: Screen, control: ControlHalves) -> None:
    """Warn where the predictions were made from other control cells than the model's half of the truth."""
    import numpy as np

    difference = np.abs(scored.control - screen.control_mean(control.model)).max(initial=0.0)
    if difference > 1e-4:
        log.warning(
            "the control mean of the predictions differs from the data's model half by up to %.3g: other cells, seed "
            "or flags made them, and they may have seen the reference cells that score them",
            difference,
        )
