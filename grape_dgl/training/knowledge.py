"""How alike genes are by what is known of them, as kernels: one per modality and one per prior graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from grape_dgl.errors import ModelError
from grape_dgl.graph.hetero import Prior
from grape_dgl.model import GeneInputs

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Node ids [a] and [b] -> how alike these genes are, [a, b]; positive semidefinite."""


def linear_kernel(values: np.ndarray, present: np.ndarray, known: int | None = None) -> Kernel:
    """Dot products of ``values`` [genes, d] centred over the genes ``present``; 0 where a gene lacks them.

    ``known``: only so many genes, the first, are centred over.
    """
    inside = values[:known][present[:known]]
    centre = inside.mean(axis=0, dtype=np.float64) if len(inside) else np.zeros(values.shape[1])

    def centred(genes: np.ndarray) -> np.ndarray:
        return (np.float64(values[genes]) - centre) * present[genes][:, None]

    return lambda a, b: centred(a) @ centred(b).T


def neighbour_kernel(prior: Prior, genes: int) -> Kernel:
    """Cosine of what two genes are tied to in a prior graph, each to itself by 1; 0 where its source lacks a gene.

    Node ids from the size of the prior on are genes it does not know.
    """
    first, second, value, present = (
        x.cpu().numpy() for x in (prior.pairs.first, prior.pairs.second, prior.pairs.value, prior.present)
    )
    half = sp.coo_array((np.float64(value), (first, second)), shape=(genes, genes))
    itself = np.zeros(genes)
    itself[: len(present)] = present
    tied = sp.csr_array(half + half.T + sp.diags_array(itself))
    length = sp.linalg.norm(tied, axis=1)
    rows = sp.csr_array(sp.diags_array(1 / np.where(length > 0, length, 1)) @ tied)
    return lambda a, b: (rows[a] @ rows[b].T).toarray()


def knowledge(genes: GeneInputs, new: GeneInputs | None = None) -> dict[str, Kernel]:
    """A kernel for every modality and prior of ``genes``; node ids from ``len(genes)`` on are rows of ``new``.

    No prior knows those; a user's graph in place of all priors says nothing here. Raises ModelError where a prior has
    the name of a modality.
    """
    found = {}
    for name, values in genes.values.items():
        parts = [genes] if new is None else [genes, new]
        joined = np.concatenate([part.values[name].cpu().numpy() for part in parts])
        present = np.concatenate([part.present[name].cpu().numpy() for part in parts])
        found[name] = linear_kernel(joined, present, len(values))
    for prior in genes.priors:
        if prior.name in found:
            raise ModelError(f"a prior graph is called '{prior.name}', as a modality is; give it another name")
        found[prior.name] = neighbour_kernel(prior, len(genes) + (0 if new is None else len(new)))
    return found
