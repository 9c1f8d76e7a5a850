"""The genes of a model: the measured genes first, then perturbation targets that have no expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from grape_dgl.data.biotypes import is_coding
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError, did_you_mean, some

FIELDS = ("symbol", "ensembl", "biotype", "description", "sequence")


@dataclass(frozen=True, eq=False)
class Genes:
    """Graph nodes: measured genes first, then perturbation targets that are not measured.

    All fields have one entry per gene; an empty text means unknown. Raises DataError where lengths differ,
    a symbol is empty or stands twice, or ``measured`` is out of range.
    """

    symbol: np.ndarray
    """[genes] unique names, object dtype."""
    ensembl: np.ndarray
    """[genes] Ensembl id without version, "" unknown."""
    biotype: np.ndarray
    """[genes] biotype as the annotation spells it, "" unknown."""
    description: np.ndarray
    """[genes] text about the gene, "" unknown."""
    sequence: tuple[str, ...]
    """[genes] DNA in upper-case ACGTN, "" unknown."""
    measured: int
    """``genes[:measured]`` have expression and a read-out."""
    vectors: Mapping[str, Features] = field(default_factory=dict)
    """Modalities that the user brings as vectors [genes, d], by name; ``text`` and ``seq`` replace the encoders."""

    def __post_init__(self) -> None:
        for name in ("symbol", "ensembl", "biotype", "description"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=object))
        object.__setattr__(self, "sequence", tuple(self.sequence))
        lengths = {name: len(getattr(self, name)) for name in FIELDS}
        lengths |= {f"vectors {name}": len(one.values) for name, one in self.vectors.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the fields of the genes have different lengths: {lengths}; expected one entry per gene")
        if not 0 <= self.measured <= len(self):
            raise DataError(f"measured is {self.measured}; expected a number from 0 to {len(self)} (all genes)")
        if "" in self._position:
            raise DataError("a gene has no symbol; give it its Ensembl id as symbol or leave it out")
        if len(self._position) < len(self):
            names, counts = np.unique(self.symbol.astype(str), return_counts=True)
            raise DataError(f"gene symbols stand twice: {some(names[counts > 1].tolist())}; expected unique symbols")

    @classmethod
    def from_symbols(cls, symbols: Sequence[str], measured: int | None = None) -> Genes:
        """Genes of which nothing but the symbol is known; all of them measured unless said otherwise."""
        names, empty = np.array(symbols, dtype=object), np.full(len(symbols), "", dtype=object)
        return cls(names, empty, empty, empty, tuple(empty), len(symbols) if measured is None else measured)

    def __len__(self) -> int:
        return len(self.symbol)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._position

    @cached_property
    def _position(self) -> dict[str, int]:
        return {symbol: position for position, symbol in enumerate(self.symbol)}

    @property
    def coding(self) -> np.ndarray:
        """bool [genes]: node type ``c``. A gene of unknown biotype counts as protein-coding; all others are ``n``."""
        return np.array([not biotype or is_coding(biotype) for biotype in self.biotype], dtype=bool)

    def index(self, symbol: str) -> int:
        """Node index of a gene; DataError with the closest name where it is not there."""
        if symbol not in self._position:
            raise DataError(f"gene '{symbol}' is not among the {len(self)} genes{did_you_mean(symbol, self._position)}")
        return self._position[symbol]

    def text(self) -> list[str]:
        """[genes] what the text encoder reads: ``"SYMBOL: description"``, ``""`` without a description.

        ``"SYMBOL"`` alone where the description is the symbol itself.
        """
        return [
            "" if not description else symbol if description == symbol else f"{symbol}: {description}"
            for symbol, description in zip(self.symbol, self.description, strict=True)
        ]

    def to_frame(self) -> pd.DataFrame:
        """The nodes table, one row per gene: symbol, ensembl, biotype, measured."""
        return pd.DataFrame(
            {
                "symbol": self.symbol,
                "ensembl": self.ensembl,
                "biotype": self.biotype,
                "measured": np.arange(len(self)) < self.measured,
            }
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Genes:
        """Genes from a nodes table; description and sequence are unknown unless columns of these names hold them.

        Raises DataError for a missing column or measured genes that do not stand first.
        """
        for column in ("symbol", "ensembl", "biotype", "measured"):
            if column not in frame:
                raise DataError(f"the nodes table has no column '{column}', but: {', '.join(map(str, frame.columns))}")
        flags = frame["measured"].astype(str).str.lower().isin(("true", "1")).to_numpy()
        measured = int(flags.sum())
        if not flags[:measured].all():
            raise DataError(
                "the nodes table has a measured gene below an unmeasured one; expected measured genes first"
            )
        empty = pd.Series("", index=frame.index)
        known = {name: frame.get(name, empty).fillna("").astype(str).to_numpy(dtype=object) for name in FIELDS}
        return cls(**known, measured=measured)
