"""``grape-dgl features``: which genes have text, sequence, biotype, vectors and prior edges, and what encodes them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grape_dgl.cli.knowledge import PATH, feature_cache, load_priors, prior_option
from grape_dgl.cli.options import (
    check_output,
    data_options,
    echo_json,
    json_option,
    load_screen,
    output_options,
)
from grape_dgl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grape_dgl.data.genes import Genes
    from grape_dgl.data.vectors import Features
    from grape_dgl.graph.hetero import Prior

SHOWN = 5
"""Perturbed genes whose neighbours the report lists unless genes are chosen."""
ENDINGS = (".html", ".png", ".svg", ".pdf")


@click.command("features")
@data_options
@prior_option
@click.option("--config", "toml", type=PATH, metavar="TOML", help="Settings of a file, such as a run's config.toml.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, such as features.kmer=6. Repeatable."
)
@click.option(
    "--report",
    type=PATH,
    metavar="HTML|PNG",
    help="Write an overview: coverage, UMAP of each modality by biotype, nearest neighbours.",
)
@click.option(
    "--gene", "chosen", multiple=True, metavar="GENE", help="Whose neighbours the report lists [targets]. Repeatable."
)
@output_options(help="File .npz to write: symbols, one array per modality, which genes have it, and what it is from.")
@json_option
def command(
    toml: Path | None,
    settings: tuple[str, ...],
    prior: tuple[str, ...],
    report: Path | None,
    chosen: tuple[str, ...],
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode what is known about all genes of DATA, and say how many have it.

    Whatever is fetched or encoded is kept in --cache, so a run that was interrupted goes on where it stopped.

    \b
    Examples:
      grape-dgl features screen.h5ad --annotation genes.tsv.gz --sequences promoters.fa -o features.npz
      grape-dgl features screen.h5ad --annotation gencode.gtf.gz --genome genome.fa --report features.html
      grape-dgl features screen.h5ad --ensembl human --embeddings genept=genept.csv --prior go=goa_human.gaf.gz
    """
    from grape_dgl.config import Config
    from grape_dgl.features.encode import encode

    for path in (out, report):
        if path is not None:
            _check_place(path)
    if out is not None:
        check_output(out, force, ".npz")
    if report is not None:
        if report.suffix not in ENDINGS:
            raise ConfigError(f"--report '{report}' is written as {', '.join(ENDINGS)}; choose one of these endings")
        check_output(report, force)
    elif chosen:
        raise ConfigError(f"--gene '{chosen[0]}' says what the report lists; give --report FILE.html too")
    config = Config.resolve(toml=toml, settings=settings)
    screen = load_screen(**options)
    for gene in chosen:
        screen.genes.index(gene)  # an unknown one is said before hours of encoding
    priors = load_priors(prior, screen, config.training.seed)
    features = encode(screen.genes, config.features, feature_cache(options["cache"]))
    if out is not None:
        _write(out, screen.genes, features, screen.notes["looked_up"])
    rows = coverage(screen.genes, features, priors, screen.notes["looked_up"])
    if report is not None:
        from grape_dgl.report import write_report

        targets = list(dict.fromkeys(str(screen.genes.symbol[i]) for c in screen.conditions for i in screen.targets(c)))
        listed = [row | {"source": _listed(row["source"])} for row in rows]
        write_report(report, screen.genes, features, listed, chosen or targets[:SHOWN], str(options["data"]))
    if as_json:
        echo_json({row.pop("name"): row for row in rows})
    else:
        click.echo(_table(rows))


def _check_place(path: Path) -> None:
    """Raise ConfigError where no file can be written there; better now than after hours of encoding."""
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder; expected the name of a file to write")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"'{path}' cannot be written, since '{there}' is no folder that you may write to")


def coverage(
    genes: Genes, features: Mapping[str, Features], priors: Sequence[Prior], looked_up: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """How many genes, and how many of them measured, have each thing, and where it is from."""
    import numpy as np

    asked = {key: value for origin in looked_up for key, value in origin.items()}

    known: list[tuple[str, Any, Mapping[str, Any]]] = [
        ("all", np.ones(len(genes), dtype=bool), asked),
        ("description", genes.description != "", {}),
        ("sequence", [bool(sequence) for sequence in genes.sequence], {}),
        ("biotype", genes.biotype != "", {}),
        *((name, one.present, {**one.source, "dim": one.values.shape[1]}) for name, one in features.items()),
        *((f"prior {one.name}", one.present.numpy(), {**one.source, "edges": len(one.pairs)}) for one in priors),
    ]
    return [
        {"name": name, "genes": int(sum(has)), "measured": int(sum(has[: genes.measured])), "source": dict(source)}
        for name, has, source in known
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What, of all genes, of the measured ones, of the targets that are not measured, and where it is from."""
    lines = [("", "genes", "measured", "not measured", "from")]
    for row in rows:
        numbers = (row["genes"], row["measured"], row["genes"] - row["measured"])
        lines.append((row["name"], *(f"{number:,}" for number in numbers), _listed(row["source"])))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _listed(source: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in source.items() if "sha256" not in key)


def _write(path: Path, genes: Genes, features: Mapping[str, Features], looked_up: Sequence[Mapping[str, Any]]) -> None:
    """``symbol``, per modality the values and ``present_<modality>``, and ``source``, JSON; text without pickle."""
    import numpy as np

    from grape_dgl.writing import write_beside

    source = {"looked_up": looked_up} | {name: dict(one.source) for name, one in features.items()}
    arrays: dict[str, Any] = {
        "symbol": genes.symbol.astype(str),
        "measured": np.arange(len(genes)) < genes.measured,
        "source": np.array(json.dumps(source)),
    }
    for name, one in features.items():
        arrays |= {name: one.values, f"present_{name}": one.present}
    write_beside(path, lambda beside: np.savez_compressed(beside, **arrays))
