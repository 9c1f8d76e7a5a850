"""Node types and relations of the gene graph: the names that the graph, the layers and the files share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grape_dgl.engine import Triple


@dataclass(frozen=True)
class Schema:
    """Node types, the stored directed relations between them, and which relations share one module."""

    node_types: tuple[str, ...]
    relations: tuple[Triple, ...]
    shared: Mapping[str, str] = field(default_factory=dict)
    """Relation -> the relation whose module it uses (both directions of coding-noncoding, METHOD decision 4)."""

    def incoming(self, node_type: str) -> int:
        """Number of relations that end in ``node_type``: the divisor of the mean over relations in Eq. 11."""
        return sum(target == node_type for _, _, target in self.relations)


BIOTYPE = Schema(
    node_types=("c", "n"),
    relations=(("c", "cc", "c"), ("n", "nn", "n"), ("c", "cn", "n"), ("n", "nc", "c")),
    shared={"nc": "cn"},
)
"""Coding and non-coding genes (Eq. 11)."""

HOMOGENEOUS = Schema(node_types=("g",), relations=(("g", "gg", "g"),))
"""One node type, one relation: the ablation ``no_biotype``."""
