"""Predicted changes of some conditions, and the file ``predictions.h5ad`` that holds them.

One row per condition (``obs_names`` = canonical name), one column per measured gene:

* ``X`` predicted mean expression; ``layers["change"]`` predicted change from control; ``var["control"]`` control mean.
* ``layers["observed"]`` mean of the condition's cells (NaN rows where there are none); ``layers["reference"]`` mean of
  the control cells that no model saw, matched to their batches; ``layers["std"]`` over an ensemble;
  ``layers["margin"]``: nine tenths of conditions that were left out were off by no more (see ``training.response``).
* ``layers["control"]`` only where the control mean differs between conditions, being matched to their batches.
* ``obs["split"]``, ``obs["n_cells"]``; ``uns["grape_dgl"]``: model name, seed and whatever else was given.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from grape_dgl.data.conditions import CONTROL, parse_condition
from grape_dgl.data.h5ad import open_h5ad
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import DataError, some
from grape_dgl.writing import write_beside

log = logging.getLogger("grape_dgl")

BESIDE = ("std", "margin", "observed", "reference")
LAYERS = ("change", "control", *BESIDE)
CLOSE = 1e-5
"""Expression differences up to this are rounding of float32 files."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for ``conditions``; every matrix is float32 [conditions, measured]."""

    conditions: tuple[str, ...]
    genes: np.ndarray
    """[measured] symbols"""
    change: np.ndarray
    """Change from control; NaN in a foreign file that says neither change nor control (``against`` fills it)."""
    control: np.ndarray
    """[measured] mean of the control cells the model saw; NaN where unknown"""
    expected: np.ndarray
    """Change + control mean matched to the condition's batches"""
    std: np.ndarray | None = None
    margin: np.ndarray | None = None
    """Half the width of a 90 % interval of the observed change from the model's half of the control"""
    observed: np.ndarray | None = None
    reference: np.ndarray | None = None
    """Mean of the control cells that no model saw, matched to the condition's batches"""
    split: tuple[str, ...] = ()
    """Part each condition belongs to; empty strings where there is none"""
    n_cells: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    de_genes: tuple[str, ...] = ()
    """The strongest DE genes of each condition's cells, joined by blanks; empty strings where unknown"""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for ``uns["grape_dgl"]``: ``model`` (name in tables), ``seed`` (of the control halves), ..."""

    def __post_init__(self) -> None:
        shape = (len(self.conditions), len(self.genes))
        for name in ("change", "expected", *BESIDE):
            matrix = getattr(self, name)
            if matrix is not None and matrix.shape != shape:
                raise DataError(f"'{name}' has shape {matrix.shape}; expected {shape} (conditions, genes)")
        if not self.split:
            object.__setattr__(self, "split", ("",) * shape[0])
        if not self.de_genes:
            object.__setattr__(self, "de_genes", ("",) * shape[0])
        if not len(self.n_cells):
            object.__setattr__(self, "n_cells", np.zeros(shape[0], dtype=np.int64))

    @property
    def observed_change(self) -> np.ndarray | None:
        """From the control cells that no model saw, else (a file that lacks them) from those of the prediction."""
        if self.observed is None:
            return None
        return self.observed - (self.expected - self.change if self.reference is None else self.reference)

    def to_anndata(self) -> ad.AnnData:
        """The file's content as described on top of this module."""
        layers = {"change": np.float32(self.change)}
        matched = self.expected - self.change
        if np.abs(matched - self.control).max(initial=0) > CLOSE:
            layers["control"] = np.float32(matched)
        layers |= {name: np.float32(m) for name in BESIDE if (m := getattr(self, name)) is not None}
        return ad.AnnData(X=np.float32(self.expected), layers=layers, **self._around())

    def _around(self) -> dict[str, Any]:
        """``obs``, ``var`` and ``uns`` of the file."""
        cells = np.asarray(self.n_cells, dtype=np.int64)
        columns = {"split": list(self.split), "n_cells": cells, "de_genes": list(self.de_genes)}
        return {
            "obs": pd.DataFrame(columns, index=list(self.conditions)),
            "var": pd.DataFrame({"control": np.float32(self.control)}, index=[str(g) for g in self.genes]),
            "uns": {"grape_dgl": {name: value for name, value in self.info.items() if value is not None}},
        }

    def write(self, path: str | Path) -> None:
        """Write ``path`` (.h5ad) in one step: a reader sees the old file or the new one, never half of it."""
        write_beside(Path(path), self.to_anndata().write_h5ad)

    def write_rows(
        self, path: Path, layers: Sequence[str], parts: Iterable[tuple[Sequence[int], Mapping[str, Any]]]
    ) -> None:
        """Write ``path`` as :meth:`write` does, ``X`` and ``layers`` from ``parts``, one of which is in memory at once.

        A part: its rows, in rising order, and for ``X`` and each layer a matrix [rows, measured].
        """

        def write(beside: Path) -> None:
            ad.AnnData(**self._around()).write_h5ad(beside)
            with h5py.File(beside, "r+") as file:
                if "X" in file:
                    del file["X"]
                places = {"X": "X", **{layer: f"layers/{layer}" for layer in layers}}
                shape = (len(self.conditions), len(self.genes))
                made = {name: file.create_dataset(place, shape, "f4") for name, place in places.items()}
                for dataset in made.values():
                    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
                for rows, matrices in parts:
                    for name, dataset in made.items():
                        dataset[list(rows)] = np.float32(matrices[name])

        write_beside(path, write)

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Read a predictions file of ours, or one with only ``X``, ``obs_names`` (conditions) and ``var_names``.

        Raises DataError for no file, no .h5ad, no ``X``, repeated names, or values that are not finite.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"there is no file '{path}'; expected a predictions.h5ad as 'grape-dgl train' writes it")
        return cls.from_anndata(open_h5ad(path), str(path))

    @classmethod
    def from_anndata(cls, data: ad.AnnData, name: str = "predictions") -> Predictions:
        """The predictions in ``data``; ``name`` stands in messages. Raises DataError as ``read`` does."""
        if data.X is None:
            raise DataError(f"'{name}' has no X; expected the predicted mean expression [conditions, genes]")
        for what, index in (("obs_names (conditions)", data.obs_names), ("var_names (genes)", data.var_names)):
            if not index.is_unique:
                twice = ", ".join(index[index.duplicated()].unique()[:3])
                raise DataError(
                    f"'{name}' repeats {what}: {twice}; expected one row per condition, one column per gene"
                )
        expected = _dense(data.X)
        if not np.isfinite(expected).all():
            raise DataError(f"'{name}' holds NaN or infinite predictions in X; expected finite expression")
        layers = {layer: _dense(data.layers[layer]) for layer in LAYERS if layer in data.layers}
        unknown = np.full(data.n_vars, np.nan, dtype=np.float32)
        control = data.var["control"].to_numpy(np.float32) if "control" in data.var else unknown
        change = layers.get("change", expected - layers.get("control", control))
        if "change" in layers and not np.isfinite(change).all():
            raise DataError(f"'{name}' holds NaN or infinite values in layers['change']; expected finite changes")
        return cls(
            conditions=tuple(str(c) for c in data.obs_names),
            genes=data.var_names.to_numpy(dtype=object),
            change=change,
            control=control,
            expected=expected,
            **{name: layers.get(name) for name in BESIDE},
            split=tuple(data.obs["split"].astype(str)) if "split" in data.obs else (),
            n_cells=data.obs["n_cells"].to_numpy(np.int64) if "n_cells" in data.obs else np.zeros(0, dtype=np.int64),
            de_genes=tuple(data.obs["de_genes"].astype(str)) if "de_genes" in data.obs else (),
            info=_plain(data.uns.get("grape_dgl", {})),
        )

    def against(self, screen: Screen, control: ControlHalves) -> Predictions:
        """The same predictions in the genes and spelling of ``screen``, for the conditions of which it has cells.

        Genes are put into the screen's order; a change that the file does not say is taken from the control mean of
        ``control.model``. Raises DataError where a measured gene or every condition is missing.
        """
        symbols = list(screen.genes.symbol[: screen.genes.measured])
        column = {gene: i for i, gene in enumerate(self.genes)}
        if missing := [gene for gene in symbols if gene not in column]:
            raise DataError(
                f"the predictions lack {len(missing)} of the {len(symbols)} measured genes: {some(missing)}; "
                "read the data with the flags of the training run, such as --hvg"
            )
        if len(column) > len(symbols):
            log.info("%d predicted genes are not measured in the data and are left out", len(column) - len(symbols))
        genes = [column[gene] for gene in symbols]
        names = [spelled(condition, screen) for condition in self.conditions]
        rows = [i for i, name in enumerate(names) if name in screen.conditions]
        if not rows:
            raise DataError(
                f"none of the {len(names)} predicted conditions has cells in the data: {some(names)}; "
                f"the data has {some(screen.conditions)}"
            )
        found = tuple(names[i] for i in rows)
        if len(set(found)) < len(found):
            twice = sorted({name for name in found if found.count(name) > 1})
            raise DataError(f"the predictions name a condition twice: {some(twice)}; expected one row per condition")
        if without := sorted(set(names) - set(found) - {CONTROL}):
            log.warning(
                "%d predicted conditions have no cells and are not scored: %s", len(without), ", ".join(without)
            )
        kept = dataclasses.replace(self.select(rows, genes), conditions=found)
        if not np.isnan(kept.change).any():
            return kept
        log.info("the predictions say no change; it is taken from the control mean of the data's model half")
        base = np.stack([screen.control_mean(control.model, name) for name in found])
        return dataclasses.replace(kept, change=kept.expected - base)

    def select(self, rows: Sequence[int], genes: Sequence[int] | None = None) -> Predictions:
        """Only these conditions, and genes in this order where they are given."""
        columns = np.arange(len(self.genes)) if genes is None else np.asarray(genes)

        def cut(matrix: np.ndarray) -> np.ndarray:
            return matrix[list(rows)][:, columns]

        beside: dict[str, Any] = {name: cut(m) for name in BESIDE if (m := getattr(self, name)) is not None}
        return dataclasses.replace(
            self,
            conditions=tuple(self.conditions[i] for i in rows),
            genes=self.genes[columns],
            change=cut(self.change),
            control=self.control[columns],
            expected=cut(self.expected),
            **beside,
            split=tuple(self.split[i] for i in rows),
            n_cells=self.n_cells[list(rows)],
            de_genes=tuple(self.de_genes[i] for i in rows),
        )


def spelled(condition: str, screen: Screen) -> str:
    """The canonical name, or the name as it stands where it cannot be one of the screen's conditions."""
    if condition in screen.conditions:
        return condition
    try:
        return parse_condition(condition, list(screen.genes.symbol))
    except DataError:
        return condition


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix, dtype=np.float32)


def _plain(value: Any) -> Any:
    """``value`` read from a file as plain Python values."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
