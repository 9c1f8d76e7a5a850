"""Rankings of differentially expressed genes that GEARS-processed files bring along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KEY = "rank_genes_groups_cov_all"


def stored_rankings(
    uns: Mapping[str, Any], by_label: Mapping[str, str], aliases: Mapping[str, str], cell_type: str | None
) -> dict[str, tuple[str, ...]]:
    """Condition -> gene symbols, the most differential first, from ``uns["rank_genes_groups_cov_all"]``.

    Args:
        uns: of the AnnData; keys of the ranking are ``CELLTYPE_LABEL_DOSE`` such as ``K562(?)_HSPA5+ctrl_1+1``.
        by_label: label of the file -> canonical condition.
        aliases: names that the file uses for genes -> symbol; other genes are left out.
        cell_type: where two keys name one condition, the one of this cell type is taken, else the first.
    """
    found: dict[str, tuple[str, ...]] = {}
    ranking = uns.get(KEY)
    if not isinstance(ranking, Mapping):
        return found
    for key in sorted(ranking, key=lambda key: (not (cell_type and str(key).startswith(cell_type)), str(key))):
        condition = _condition(str(key), by_label)
        if condition and condition not in found:
            genes = [_decoded(gene) for gene in np.asarray(ranking[key]).ravel()]
            found[condition] = tuple(aliases[gene] for gene in genes if gene in aliases)
    return found


def _decoded(gene: Any) -> str:
    return gene.decode() if isinstance(gene, bytes) else str(gene)


def _condition(key: str, by_label: Mapping[str, str]) -> str | None:
    """Condition of a ranking key: the longest label that stands between cell type and dose."""
    for text in (key, key.rpartition("_")[0]):
        while text:
            if text in by_label:
                return by_label[text]
            text = text.partition("_")[2]
    return None
