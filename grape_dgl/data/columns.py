"""Which cells of a file to read and what its obs columns mean: the column names people use, filters, mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from grape_dgl.data.conditions import JOIN
from grape_dgl.data.text_files import as_text, reading, separator
from grape_dgl.errors import DataError, did_you_mean, some

CONDITION = (
    "condition", "perturbation", "gene_target", "target_gene", "target", "gene", "perturbed_gene", "perturbation_name",
    "perturb", "pert", "perts", "perturbations", "gene_symbol", "guide_target", "guide_identity", "guide_id",
    "guide_ids", "guide", "grna", "sgrna", "sgrna_id", "guide_assignment", "gene_id",
)  # fmt: skip
"""Names of the column that says what was perturbed, the likeliest first."""
CELL_TYPE = ("cell_type", "cell_line", "celltype", "cellline")
BATCH = ("batch", "bio_rep", "gem_group", "gemgroup", "batch_id")
DOSE = ("dose", "dose_val", "dose_value", "dosage")
KIND = ("perturbation_type",)
CONTROL_FLAG = ("control", "is_control", "ctrl")
"""Columns of true/false or 1/0 that mark control cells."""
UNASSIGNED = frozenset(
    ("", "nan", "na", "n/a", "none", "unassigned", "unknown", "multiplet", "doublet", "negative", "*")
)
"""Labels (in lower case) of cells of which nobody knows what was done to them."""


def find(obs: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Columns of ``obs`` with one of ``names`` (case and ``-``/``_``/space aside), in the order of ``names``."""
    spelled: dict[str, str] = {}
    for column in obs.columns:
        spelled.setdefault(_plain(str(column)), column)
    return [spelled[_plain(name)] for name in names if _plain(name) in spelled]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "").replace(".", "")


def require(obs: pd.DataFrame, column: str, flag: str) -> str:
    """``column`` where ``obs`` has it; DataError that names the closest column otherwise."""
    if column in obs.columns:
        return column
    there = ", ".join(map(str, obs.columns)) or "none"
    raise DataError(
        f"obs has no column '{column}' ({flag}){did_you_mean(column, obs.columns)}; columns there are: {there}"
    )


def text(column: pd.Series) -> pd.Series:
    """A column as stripped text; missing values are "", whole floats lose their ``.0``."""
    values = column.astype(object)
    if pd.api.types.is_float_dtype(column.dtype):
        values = values.map(lambda value: int(value) if pd.notna(value) and float(value).is_integer() else value)
    return values.where(column.notna(), "").astype(str).str.strip()


def condition_column(obs: pd.DataFrame, is_control: Callable[[str], bool], is_known: Callable[[str], bool]) -> str:
    """The column that says what was perturbed: a usual name, holds control labels and, if any does, known genes.

    Raises DataError that lists the columns.
    """
    candidates = [column for column in find(obs, CONDITION) if text(obs[column]).nunique() > 1]
    ranked = []
    for place, column in enumerate(candidates):
        labels = text(obs[column]).unique()
        ranked.append((any(map(is_control, labels)), any(map(is_known, labels)), -place, column))
    if ranked:
        return max(ranked)[-1]
    others = [
        c
        for c in obs.columns
        if not pd.api.types.is_numeric_dtype(obs[c]) and any(map(is_control, text(obs[c]).unique()))
    ]
    there = ", ".join(map(str, obs.columns)) or "none"
    guess = f"; column '{others[0]}' holds control labels" if others else ""
    raise DataError(
        f"no obs column has a name used for perturbations (condition, perturbation, gene_target, ...){guess}; "
        f"say which with --condition-key; columns there are: {there}"
    )


def keep_mask(obs: pd.DataFrame, keep: Sequence[str]) -> np.ndarray:
    """bool [cells]: cells that pass ``COLUMN=VALUE`` filters; values of one column are alternatives.

    Raises DataError for an unknown column or value.
    """
    wanted: dict[str, set[str]] = {}
    for item in keep:
        column, sign, value = item.partition("=")
        if not sign:
            raise DataError(f"--keep '{item}' is not of the form COLUMN=VALUE")
        column, value = require(obs, column.strip(), "--keep"), value.strip()
        there = text(obs[column]).unique()
        if value not in there:
            listed = some([repr(one) for one in sorted(there)], 10)
            raise DataError(f"no cell has {column} = '{value}'{did_you_mean(value, there)}; values there are: {listed}")
        wanted.setdefault(column, set()).add(value)
    mask = np.ones(len(obs), dtype=bool)
    for column, values in wanted.items():
        mask &= text(obs[column]).isin(values).to_numpy()
    if not mask.any():
        raise DataError(f"no cell passes all filters: {', '.join(keep)}")
    return mask


def cell_type_filter(
    obs: pd.DataFrame, key: str | None, cell_type: str | None
) -> tuple[np.ndarray, str | None, str | None]:
    """(bool [cells], column, cell type used); None where the file does not tell cell types.

    Raises DataError for several cell types of which none is chosen, and for one that is not there.
    """
    columns = [require(obs, key, "--cell-type-key")] if key else find(obs, CELL_TYPE)
    everything = np.ones(len(obs), dtype=bool)
    if cell_type is None:
        for column in columns:
            counts = text(obs[column]).value_counts()
            if len(counts) > 1:
                listed = ", ".join(f"{name or '(empty)'} ({cells:,})" for name, cells in counts.items())
                raise DataError(f"several cell types in '{column}': {listed}; choose one with --cell-type NAME")
        return everything, (columns[0] if columns else None), (text(obs[columns[0]]).iloc[0] if columns else None)
    if not columns:
        raise DataError(f"no obs column of cell types to find '{cell_type}' in; name it with --cell-type-key")
    for column in columns:
        values = text(obs[column])
        for same in (values == cell_type, values.str.casefold() == cell_type.casefold()):
            if same.any():
                return same.to_numpy(), column, str(values[same].iloc[0])
    there = sorted({value for column in columns for value in text(obs[column]).unique()})
    raise DataError(
        f"no cell has the cell type '{cell_type}'{did_you_mean(cell_type, there)}; there are: {', '.join(there)}"
    )


def check_mixture(obs: pd.DataFrame, perturbed: np.ndarray) -> None:
    """Raise DataError where perturbed cells mix perturbation types or doses; names the ``--keep`` filter.

    A dose such as ``1+1`` is one dose per target, so it is no mixture with ``1``.
    """
    for column in find(obs, (*KIND, *DOSE)):
        values = text(obs[column])
        parts = {value: _doses(value) for value in values[perturbed].unique() if value.casefold() not in UNASSIGNED}
        kinds = sorted({part for found in parts.values() for part in found})
        if len(kinds) < 2:
            continue
        counts = values[perturbed].value_counts()
        listed = ", ".join(f"{value} ({counts[value]:,})" for value in parts)
        most = max(kinds, key=lambda kind: sum(counts[value] for value, found in parts.items() if found == {kind}))
        passing = [value for value in parts if parts[value] == {most}]
        passing += [value for value in values[~perturbed].unique() if value not in parts]
        flags = " ".join(f"--keep '{column}={value}'" for value in passing)
        raise DataError(f"perturbed cells mix several values of '{column}': {listed}; choose, for example {flags}")


def _doses(value: str) -> set[str]:
    def number(part: str) -> str:
        try:
            return f"{float(part):g}"
        except ValueError:
            return part.strip()

    return {number(part) for part in value.split(JOIN)}


def batch_codes(obs: pd.DataFrame, key: str | None) -> tuple[np.ndarray, str | None, list[str]]:
    """(int [cells] codes, column, names of the codes); all 0 where the file tells no batches."""
    columns = [require(obs, key, "--batch-key")] if key else find(obs, BATCH)
    if not columns:
        return np.zeros(len(obs), dtype=np.int64), None, []
    codes, names = pd.factorize(text(obs[columns[0]]), sort=True)
    return codes.astype(np.int64), columns[0], [str(name) for name in names]


def read_table(path: Path, what: str, header: bool = True) -> pd.DataFrame:
    """A TSV or CSV of text (may be compressed); missing values are "". Raises DataError where it cannot be read."""
    with reading(path, f"the {what}") as file:
        sign = separator(file.readline().decode("utf-8-sig"))
    with reading(path, f"the {what}") as file:
        try:
            table = pd.read_csv(as_text(file), sep=sign, dtype=str, keep_default_na=False, header=0 if header else None)
        except ValueError as error:
            raise DataError(f"the {what} '{path}' is no TSV or CSV table: {error}") from error
    if table.empty:
        raise DataError(f"the {what} '{path}' has no rows; expected some below its header")
    if table.shape[1] < 2:
        raise DataError(f"the {what} '{path}' has one column; expected at least two, separated by tabs or commas")
    return table
