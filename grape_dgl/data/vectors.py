"""Vectors of genes: one modality, as an encoder made it or as the user brings it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grape_dgl.errors import DataError


@dataclass(frozen=True, eq=False)
class Features:
    """One modality of all genes as the encoder gave it; standardisation belongs to the model.

    Raises DataError where shapes differ or a value is not finite.
    """

    values: np.ndarray
    """float32 [genes, d]; a row of zeros where the gene lacks the modality."""
    present: np.ndarray
    """bool [genes]."""
    source: Mapping[str, Any]
    """Encoder, model, its sha256, pooling and whatever else the values depend on."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != self.values.shape[:1]:
            shapes = f"{self.values.shape} and {self.present.shape}"
            raise DataError(f"values and present have shapes {shapes}; expected [genes, d] and [genes]")
        if not np.isfinite(self.values).all():
            raise DataError(f"the encoder {self.source.get('encoder')} gave values that are not finite")

    def standardised(self) -> np.ndarray:
        """float32 [genes that have it, d]: columns of mean 0 and standard deviation 1 (a constant one is 0)."""
        rows = self.values[self.present]
        spread = rows.std(axis=0)
        return (rows - rows.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
