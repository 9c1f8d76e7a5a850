"""What was done to each cell: from the labels of a file (or of a table by barcode) to canonical conditions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grape_dgl.data import columns
from grape_dgl.data.conditions import CONTROL, ConditionParser, detect_parser, guide_stem, is_control_name
from grape_dgl.errors import DataError, did_you_mean, some

log = logging.getLogger("grape_dgl")

_GUIDE = ("guide", "guide_id", "guide_name", "grna", "sgrna", "sgrna_id", "barcode", "id", "name")
_TARGET = ("target", "target_gene", "gene_target", "gene", "gene_symbol", "symbol", "condition")


@dataclass(frozen=True, eq=False)
class Labels:
    """Condition of each cell and how it was found."""

    condition: np.ndarray
    """[cells] canonical conditions, "" where nobody knows or the cell is left out; object dtype."""
    by_label: Mapping[str, str]
    """Label of the file -> canonical condition."""
    notes: Mapping[str, Any]


def read_labels(
    obs: pd.DataFrame,
    key: str,
    known: Container[str],
    control: Sequence[str],
    guide_map: Mapping[str, str] | None,
    aliases: Mapping[str, str],
) -> Labels:
    """Parse the condition column of ``obs``; says what was chosen.

    Raises DataError where no cell is a control, or a given control label is not in the column.
    """
    values = columns.text(obs[key])
    labels = list(values.unique())
    for label in control:
        if label not in labels:
            there = some([repr(one) for one in sorted(filter(None, labels))], 10)
            raise DataError(
                f"no cell has the control label '{label}' in '{key}'{did_you_mean(label, labels)}; labels: {there}"
            )
    named = {label for label in labels if _is_assigned(label) or label in control or label in (guide_map or {})}
    flagged = _flagged_controls(obs, values) if not control else []
    parser = detect_parser(named, known, [*control, *flagged], guide_map, aliases=aliases)
    by_label = {label: parser.parse(label) for label in sorted(named)}
    others = [label for label in by_label if control and by_label[label] == CONTROL and label not in control]
    for label in others:
        del by_label[label]
    controls = [label for label, condition in by_label.items() if condition == CONTROL]
    if not controls:
        raise DataError(
            f"no control cells: none of the {len(labels)} labels in '{key}' stands for a control, "
            f"such as {', '.join(map(repr, labels[:5]))}; say which with --control LABEL, "
            "or another column with --condition-key"
        )
    condition = values.map(by_label).fillna("").to_numpy(dtype=object)
    _say(key, values, parser, by_label, controls, others, condition)
    changed = {label: condition for label, condition in by_label.items() if label != condition}
    notes = {
        "condition_key": key,
        "control_labels": controls,
        "delimiter": parser.delimiter or None,
        "labels": changed,
        "cells_without_label": int((condition == "").sum()),
        "controls_left_out": others,
    }
    return Labels(condition, by_label, notes)


def _is_assigned(label: str) -> bool:
    return label.casefold() not in columns.UNASSIGNED


def _flagged_controls(obs: pd.DataFrame, values: pd.Series) -> list[str]:
    """Labels of cells that a true/false column marks as controls, where no label says so by itself."""
    if any(is_control_name(label) for label in values.unique()):
        return []
    for column in columns.find(obs, columns.CONTROL_FLAG):
        flags = columns.text(obs[column]).str.casefold()
        if set(flags) <= {"0", "1", "true", "false"}:
            marked = flags.isin(("1", "true"))
            labels = set(values[marked]) - set(values[~marked])
            if labels:
                log.info("control labels are taken from the column '%s': %s", column, ", ".join(sorted(labels)))
                return sorted(labels)
    return []


def _say(
    key: str,
    values: pd.Series,
    parser: ConditionParser,
    by_label: Mapping[str, str],
    controls: Sequence[str],
    others: Sequence[str],
    condition: np.ndarray,
) -> None:
    """Log what was chosen, and what looks doubtful."""
    divided = f"targets divided by '{parser.delimiter}'" if parser.delimiter else "one target per label"
    log.info(
        "conditions: obs column '%s', %s; control labels: %s; %d labels give %d conditions",
        key, divided, some(controls), len(by_label),
        len(set(by_label.values()) - {CONTROL}),
    )  # fmt: skip
    guides = [(label, name) for label, name in by_label.items() if guide_stem(label) == name]
    if guides:
        log.info("%d guide labels were read as their target, such as %s -> %s", len(guides), *guides[0])
    if others:
        log.warning(
            "cells labelled %s look like controls but are not named by --control; they are left out", ", ".join(others)
        )
    lost = int((condition == "").sum()) - int(values.isin(list(others)).sum())
    if lost:
        log.info("%d cells without a usable label are left out", lost)
    stems: dict[str, list[str]] = defaultdict(list)
    for label, name in by_label.items():
        if label == name and label not in parser.known and guide_stem(label):
            stems[guide_stem(label)].append(label)
    for stem, labels in stems.items():
        if len(labels) > 1:
            log.warning(
                "labels such as %s look like guides of one gene, but no source knows a gene '%s'; they stay apart "
                "(give --annotation or --guide-map)", " and ".join(labels[:2]), stem,
            )  # fmt: skip
            break


def read_guide_map(path: Path | str) -> dict[str, str]:
    """Guide -> target from a table with columns such as ``guide`` and ``target``, or the first two columns.

    Raises DataError where it cannot be read or a guide has two targets.
    """
    table = columns.read_table(Path(path), "guide map")
    guides, targets = columns.find(table, _GUIDE), columns.find(table, _TARGET)
    if guides and targets:
        pairs = table[[guides[0], targets[0]]]
    else:
        pairs = columns.read_table(Path(path), "guide map", header=False).iloc[:, :2]
    if pairs.shape[1] < 2:
        raise DataError(f"guide map '{path}' has one column; expected a guide and its target in each row")
    result: dict[str, str] = {}
    for guide, target in pairs.itertuples(index=False):
        guide, target = guide.strip(), target.strip()
        if guide and target and result.setdefault(guide, target) != target:
            raise DataError(f"guide map '{path}': guide '{guide}' has two targets, '{result[guide]}' and '{target}'")
    return result


def replace_labels(obs: pd.DataFrame, path: Path | str, key: str | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """``obs`` with columns of a table put in by barcode (its first column), and notes.

    A table with one value column holds the labels, whatever its name; cells that the table does not name keep
    theirs. Raises DataError for duplicated barcodes, or where no barcode is in the data.
    """
    table = columns.read_table(Path(path), "obs table")
    if str(table.columns[0]).strip() in obs.index:
        raise DataError(
            f"the first line of the obs table '{path}' is a cell ('{table.columns[0]}'); expected a header above it, "
            "such as barcode<TAB>condition"
        )
    table = table.set_index(table.columns[0])
    table.index = table.index.str.strip()
    for names, where in ((table.index, f"obs table '{path}'"), (obs.index, "data")):
        if names.has_duplicates:
            raise DataError(
                f"the {where} has barcode '{names[names.duplicated()][0]}' more than once; labels cannot be put in"
            )
    shared = obs.index[obs.index.isin(table.index)]
    if not len(shared):
        raise DataError(
            f"no barcode of the obs table '{path}' is in the data: '{table.index[0]}' there, '{obs.index[0]}' here"
        )
    if key is not None and key not in table.columns:
        if table.shape[1] > 1:
            raise DataError(
                f"the obs table '{path}' has no column '{key}'{did_you_mean(key, table.columns)}; "
                f"columns there are: {', '.join(table.columns)}"
            )
        table.columns = [key]
    result = obs.copy()
    changed = 0
    for column in table.columns:
        old = columns.text(obs[column]) if column in obs.columns else pd.Series("", index=obs.index)
        new = old.astype(object)
        new.loc[shared] = table.loc[shared, column].str.strip()
        result[column] = new
        changed += int((new != old).sum()) if column == key else 0
    log.info(
        "%s: labels of %d cells are taken from it (%d of them differ), %d cells are not in it and keep theirs",
        path, len(shared), changed, len(obs) - len(shared),
    )  # fmt: skip
    return result, {
        "path": str(path),
        "cells": len(shared),
        "changed": changed,
        "cells_not_in_it": len(obs) - len(shared),
    }
