"""``grape-dgl predict``: what perturbations would do that nobody has measured."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, get_args

import click

from grape_dgl.cli.knowledge import feature_cache, knowledge_options, load_annotation
from grape_dgl.cli.options import (
    check_output,
    echo_json,
    json_option,
    output_options,
)
from grape_dgl.config import Device, EngineName
from grape_dgl.errors import DataError

log = logging.getLogger("grape_dgl")


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--condition", "conditions", multiple=True, metavar="A+B", help="Genes perturbed together, joined by +. Repeatable."
)
@click.option("--all-single", is_flag=True, help="Every gene of the run, one at a time.")
@click.option("--from-file", type=click.Path(path_type=Path), metavar="FILE", help="One condition per line.")
@knowledge_options
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Genes with the largest predicted change to print per condition.",
)
@click.option("--device", type=click.Choice(get_args(Device)), default="auto", help="Where to compute [auto].")
@click.option("--engine", type=click.Choice(get_args(EngineName)), default="auto", help="Message passing [auto].")
@output_options(help="Write all predictions to this .h5ad file.")
@json_option
def command(
    run: Path,
    conditions: tuple[str, ...],
    all_single: bool,
    from_file: Path | None,
    top: int,
    device: str,
    engine: str,
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the expression change of every gene for perturbations of RUN, a folder that train wrote.

    Prints the genes with the largest predicted change (log1p units) as a table; -o keeps all genes.

    \b
    Examples:
      grape-dgl predict runs/one --condition KLF1+MAP2K6
      grape-dgl predict runs/one --all-single -o all.h5ad
      grape-dgl predict runs/one --condition GATA1 --annotation genes.tsv.gz
    """
    if out is not None:
        check_output(out, force, ".h5ad")
    wanted = [*conditions, *(_lines(from_file) if from_file is not None else [])]
    if not wanted and not all_single:
        raise click.UsageError("Nothing to predict: give --condition, --from-file or --all-single.")

    from grape_dgl.run import Run, read_json, warn_of_sameness

    loaded = Run.load(run, engine=engine, device=device)
    if all_single:
        wanted += [str(symbol) for symbol in loaded.genes.symbol[loaded.described]]
        if left_out := int((~loaded.described).sum()):
            log.info("%d genes have neither description nor sequence and are left out", left_out)
    known = (load_annotation(**options), feature_cache(options["cache"]))
    if loaded.response is None and (run / "metrics.json").is_file():
        warn_of_sameness(read_json(run / "metrics.json", run).get("variation_elsewhere"))
    if all_single and out is not None and not as_json:
        names = loaded.predict_to(out, wanted, *known)
        loaded.tell_of_unseen(names)
        click.echo(f"{len(names)} conditions x {loaded.genes.measured} genes: {out}")
        return
    predictions = loaded.predict(wanted, *known)
    loaded.tell_of_unseen(predictions.conditions)
    if out is not None:
        predictions.write(out)
        log.info("all %d genes are in '%s'", len(predictions.genes), out)
    rows = []
    for place, name in enumerate(predictions.conditions):
        change = predictions.change[place]
        for gene in abs(change).argsort()[::-1][:top]:
            row = {"condition": name, "gene": str(predictions.genes[gene]), "change": round(float(change[gene]), 5)}
            row["expected"] = round(float(predictions.expected[place, gene]), 5)
            for beside in ("std", "margin"):
                if (matrix := getattr(predictions, beside)) is not None:
                    row[beside] = round(float(matrix[place, gene]), 5)
            rows.append(row)
    if as_json:
        echo_json(rows)
    else:
        click.echo("\t".join(rows[0]))
        for row in rows:
            click.echo("\t".join(map(str, row.values())))


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the conditions '{path}': {error}; expected a text file, one per line") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise DataError(f"'{path}' names no condition; expected one per line, such as KLF1+MAP2K6")
    return found
