"""``grape-dgl features``: which genes have text, sequence and biotype, and their encoded vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grape_dgl.cli.options import PATH, check_output, data_options, echo_json, json_option, load_screen, output_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grape_dgl.config import Config
    from grape_dgl.data.genes import Genes
    from grape_dgl.data.vectors import Features


@click.command("features")
@data_options
@click.option("--config", "toml", type=PATH, metavar="TOML", help="Settings of a file, such as a run's config.toml.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, such as features.kmer=6. Repeatable."
)
@click.option("--feature-cache", type=PATH, metavar="FOLDER", help="Keep encoded genes here for later runs.")
@output_options(help="File .npz to write: symbols, one array per modality, which genes have it.")
@json_option
def command(
    toml: Path | None,
    settings: tuple[str, ...],
    feature_cache: Path | None,
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode the descriptions and DNA sequences of all genes of DATA.

    \b
    Examples:
      grape-dgl features demo
      grape-dgl features screen.h5ad --annotation genes.tsv.gz --sequences promoters.fa -o features.npz
      grape-dgl features screen.h5ad --annotation genes.tsv.gz --set features.text_model=./biobert --json
    """
    from grape_dgl.config import Config
    from grape_dgl.features.encode import encode

    if out is not None:
        check_output(out, force, ".npz")
    config = Config.resolve(toml=toml, settings=settings)
    screen = load_screen(**options)
    features = encode(screen.genes, config.features, feature_cache)
    if out is not None:
        _write(out, screen.genes, features)
    answer = coverage(screen.genes, features, config)
    if as_json:
        echo_json(answer)
    else:
        click.echo(_table(answer))


def coverage(genes: Genes, features: Mapping[str, Features], config: Config) -> dict[str, Any]:
    """How many genes, and how many of them measured, have each thing; and what encoded it."""
    known = {
        "text": genes.description != "",
        "sequence": [bool(s) for s in genes.sequence],
        "biotype": genes.biotype != "",
    }
    counts = {
        name: {"genes": int(sum(has)), "measured": int(sum(has[: genes.measured]))} for name, has in known.items()
    }
    encoders = {name: {**one.source, "dim": one.values.shape[1]} for name, one in features.items()}
    return {"genes": len(genes), "measured": genes.measured, "with": counts, "features": encoders}


def _table(answer: Mapping[str, Any]) -> str:
    """Tab-separated: what, of all genes, of the measured ones, of the targets that are not measured, encoder."""
    rows = [("", "genes", "measured", "not measured", "encoder", "numbers")]
    every = {"genes": answer["genes"], "measured": answer["measured"]}
    encoder_of = {"text": "text", "sequence": "seq"}
    for name, count in {"all": every, **answer["with"]}.items():
        encoder = answer["features"].get(encoder_of.get(name, ""), {})
        described = encoder.get("encoder", ""), str(encoder.get("dim", ""))
        rows.append(
            (name, str(count["genes"]), str(count["measured"]), str(count["genes"] - count["measured"]), *described)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _write(path: Path, genes: Genes, features: Mapping[str, Features]) -> None:
    """``symbol``, and per modality the values and ``present_<modality>``; text without pickle."""
    import numpy as np

    from grape_dgl.writing import write_beside

    arrays: dict[str, Any] = {"symbol": genes.symbol.astype(str), "measured": np.arange(len(genes)) < genes.measured}
    for name, one in features.items():
        arrays |= {name: one.values, f"present_{name}": one.present}
    write_beside(path, lambda beside: np.savez_compressed(beside, **arrays))
