"""The overview of gene features: what is in it is true, and names cannot break out of it."""

from __future__ import annotations

import dataclasses
import html.parser
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError
from grape_dgl.report import neighbour_rows, umap_figure, write_report

EVIL = "<script>alert(1)</script>"


def made(number: int, evil: bool = False) -> tuple[Genes, dict[str, Features]]:
    draw = np.random.default_rng(0)
    symbols = [EVIL if evil and i == 0 else f"G{i:03d}" for i in range(number)]
    biotype = np.array(["protein_coding", "lncRNA", ""], dtype=object)[np.arange(number) % 3]
    biotype[-1] = EVIL if evil else "snRNA"
    empty = np.full(number, "")
    has = np.arange(number) != 1
    values = draw.normal(size=(number, 12)).astype(np.float32) * has[:, None]
    return (
        Genes(np.array(symbols), empty, biotype, empty, tuple(empty), number - 2),
        {"text": Features(values, has, {}), "esm": Features(2 * values[:, :3], has, {})},
    )


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_holds_coverage_biotypes_figure_and_neighbours_and_escapes_names(tmp_path: Path) -> None:
    genes, features = made(40, evil=True)
    rows = [{"name": EVIL, "genes": 39, "measured": 37, "source": EVIL}]
    write_report(tmp_path / "r.html", genes, features, rows, [EVIL, "G002"], EVIL)
    page = Tags()
    page.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "script" not in page.found and page.found.count("img") == 1 and page.found.count("table") == 3
    assert page.text.count(EVIL) >= 5
    assert "40 genes, 38 of them measured" in page.text and "unknown" in page.text and "lncRNA" in page.text


@pytest.mark.parametrize(("name", "start"), [("r.png", b"\x89PNG"), ("r.pdf", b"%PDF")])
def test_figure_alone(tmp_path: Path, name: str, start: bytes) -> None:
    genes, features = made(6)
    write_report(tmp_path / name, genes, features, [], [], "x")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_neighbours_are_the_largest_cosines_of_standardised_vectors() -> None:
    """Against loops; a gene without the modality has no row there and is nobody's neighbour."""
    genes, features = made(30)
    found = {(gene, modality): near for gene, modality, near in neighbour_rows(genes, features, ["G004", "G001"])}
    assert set(found) == {("G004", "text"), ("G004", "esm")}
    rows = features["text"].values
    known = [i for i in range(30) if i != 1]
    mean, spread = rows[known].mean(axis=0), rows[known].std(axis=0)
    unit = {i: (rows[i] - mean) / spread / np.linalg.norm((rows[i] - mean) / spread) for i in known}
    best = sorted((i for i in known if i != 4), key=lambda i: -float(unit[i] @ unit[4]))[:5]
    assert found["G004", "text"] == ", ".join(f"G{i:03d} {unit[i] @ unit[4]:.2f}" for i in best)
    with pytest.raises(DataError, match="did you mean"):
        neighbour_rows(genes, features, ["G04"])


def test_umap_has_a_panel_per_modality_with_every_gene_that_has_it() -> None:
    genes, features = made(40)
    figure = umap_figure(genes, features)
    assert [axes.get_title() for axes in figure.axes] == ["text: 39 genes", "esm: 39 genes"]
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 39


def test_many_panels_stand_in_rows_of_three_and_the_legend_is_whole() -> None:
    genes, features = made(12)
    kinds = ("unitary", "unprocessed", "processed")
    names = [f"{how}_{kind}_pseudogene" for how in ("transcribed", "translated") for kind in kinds]
    genes = dataclasses.replace(genes, biotype=np.array(2 * names))
    figure = umap_figure(genes, {f"m{number}": features["esm"] for number in range(4)})
    figure.canvas.draw()
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 2
    for shown in (figure, umap_figure(genes, {"esm": features["esm"]})):
        shown.canvas.draw()
        box = shown.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= shown.bbox.width


def test_vectors_that_do_not_tell_genes_apart_are_drawn_all_the_same() -> None:
    genes, features = made(40)
    has = features["esm"].present
    values = np.ones((40, 5)) + 1e-7 * np.random.default_rng(0).normal(size=(40, 5))
    constant = Features(values.astype(np.float32) * has[:, None], has, {})
    points = np.concatenate([s.get_offsets() for s in umap_figure(genes, {"esm": constant}).axes[0].collections])
    assert len(points) == 39 and abs(points).max() < 1e-5
