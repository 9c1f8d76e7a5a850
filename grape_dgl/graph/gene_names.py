"""Which entry of a file is which gene: by Ensembl id first, then by symbol, then by a name that only one entry has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from grape_dgl.data.annotation_files import without_version
from grape_dgl.data.genes import Genes

Names = Iterable[tuple[str, str]]
"""(entry of a file, one of its names)"""


def row_by_name(genes: Genes) -> dict[str, int]:
    """Ensembl id (without version) or symbol -> node index."""
    return _by_symbol(genes) | _by_ensembl(genes)


def _by_ensembl(genes: Genes) -> dict[str, int]:
    return {without_version(ensembl): row for row, ensembl in enumerate(genes.ensembl) if ensembl}


def _by_symbol(genes: Genes) -> dict[str, int]:
    return {without_version(symbol): row for row, symbol in enumerate(genes.symbol)}


def place(genes: Genes, tiers: Sequence[Names], synonyms: Names = ()) -> dict[str, int]:
    """Entry of a file -> node index. A gene that one kind of name has found is not looked for by the next."""
    synonyms = list(synonyms)
    shared = Counter(name for _, name in synonyms)
    unique = [(entry, name) for entry, name in synonyms if shared[name] == 1]
    found: dict[str, int] = {}
    for known, names in ((_by_ensembl(genes), [*tiers, synonyms]), (_by_symbol(genes), [*tiers, unique])):
        for tier in names:
            taken = set(found.values())
            for entry, name in tier:
                row = known.get(without_version(name))
                if row is not None and row not in taken:
                    found.setdefault(entry, row)
    return found


def distinct(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The distinct rows of two columns."""
    return list(frame.drop_duplicates().itertuples(index=False, name=None))
