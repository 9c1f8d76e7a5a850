"""``grape-dgl datasets``: which screens are known by name, where they come from, and fetching them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grape_dgl.cli.knowledge import PATH
from grape_dgl.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from grape_dgl.data.catalog import Dataset

cache_option = click.option(
    "--cache", type=PATH, metavar="FOLDER", help="Where data sets are kept [GRAPE_DGL_DATA or the user's cache]."
)


@click.group("datasets")
def command() -> None:
    """Data sets that are known by name.

    \b
    Examples:
      grape-dgl datasets list
      grape-dgl datasets show norman
      grape-dgl datasets fetch norman --cache data
    """


@command.command("list")
@cache_option
@json_option
def list_command(cache: Path | None, as_json: bool) -> None:
    """Name every data set and say what it is.

    \b
    Examples:
      grape-dgl datasets list
      grape-dgl datasets list --json
    """
    from grape_dgl.data.catalog import CATALOG

    rows = [_facts(entry, cache) for entry in CATALOG.values()]
    if as_json:
        echo_json([{key: row[key] for key in ("name", "summary", "cached")} for row in rows])
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {'cached' if row['cached'] else '-':<6}  {row['summary']}")


@command.command("show")
@click.argument("name")
@cache_option
@json_option
def show_command(name: str, cache: Path | None, as_json: bool) -> None:
    """Source, licence, citation and place of data set NAME.

    \b
    Examples:
      grape-dgl datasets show norman
    """
    from grape_dgl.data.catalog import dataset

    facts = _facts(dataset(name), cache)
    if as_json:
        echo_json(facts)
        return
    for key, value in facts.items():
        text = "-" if value is None else ("yes" if value else "no") if isinstance(value, bool) else value
        click.echo(f"{key:<14}  {text}")


@command.command("fetch")
@click.argument("name")
@click.option("--offline", is_flag=True, help="Never download; only check what is there.")
@cache_option
@json_option
def fetch_command(name: str, offline: bool, cache: Path | None, as_json: bool) -> None:
    """Download (or simulate) data set NAME unless it is there, check it, and print its path.

    \b
    Examples:
      grape-dgl datasets fetch norman --cache data
      grape-dgl datasets fetch demo:genes=500,seed=3
    """
    from grape_dgl.data.catalog import dataset, resolve

    dataset(name)
    source = resolve(name, cache=cache, offline=offline)
    if source.labels_warning:
        logging.getLogger("grape_dgl").warning("%s", source.labels_warning)
    if as_json:
        tables = {"annotation": source.annotation, "sequences": source.sequences}
        echo_json(
            {"name": source.name, "path": str(source.path), "labels_warning": source.labels_warning or None}
            | {key: [str(path) for path in paths] for key, paths in tables.items()}
        )
    else:
        click.echo(source.path)


def _facts(entry: Dataset, cache: Path | None) -> dict[str, Any]:
    """What the catalog says and what stands in the cache; None where it does not apply or is unknown."""
    from grape_dgl.data.catalog import default_cache

    path = entry.target(cache if cache is not None else default_cache()) if entry.file else None
    there = path is not None and path.exists()
    return {
        "name": entry.name,
        "summary": entry.summary,
        "citation": entry.citation,
        "licence": entry.licence,
        "url": entry.url or None,
        "sha256": entry.sha256,
        "labels_warning": entry.labels_warning or None,
        "path": str(path) if path else None,
        "cached": there if path else None,
        "bytes": path.stat().st_size if path and there else None,
    }
