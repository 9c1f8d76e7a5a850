"""An overview of gene features that a person can judge: coverage, each modality in two dimensions, neighbours."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.plots import plain, save_figure
from grape_dgl.writing import write_text

COMPONENTS, NEIGHBOURS, NEAR, NAMED, ACROSS = 50, 15, 5, 8, 3
"""Principal components and neighbours of the UMAP; similar genes listed per gene; biotypes with a colour; panels
in a row."""


def write_report(
    path: Path,
    genes: Genes,
    features: Mapping[str, Features],
    coverage: Sequence[Mapping[str, Any]],
    chosen: Sequence[str],
    data: str,
) -> None:
    """Write the overview as the file ending says: ``.html`` whole, ``.png`` (``.svg``, ``.pdf``) its figure only.

    Args:
        coverage: rows with ``name``, ``genes``, ``measured``, ``source``.
        chosen: genes whose nearest neighbours are listed. Raises DataError for one that is not there.
        data: what the features are of, for the title.
    """
    near = neighbour_rows(genes, features, chosen)
    figure = umap_figure(genes, features)
    if path.suffix != ".html":
        save_figure(figure, path)
        return
    from jinja2 import Environment

    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    template = files("grape_dgl").joinpath("templates/features.html").read_text(encoding="utf-8")
    kinds = Counter(zip((str(b) or "unknown" for b in genes.biotype), genes.coding, strict=True))
    text = Environment(autoescape=True).from_string(template).render(
        data=data, genes=len(genes), measured=genes.measured, version=version("grape_dgl"), coverage=coverage,
        biotypes=[(name, "coding" if coding else "non-coding", n) for (name, coding), n in kinds.most_common()],
        figure=base64.b64encode(image.getvalue()).decode("ascii"), neighbours=near,
    )  # fmt: skip
    write_text(path, text)


def neighbour_rows(genes: Genes, features: Mapping[str, Features], chosen: Sequence[str]) -> list[tuple[str, str, str]]:
    """(gene, modality, its most similar genes with their cosine) of every chosen gene that has the modality."""
    found = []
    places = {gene: genes.index(gene) for gene in chosen}
    for name, feature in features.items():
        rows, owners = feature.standardised(), np.flatnonzero(feature.present)
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for gene, place in places.items():
            if feature.present[place]:
                similarity = unit @ unit[np.searchsorted(owners, place)]
                similarity[owners == place] = -np.inf
                best = np.argsort(-similarity, kind="stable")[: min(NEAR, len(owners) - 1)]
                listed = ", ".join(f"{genes.symbol[owners[b]]} {similarity[b]:.2f}" for b in best)
                found.append((gene, name, listed))
    return sorted(found, key=lambda row: list(places).index(row[0]))


def umap_figure(genes: Genes, features: Mapping[str, Features]) -> Figure:
    """One panel per modality, as Fig. 3 of the paper: UMAP of the standardised vectors by biotype."""
    across = min(len(features), ACROSS)
    down = -(-len(features) // across)
    figure = Figure(figsize=(5 * across, 5 * down + 0.6), layout="constrained")
    biotype = np.array([str(b) or "unknown" for b in genes.biotype])
    common = [name for name, _ in Counter(biotype.tolist()).most_common(NAMED)]
    group = np.where(np.isin(biotype, common), biotype, "other")
    for number, (name, feature) in enumerate(features.items(), start=1):
        axes = figure.add_subplot(down, across, number)
        places, mine = _umap(feature.standardised()), group[feature.present]
        for place, kind in enumerate([*common, "other"]):
            if (mine == kind).any():
                colour = "0.8" if kind == "other" else colormaps["tab10"](place)
                x, y = places[mine == kind].T
                axes.scatter(x, y, s=6, linewidths=0, color=colour, label=plain(kind))
        axes.set(title=f"{plain(name)}: {len(mine):,} genes", xticks=[], yticks=[])
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2 * across, markerscale=2, fontsize=7)
    return figure


def _umap(rows: np.ndarray) -> np.ndarray:
    """[genes, 2]; of fewer genes than UMAP needs, or genes all the same, the first two principal components."""
    import anndata as ad
    import scanpy as sc

    cells = ad.AnnData(rows.astype(np.float32))
    components = min(COMPONENTS, min(rows.shape) - 1)
    if len(rows) <= NEIGHBOURS or components < 2 or rows.std() < 1e-6:
        centred = rows - rows.mean(axis=0)
        places = np.zeros((len(rows), 2))
        left, size, _ = np.linalg.svd(centred, full_matrices=False)
        kept = min(2, len(size))
        places[:, :kept] = left[:, :kept] * size[:kept]
        return places
    sc.pp.pca(cells, n_comps=components, random_state=0)
    sc.pp.neighbors(cells, n_neighbors=NEIGHBOURS, metric="cosine", random_state=0)
    sc.tl.umap(cells, random_state=0)
    return np.asarray(cells.obsm["X_umap"])
