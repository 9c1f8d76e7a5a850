"""A perturbation screen in memory: expression of each cell, and which genes were perturbed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from grape_dgl.data import conditions as naming
from grape_dgl.data.genes import Genes
from grape_dgl.errors import DataError, did_you_mean

CACHED_ROWS = 8
"""Sets of control rows whose batch means are kept."""


@dataclass(frozen=True, eq=False)
class ControlHalves:
    """Two disjoint halves of the control cells, as row indices."""

    model: np.ndarray
    """Everything a model sees of the controls, the control mean of its predictions included."""
    reference: np.ndarray
    """Reference of observed changes and of differential expression."""


@dataclass(frozen=True, eq=False, repr=False)
class Screen:
    """Cells of one perturbation screen: log1p of library-size-normalised expression and what was done to each cell.

    Raises DataError where the fields do not fit together, or no control cell or condition is left.
    """

    expression: sp.csr_matrix
    """[cells, measured] float32, log1p(counts / library * target_sum)."""
    condition: np.ndarray
    """[cells] index into `conditions`, -1 for control cells."""
    conditions: tuple[str, ...]
    """Canonical names, sorted; control is not among them."""
    batch: np.ndarray
    """[cells] batch code, all 0 without batches."""
    genes: Genes
    stored_de: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Condition -> gene symbols ranked by the file itself (``uns["rank_genes_groups_cov_all"]``); may be empty."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Everything that was detected or chosen on reading, as JSON values."""
    rank: np.ndarray | None = None
    """[cells] their order wherever it counts (draws, sums), such as that of their barcodes; None: as they stand."""

    def __repr__(self) -> str:
        measured, nodes = self.genes.measured, len(self.genes)
        return (
            f"Screen of {len(self.condition):,} cells ({len(self.control_cells):,} control), {len(self.conditions):,} "
            f"conditions, {measured:,} genes measured, {nodes - measured:,} other targets"
        )

    def __post_init__(self) -> None:
        cells, measured = self.expression.shape
        if not len(self.condition) == len(self.batch) == cells:
            raise DataError(f"{cells} cells, but {len(self.condition)} condition and {len(self.batch)} batch entries")
        if self.rank is not None and len(self.rank) != cells:
            raise DataError(f"{cells} cells, but {len(self.rank)} ranks")
        if measured != self.genes.measured:
            raise DataError(f"expression of {measured} genes, but {self.genes.measured} genes are marked as measured")
        if list(self.conditions) != sorted(set(self.conditions)) or naming.CONTROL in self.conditions:
            raise DataError("conditions of a screen are sorted, unique and without the control")
        if not self.conditions:
            raise DataError("no perturbed condition is left; expected at least one beside the control")
        if cells and not -1 <= self.condition.min() <= self.condition.max() < len(self.conditions):
            raise DataError("a cell's condition index is out of range")
        if not len(self.control_cells):
            raise DataError("no control cells; expected cells that were not perturbed")

    @cached_property
    def _rank(self) -> np.ndarray:
        return np.arange(len(self.condition)) if self.rank is None else self.rank

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """Rows of the control, then of each condition."""
        order = np.lexsort((self._rank, self.condition))
        bounds = np.searchsorted(self.condition[order], np.arange(-1, len(self.conditions) + 1))
        return [order[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {naming.CONTROL: 0} | {name: place for place, name in enumerate(self.conditions, start=1)}

    @cached_property
    def _batch_means(self) -> dict[bytes, tuple[np.ndarray, np.ndarray]]:
        return {}

    @property
    def batches(self) -> int:
        """Number of batch codes."""
        return int(self.batch.max(initial=0)) + 1

    @property
    def control_cells(self) -> np.ndarray:
        """Row indices of the control cells, by rank."""
        return self._rows[0]

    def cells(self, condition: str) -> np.ndarray:
        """Row indices of a condition's cells, by rank; DataError where the screen has no such condition."""
        if condition not in self._position:
            close = did_you_mean(condition, self._position)
            raise DataError(f"the screen has no condition '{condition}'{close}; it has {len(self.conditions)}")
        return self._rows[self._position[condition]]

    def by_rank(self, rows: np.ndarray) -> np.ndarray:
        """Row indices in the order of their rank."""
        return rows[np.argsort(self._rank[rows])]

    def targets(self, condition: str) -> np.ndarray:
        """Node indices (into `genes`) of a canonical condition's targets, of any condition, measured or not.

        Raises DataError naming a gene that is not a node.
        """
        return np.array([self.genes.index(gene) for gene in naming.targets(condition)], dtype=np.int64)

    def mean(self, condition: str) -> np.ndarray:
        """float32 [measured]: mean over all cells of a condition (or of ``control``)."""
        return self._mean(self.cells(condition)).astype(np.float32)

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        picked = self.expression[rows]
        total = np.bincount(picked.indices, weights=picked.data, minlength=self.genes.measured)
        return total / max(len(rows), 1)

    def control_halves(self, seed: int) -> ControlHalves:
        """Divide the control cells at random within each batch; a pure function of the screen and ``seed``.

        Raises DataError with fewer than two control cells.
        """
        if len(self.control_cells) < 2:
            raise DataError("only one control cell; disjoint halves need at least two")
        generator = np.random.default_rng(seed)
        halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        odd = 0
        for code in np.unique(self.batch[self.control_cells]):
            rows = generator.permutation(self.control_cells[self.batch[self.control_cells] == code])
            cut = (len(rows) + 1 - odd) // 2  # odd batches give their extra cell to one half and the other in turn
            odd = (odd + len(rows)) % 2
            halves[0].append(rows[:cut])
            halves[1].append(rows[cut:])
        whole = (np.concatenate(half) for half in halves)
        return ControlHalves(*(self.by_rank(half) for half in whole))

    def control_mean(self, rows: np.ndarray, condition: str | None = None) -> np.ndarray:
        """float32 [measured]: mean of the control cells ``rows``, matched to the batches of a condition.

        With ``condition``, batch means are weighted by the share of the condition's cells in each batch; batches
        without control cells in ``rows`` are left out. Where none is left, or the screen does not hold the condition,
        it is the plain mean.
        """
        counts, means = self._control_batches(np.asarray(rows))
        weights = counts
        if condition in self._position and self.batches > 1:
            matched = np.bincount(self.batch[self.cells(str(condition))], minlength=self.batches) * (counts > 0)
            weights = matched if matched.any() else counts
        return (weights @ means / weights.sum()).astype(np.float32)

    def _control_batches(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells per batch [batches] and mean expression per batch [batches, measured] of ``rows``."""
        key = rows.tobytes()
        if key not in self._batch_means:
            if len(self._batch_means) >= CACHED_ROWS:
                self._batch_means.clear()
            counts = np.bincount(self.batch[rows], minlength=self.batches)
            means = np.stack([self._mean(rows[self.batch[rows] == code]) for code in range(self.batches)])
            self._batch_means[key] = (counts, means)
        return self._batch_means[key]
