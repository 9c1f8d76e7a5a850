"""From a .h5ad file or an AnnData object to a `Screen`: detect, check at the door, say what was chosen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data import columns
from grape_dgl.data import conditions as naming
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.annotation_files import without_version
from grape_dgl.data.blocks import gather, row_blocks
from grape_dgl.data.expression import Counts, check_values, is_counts, normalise, pick_matrix, variable_genes
from grape_dgl.data.genes import Genes
from grape_dgl.data.h5ad import open_h5ad
from grape_dgl.data.labels import read_guide_map, read_labels, replace_labels
from grape_dgl.data.names import (
    ENSEMBL_ID,
    GeneNames,
    check_orientation,
    name_genes,
    symbol_of,
    warn_of_naming,
)
from grape_dgl.data.screen import Screen
from grape_dgl.data.stored_de import stored_rankings
from grape_dgl.errors import DataError, some

log = logging.getLogger("grape_dgl")


def read_screen(
    source: str | Path | ad.AnnData,
    *,
    annotation: Annotation | None = None,
    condition_key: str | None = None,
    control: Sequence[str] = (),
    guide_map: Path | str | Mapping[str, str] | None = None,
    obs_table: Path | str | None = None,
    cell_type: str | None = None,
    cell_type_key: str | None = None,
    batch_key: str | None = None,
    keep: Sequence[str] = (),
    min_cells: int = 30,
    layer: str | None = None,
    counts: Counts = "auto",
    target_sum: float = 1e4,
    hvg: int | None = None,
    on_disk: bool = False,
    labels_warning: str | None = None,
) -> Screen:
    """Read a perturbation screen; what is not given is detected, logged and stored in ``Screen.notes``.

    Args:
        source: .h5ad file, or an AnnData object, which is left as it is.
        annotation: what is known about genes; targets that are not measured must be in it, unless it is empty.
        condition_key: obs column that says what was perturbed.
        control: labels of control cells.
        guide_map: table (or mapping) guide -> target.
        obs_table: table that replaces labels by barcode.
        cell_type: use only these cells; needed where there are several.
        cell_type_key: obs column of cell types.
        batch_key: obs column of batches, to which control means are matched.
        keep: filters ``COLUMN=VALUE``; values of one column are alternatives.
        min_cells: conditions with fewer cells are dropped.
        layer: matrix to read: a layer's name, or ``raw``; None is ``X``.
        counts: whether the matrix holds ``raw`` counts or ``log1p`` values.
        target_sum: library size to which counts are normalised before log1p.
        hvg: take this many of the genes that vary most among control cells, and all measured targets; None: all genes.
        on_disk: keep the cells in temporary files (in ``tempfile.gettempdir()``), for screens larger than memory; the
            numbers are the same. A matrix of a file that is stored by genes (CSC) is read as a whole all the same.
        labels_warning: what is known to be wrong with this source's labels.
    Raises DataError, one line, for anything that cannot be read as a screen.
    """
    annotation = annotation or Annotation.empty()
    adata = source if isinstance(source, ad.AnnData) else open_h5ad(Path(source), lazily=True)
    notes: dict[str, Any] = {"source": "AnnData object" if isinstance(source, ad.AnnData) else str(source)}
    if not adata.n_obs or not adata.n_vars:
        raise DataError(f"the data are empty: {adata.n_obs} cells, {adata.n_vars} genes")
    check_orientation(adata.obs, adata.var)
    matrix, var = pick_matrix(adata, layer)
    names = name_genes(var, annotation)
    notes |= {"cells_in_file": adata.n_obs, "genes_in_file": len(names.symbol), "layer": layer or "X", **names.notes}

    obs = adata.obs.set_axis(adata.obs_names.astype(str), axis=0)
    known = _Known(names, annotation)
    guides = read_guide_map(guide_map) if isinstance(guide_map, str | Path) else guide_map
    key = condition_key
    if obs_table is not None:
        key = key or _find_condition(obs, control, known, guides)
        obs, notes["obs_table"] = replace_labels(obs, obs_table, key)
    elif labels_warning:
        log.warning("%s", labels_warning)
        notes["labels_warning"] = labels_warning
    kept = columns.keep_mask(obs, keep)
    of_type, type_key, type_name = columns.cell_type_filter(obs[kept], cell_type_key, cell_type)
    rows = np.flatnonzero(kept)[of_type]
    obs = obs.iloc[rows]
    key = columns.require(obs, key, "--condition-key") if key else _find_condition(obs, control, known, guides)
    aliases = {**names.aliases, **_ensembl_aliases(columns.text(obs[key]).unique(), names, annotation)}
    labels = read_labels(obs, key, known, control, guides, aliases)
    assigned = labels.condition != ""
    obs, rows, condition = obs[assigned], rows[assigned], labels.condition[assigned]
    columns.check_mixture(obs, condition != naming.CONTROL)
    notes |= {**labels.notes, "keep": list(keep), "cell_type_key": type_key, "cell_type": type_name}

    read = gather(row_blocks(matrix, rows), len(names.symbol), on_disk)
    raw, alive = _what_numbers(read, counts, target_sum, notes)
    frequent = _frequent(condition, alive, min_cells, notes)
    condition, obs = condition[frequent], obs[frequent]
    batch, batch_column, batches = columns.batch_codes(obs, batch_key)
    notes |= {"batch_key": batch_column, "batches": {name: int((batch == i).sum()) for i, name in enumerate(batches)}}
    if batch_column:
        log.info("batches: obs column '%s', %d of them; control means are matched to them", batch_column, len(batches))
        notes["unmatched_conditions"] = _unmatched(condition, batch)

    present, rows = tuple(sorted(set(condition) - {naming.CONTROL})), np.flatnonzero(frequent)

    def logs(rows: np.ndarray) -> Iterator[sp.csr_matrix]:
        return (normalise(block, target_sum) if raw else block for block in row_blocks(read, rows))

    panel = np.ones(len(names.symbol), dtype=bool)
    if hvg is not None:
        control = gather(logs(rows[condition == naming.CONTROL]), len(panel))
        panel = _panel(control, present, names, hvg)
    notes |= {"hvg": hvg, "genes_measured": int(panel.sum())}
    kept = np.flatnonzero(panel)
    kept = kept[
        np.argsort(names.symbol[kept].astype(str), kind="stable")
    ]  # so that their order in the file is no matter
    expression = gather((block[:, kept] for block in logs(rows)), len(kept), on_disk)
    genes = _describe(names, kept, present, annotation, notes)
    place = {name: code for code, name in enumerate(present)} | {naming.CONTROL: -1}
    stored = stored_rankings(adata.uns, labels.by_label, _within(aliases, genes), type_name)
    screen = Screen(
        expression=expression,
        condition=np.array([place[name] for name in condition], dtype=np.int64),
        conditions=present,
        batch=batch,
        rank=np.argsort(np.argsort(obs.index.to_numpy(dtype=str), kind="stable")),
        genes=genes,
        stored_de={name: stored[name] for name in present if name in stored},
        notes=notes,
    )
    _report(screen, notes)
    return screen


class _Known:
    """Names that the file or the annotation knows, as symbol or Ensembl id."""

    def __init__(self, names: GeneNames, annotation: Annotation) -> None:
        self.names, self.annotation = names, annotation

    def __contains__(self, name: object) -> bool:
        return name in self.names.aliases or name in self.annotation


def _find_condition(obs: pd.DataFrame, control: Sequence[str], known: _Known, guides: Mapping[str, str] | None) -> str:
    """Condition column by its name, its control labels and its genes; labels are looked at one by one."""
    parser = naming.ConditionParser(known, frozenset(control), naming.JOIN, dict(guides or {}))

    def is_control(label: str) -> bool:
        return label in control if control else parser.explains(label) and parser.parse(label) == naming.CONTROL

    def is_known(label: str) -> bool:
        return parser.explains(label) and parser.parse(label) != naming.CONTROL

    return columns.condition_column(obs, is_control, is_known)


def _ensembl_aliases(labels: Iterable[str], names: GeneNames, annotation: Annotation) -> dict[str, str]:
    """Symbols of targets that labels name by Ensembl id."""
    found: dict[str, str] = {}
    for label in labels:
        for gene in ENSEMBL_ID.findall(label):
            symbol = names.aliases.get(without_version(gene)) or symbol_of(annotation, gene)
            if symbol:
                found[gene] = symbol
    return found


def _what_numbers(
    expression: sp.csr_matrix, counts: Counts, target_sum: float, notes: dict[str, Any]
) -> tuple[bool, np.ndarray]:
    """(Whether they are raw counts, bool [cells]: which have counts); checks them, and says what they are."""
    check_values(expression)
    raw = is_counts(expression) if counts == "auto" else counts == "raw"
    how = "detected" if counts == "auto" else "as told"
    alive = np.ones(expression.shape[0], dtype=bool)
    notes |= {"counts": "raw" if raw else "log1p", "counts_detected": counts == "auto", "empty_cells": 0}
    notes["target_sum"] = target_sum if raw else None
    if not raw:
        log.info("expression: log1p values (%s), used as they are", how)
        return False, alive
    alive = np.diff(expression.indptr) > 0
    notes["empty_cells"] = int((~alive).sum())
    log.info("expression: raw counts (%s), normalised to %g per cell and log1p", how, target_sum)
    if notes["empty_cells"]:
        log.info("%d cells without any count are left out", notes["empty_cells"])
    return True, alive


def _frequent(condition: np.ndarray, alive: np.ndarray, min_cells: int, notes: dict[str, Any]) -> np.ndarray:
    """bool [cells]: cells to use, of the control and of conditions with enough cells; says which are dropped."""
    names, counts = np.unique(condition[alive], return_counts=True)
    cells = dict(zip(names.tolist(), counts.tolist(), strict=True))
    for name in np.unique(condition):
        cells.setdefault(str(name), 0)
    controls = cells.pop(naming.CONTROL)
    if not controls:
        raise DataError("no control cells: those that are labelled so have no counts at all")
    if controls < 2:
        raise DataError("only one control cell; disjoint halves of the controls need at least two")
    if not cells:
        raise DataError("there are only control cells; expected cells of at least one perturbation")
    dropped = {name: number for name, number in cells.items() if number < min_cells}
    if len(dropped) == len(cells):
        most = max(cells.values(), default=0)
        raise DataError(
            f"no condition has {min_cells} cells (the largest of {len(cells)} has {most}); "
            "lower --min-cells, or check the labels"
        )
    if dropped:
        listed = ", ".join(f"{name} ({number})" for name, number in sorted(dropped.items()))
        log.info("%d conditions with fewer than %d cells are dropped: %s", len(dropped), min_cells, listed)
    if controls < min_cells:
        log.warning("only %d control cells: control means will be noisy", controls)
    notes |= {"min_cells": min_cells, "dropped_conditions": dict(sorted(dropped.items()))}
    return alive & ~np.isin(condition, list(dropped))


def _unmatched(condition: np.ndarray, batch: np.ndarray) -> list[str]:
    """Conditions with cells in batches without controls, whose control mean cannot be matched there; says so."""
    controlled = np.unique(batch[condition == naming.CONTROL])
    found = sorted(set(condition[~np.isin(batch, controlled)]))
    if found:
        log.warning(
            "%d conditions have cells in batches without controls (%s): batch differences stay in their changes",
            len(found), some(found),
        )  # fmt: skip
    return found


def _panel(control: sp.csr_matrix, present: Sequence[str], names: GeneNames, hvg: int) -> np.ndarray:
    """bool [genes]: the genes with a read-out."""
    targets = {gene for name in present for gene in naming.targets(name)}
    panel = variable_genes(control, hvg) | np.isin(names.symbol.astype(str), sorted(targets))
    log.info(
        "gene panel: %d of %d genes, by variance among control cells, and all measured targets", panel.sum(), len(panel)
    )
    return panel


def _describe(
    names: GeneNames, kept: np.ndarray, present: Sequence[str], annotation: Annotation, notes: dict[str, Any]
) -> Genes:
    """Nodes: the ``kept`` genes, then targets without a read-out. DataError for a target that no source knows."""
    measured = names.symbol[kept].tolist()
    targets = {gene for name in present for gene in naming.targets(name)}
    unmeasured = sorted(targets.difference(measured))
    symbols = [*measured, *unmeasured]
    ensembl = [*names.ensembl[kept].tolist(), *[""] * len(unmeasured)]
    asked, annotation = annotation.look_ups, annotation.looked_up(symbols, ensembl)
    unknown = [gene for gene in unmeasured if gene not in annotation]
    if unknown and not annotation.is_empty:
        raise DataError(
            f"{len(unknown)} of {len(targets)} targets are neither measured nor in the annotation: "
            f"{some(unknown, 10)}; add them to --annotation, map other names with --guide-map, or raise --min-cells"
        )
    if targets and len(unmeasured) == len(targets) and annotation.is_empty:
        warn_of_naming(unmeasured, measured)
    if unmeasured:
        log.info("%d of %d targets are not measured and become nodes without a read-out", len(unmeasured), len(targets))
    notes |= {"targets": len(targets), "targets_not_measured": unmeasured}
    notes["looked_up"] = [dict(one.origin) for one in asked]
    return annotation.describe(symbols, ensembl, len(measured))


def _within(aliases: Mapping[str, str], genes: Genes) -> dict[str, str]:
    measured = set(genes.symbol[: genes.measured])
    return {name: symbol for name, symbol in aliases.items() if symbol in measured}


def _report(screen: Screen, notes: dict[str, Any]) -> None:
    """Count, and compare each measured target with the controls."""
    control = screen.mean(naming.CONTROL)
    on_target: dict[str, dict[str, float]] = {}
    for name in screen.conditions:
        measured = [node for node in screen.targets(name) if node < screen.genes.measured]
        if measured:
            change = screen.mean(name) - control
            on_target[name] = {str(screen.genes.symbol[node]): round(float(change[node]), 4) for node in measured}
    notes |= {"on_target": on_target, "stored_de": len(screen.stored_de), "control_cells": len(screen.control_cells)}
    log.info(
        "%d cells (%d control), %d conditions, %d genes measured",
        len(screen.condition), len(screen.control_cells), len(screen.conditions), screen.genes.measured,
    )  # fmt: skip
    changes = [change for found in on_target.values() for change in found.values()]
    if changes:
        log.info(
            "on-target change of %d pairs of condition and measured target: median %+.2f (log1p), %d down, %d up",
            len(changes), float(np.median(changes)), sum(c < 0 for c in changes), sum(c > 0 for c in changes),
        )  # fmt: skip
    if screen.stored_de:
        log.info("the file brings rankings of differential genes for %d conditions", len(screen.stored_de))
