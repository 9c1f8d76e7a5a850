"""``grape-dgl inspect DATA``: everything that is detected in a screen, without training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from grape_dgl.cli.options import check_output, data_options, echo_json, json_option, load_screen, output_options
from grape_dgl.config import SplitConfig, SplitKind
from grape_dgl.errors import DataError
from grape_dgl.writing import write_json

if TYPE_CHECKING:
    from grape_dgl.data.screen import Screen

LISTED = 12
"""Longest list that the table spells out; --json has all of it."""


@click.command("inspect")
@data_options
@output_options(help="File to write (.json): all that was detected.")
@json_option
def command(out: Path | None, force: bool, as_json: bool, **options: Any) -> None:
    """What DATA holds and how it would be read: conditions, controls, batches, genes, possible splits.

    \b
    Examples:
      grape-dgl inspect demo
      grape-dgl inspect screen.h5ad --annotation genes.tsv.gz
      grape-dgl inspect screen.h5ad --condition-key guide --control NT --json
    """
    if out is not None:
        check_output(out, force, ".json")
    facts = describe(load_screen(**options))
    if out is not None:
        write_json(out, facts)
    if as_json:
        echo_json(facts)
    else:
        click.echo("\n".join(table(facts)))


def describe(screen: Screen) -> dict[str, Any]:
    """Notes of reading, with counts of cells, genes, conditions and the splits that are possible; JSON values."""
    from grape_dgl.data.conditions import CONTROL, targets

    genes, coding = screen.genes, screen.genes.coding
    sizes = Counter(len(targets(condition)) for condition in screen.conditions)
    return dict(screen.notes) | {
        "cells": len(screen.condition),
        "control_cells": len(screen.control_cells),
        "conditions": {condition: len(screen.cells(condition)) for condition in screen.conditions},
        "conditions_by_targets": {str(number): sizes[number] for number in sorted(sizes)},
        "genes": {
            "nodes": len(genes),
            "measured": genes.measured,
            "coding": int(coding.sum()),
            "noncoding": int((~coding).sum()),
            "unknown_biotype": int((genes.biotype == "").sum()),
            "with_description": int((genes.description != "").sum()),
            "with_sequence": sum(map(bool, genes.sequence)),
        },
        "canonical_control": CONTROL,
        "splits": {kind: _split(screen, kind) for kind in get_args(SplitKind) if kind != "custom"},
    }


def _split(screen: Screen, kind: SplitKind) -> dict[str, Any]:
    """Sizes of the split with seed 0, or why there is none."""
    from grape_dgl.data.splits import make_split

    try:
        split = make_split(screen.conditions, SplitConfig(kind=kind), seed=0)
    except DataError as error:
        return {"possible": False, "reason": str(error)}
    classes = Counter(split.classes.values())
    sizes = {"train": len(split.train), "val": len(split.val), "test": len(split.test)}
    return {"possible": True, **sizes, "test_classes": {name: classes[name] for name in sorted(classes)}}


def table(facts: dict[str, Any]) -> list[str]:
    """Lines of name and value for a reader."""
    genes, told = facts["genes"], facts.get
    cells = f"{facts['cells']:,} used, {facts['control_cells']:,} of them control"
    if told("cells_in_file") is not None:
        cells = f"{facts['cells_in_file']:,} in the file, {cells}"
    by_targets = ", ".join(f"{count} of {number} gene(s)" for number, count in facts["conditions_by_targets"].items())
    matrix = f"{told('layer')}: {told('counts')}"
    if told("target_sum"):
        matrix += f", normalised to {facts['target_sum']:g} per cell and log1p"
    rows = [
        ("source", told("source")),
        ("matrix", matrix if told("counts") else None),
        ("cells", cells),
        ("condition column", told("condition_key")),
        ("control labels", _listed(told("control_labels"))),
        ("delimiter", repr(facts["delimiter"]) if told("delimiter") else "none: one target per label"),
        ("conditions", f"{len(facts['conditions'])}: {by_targets}"),
        ("cells per condition", _listed([f"{name} {cells}" for name, cells in facts["conditions"].items()])),
        ("dropped conditions", _listed([f"{name} {cells}" for name, cells in told("dropped_conditions", {}).items()])),
        ("cell type", f"{told('cell_type')} (column {told('cell_type_key')})" if told("cell_type_key") else None),
        ("batch column", told("batch_key")),
        ("cells per batch", _listed([f"{name} {cells}" for name, cells in told("batches", {}).items()])),
        ("genes measured", f"{genes['measured']:,} (symbols from {told('symbols_from', 'the file')})"),
        ("targets not measured", _listed(told("targets_not_measured"))),
        ("nodes", f"{genes['nodes']:,}: {genes['coding']:,} coding ({genes['unknown_biotype']:,} of unknown biotype), "
                  f"{genes['noncoding']:,} non-coding"),
        ("features", f"{genes['with_description']:,} with description, {genes['with_sequence']:,} with sequence"),
        ("on-target change", _listed([f"{gene} {change:+.2f} in {name}" for name, found in told("on_target", {}).items()
                                      for gene, change in found.items()])),
        ("stored DE rankings", told("stored_de") or None),
        ("warning", told("labels_warning")),
    ]  # fmt: skip
    rows += [(f"split {kind}", _split_line(split)) for kind, split in facts["splits"].items()]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows if value]


def _split_line(split: dict[str, Any]) -> str:
    if not split["possible"]:
        return f"not possible: {split['reason']}"
    classes = ", ".join(f"{count} {name}" for name, count in split["test_classes"].items())
    return f"{split['train']} train, {split['val']} val, {split['test']} test ({classes})"


def _listed(names: list[str] | None) -> str | None:
    if not names:
        return None
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
