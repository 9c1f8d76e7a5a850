"""Reading screens: files as GEARS, scPerturb and pertpy write them, what is refused at the door, and the real data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from grape_dgl.data.annotation import Annotation
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen
from grape_dgl.errors import DataError

GENES = ["G6", "G7", "HLA-A", "KLF1", "MAP2K6", "NKX2-5", "STAT2", "Y_RNA"]


def make(labels: list[str], each: int = 4, key: str = "condition", **obs: Any) -> ad.AnnData:
    """Counts of ``each`` cells per label, in turn; ``obs`` columns are per label."""
    generator = np.random.default_rng(0)
    cells = each * len(labels)
    counts = generator.poisson(2.0, (cells, len(GENES))).astype(np.float32)
    table = pd.DataFrame({key: np.tile(labels, each)}, index=[f"cell{i}" for i in range(cells)])
    for name, values in obs.items():
        table[name] = np.tile(values, each) if len(values) == len(labels) else values
    return ad.AnnData(sp.csr_matrix(counts), obs=table, var=pd.DataFrame(index=GENES))


def read(adata: ad.AnnData | Path | str, **options: Any) -> Screen:
    return read_screen(adata, **{"min_cells": 2} | options)


def annotation(tmp_path: Path, *symbols: str) -> Annotation:
    path = tmp_path / "genes.tsv"
    rows = "".join(f"ENSG{n:011d}\t{symbol}\tprotein_coding\tabout {symbol}\n" for n, symbol in enumerate(symbols))
    path.write_text("ensgene\tsymbol\tbiotype\tdescription\n" + rows)
    return Annotation.from_files([path])


# --- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "labels", "conditions"),
    [
        ("condition", ["ctrl", "KLF1+ctrl", "ctrl+STAT2", "MAP2K6+KLF1"], ["KLF1", "KLF1+MAP2K6", "STAT2"]),
        ("perturbation", ["control", "KLF1", "MAP2K6_KLF1", "HLA-A"], ["HLA-A", "KLF1", "KLF1+MAP2K6"]),
        ("perturbation", ["control", "KLF1+Y_RNA", "NKX2-5"], ["KLF1+Y_RNA", "NKX2-5"]),
        ("gene_target", ["non-targeting", "KLF1", "OUT"], ["KLF1", "OUT"]),
        ("target_gene", ["NT", "STAT2"], ["STAT2"]),
        ("guide_id", ["NTg1", "NTg2", "STAT2g1", "STAT2g2", "KLF1g1"], ["KLF1", "STAT2"]),
        ("Guide Identity", ["NT-1", "STAT2-1", "NKX2-5", "NKX2-5-1"], ["NKX2-5", "STAT2"]),
    ],
)
def test_conditions_are_detected(key: str, labels: list[str], conditions: list[str]) -> None:
    screen = read(make(labels, key=key))
    assert list(screen.conditions) == conditions
    assert screen.notes["condition_key"] == key
    assert len(screen.condition) == 4 * len(labels)
    json.dumps(screen.notes, allow_nan=False)


def test_the_column_with_controls_and_genes_is_taken() -> None:
    labels = ["NT", "KLF1", "STAT2"]
    adata = make(labels, key="perturbation", condition=["control", "stimulated", "stimulated"])
    assert read(adata).notes["condition_key"] == "perturbation"
    assert read(adata, condition_key="condition", control=["control"]).conditions == ("stimulated",)


def test_cells_get_the_condition_of_their_label() -> None:
    labels = ["ctrl", "STAT2+ctrl", "KLF1+MAP2K6"]
    screen = read(make(labels))
    names = ["control", *screen.conditions]
    assert [names[code + 1] for code in screen.condition] == ["control", "STAT2", "KLF1+MAP2K6"] * 4


def test_control_labels_given_replace_those_detected(caplog: pytest.LogCaptureFixture) -> None:
    adata = make(["control", "safe", "KLF1"])
    with caplog.at_level(logging.INFO, "grape_dgl"):
        screen = read(adata, control=["safe"])
    assert screen.conditions == ("KLF1",)
    assert len(screen.condition) == 8
    assert screen.notes["controls_left_out"] == ["control"]
    assert "control look like controls" in caplog.text


def test_a_flag_column_names_the_controls() -> None:
    screen = read(make(["AAVS1", "KLF1"], control=[1, 0]))
    assert screen.conditions == ("KLF1",)
    assert screen.notes["control_labels"] == ["AAVS1"]


def test_cells_without_label_are_left_out() -> None:
    screen = read(make(["control", "KLF1", None, "unassigned", ""]))  # type: ignore[list-item]
    assert len(screen.condition) == 8
    assert screen.notes["cells_without_label"] == 12


def test_guide_map(tmp_path: Path) -> None:
    path = tmp_path / "guides.tsv"
    for text in ("g1\tKLF1\ng2\tKLF1\ng3\tNT\n", "target,extra,guide\nKLF1,x,g1\nKLF1,x,g2\nNT,x,g3\n"):
        path.write_text(text)
        assert read(make(["g1", "g2", "g3"]), guide_map=path).conditions == ("KLF1",)
    path.write_text("g1\tKLF1\ng1\tSTAT2\n")
    with pytest.raises(DataError, match="two targets"):
        read(make(["g1", "NT"]), guide_map=path)


def test_unresolved_guides_are_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    read(make(["NT", "OUTg1", "OUTg2"]))
    assert "OUTg1 and OUTg2 look like guides" in caplog.text


def test_obs_table_replaces_labels_by_barcode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adata = make(["control", "KLF1"])
    path = tmp_path / "labels.csv"
    path.write_text("barcode,anything\ncell1,STAT2\ncell3,STAT2\nelsewhere,KLF1\n")
    screen = read(adata, obs_table=path, labels_warning="wrong labels")
    assert [len(screen.cells(name)) for name in ("control", "KLF1", "STAT2")] == [4, 2, 2]
    assert screen.notes["obs_table"] == {"path": str(path), "cells": 2, "changed": 2, "cells_not_in_it": 6}
    assert "wrong labels" not in caplog.text
    assert adata.obs["condition"].tolist() == ["control", "KLF1"] * 4


def test_obs_table_without_a_header(tmp_path: Path) -> None:
    adata = make(["control", "KLF1"])
    path = tmp_path / "labels.tsv"
    path.write_text("".join(f"{barcode}\tKLF1\n" for barcode in adata.obs_names))
    with pytest.raises(DataError, match="is a cell .*expected a header"):
        read(adata, obs_table=path)


def test_obs_table_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    for text, message in (
        ("b\tlabel\nx\tKLF1\n", "no barcode"),
        ("b\tlabel\ncell1\tKLF1\ncell1\tSTAT2\n", "more than once"),
        ("b\tconditions\tother\ncell1\tKLF1\tx\n", "did you mean 'conditions'"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read(make(["control", "KLF1"]), obs_table=path)


def test_labels_warning_is_said_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    screen = read(make(["control", "KLF1"]), labels_warning="21.7 % of the labels disagree")
    assert "21.7 %" in caplog.text
    assert "21.7 %" in screen.notes["labels_warning"]


# --- which cells -----------------------------------------------------------------------------------------------------


def test_several_cell_types_need_a_choice() -> None:
    adata = make(["control", "KLF1"] * 2, cell_line=["K562", "K562", "RPE1", "RPE1"])
    with pytest.raises(DataError, match=r"K562 \(8\), RPE1 \(8\); choose one with --cell-type"):
        read(adata)
    screen = read(adata, cell_type="rpe1")
    assert len(screen.condition) == 8
    assert screen.notes["cell_type"] == "RPE1"
    assert len(read(adata, keep=["cell_line=K562"]).condition) == 8
    with pytest.raises(DataError, match="no cell has the cell type 'HeLa'"):
        read(adata, cell_type="HeLa")


@pytest.mark.parametrize("column", ["perturbation_type", "dose"])
def test_mixtures_need_a_choice(column: str) -> None:
    adata = make(["control", "KLF1", "KLF1", "STAT2"], **{column: ["0", "1", "10", "1"]})
    with pytest.raises(DataError, match=f"--keep '{column}=1' --keep '{column}=0'"):
        read(adata)
    screen = read(adata, keep=[f"{column}=1", f"{column}=0"])
    assert [len(screen.cells(name)) for name in ("control", "KLF1", "STAT2")] == [4, 4, 4]


def test_one_dose_per_target_is_no_mixture() -> None:
    labels = ["ctrl", "KLF1+ctrl", "KLF1+MAP2K6", "STAT2"]
    assert len(read(make(labels, dose_val=["1", "1+1", "1+1", "1.0"])).conditions) == 3
    assert len(read(make(labels, dose_val=[1.0, 1.0, 1.0, 1.0])).conditions) == 3


def test_keep() -> None:
    adata = make(["control", "KLF1", "STAT2"], lane=[1, 1, 2])
    assert read(adata, keep=["lane=1"]).conditions == ("KLF1",)
    for keep, message in (("lane=3", "values there are"), ("lanes=1", "did you mean 'lane'"), ("lane", "COLUMN=VALUE")):
        with pytest.raises(DataError, match=message):
            read(adata, keep=[keep])


def test_rare_conditions_are_dropped_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    adata = make(["control", "KLF1", "STAT2"], each=30)
    adata = adata[:-1].copy()  # the last cell is of STAT2
    with caplog.at_level(logging.INFO, "grape_dgl"):
        screen = read_screen(adata)
    assert screen.conditions == ("KLF1",)
    assert screen.notes["dropped_conditions"] == {"STAT2": 29}
    assert "STAT2 (29)" in caplog.text
    with pytest.raises(DataError, match="no condition has 31 cells .*30"):
        read_screen(adata, min_cells=31)


@pytest.mark.parametrize("column", ["batch", "bio_rep", "gem_group"])
def test_batches_are_detected(column: str) -> None:
    adata = make(["control", "KLF1"], **{column: ["b", "a", "a", "a", "b", "b", "b", "b"]})
    screen = read(adata)
    assert screen.batch.tolist() == [1, 0, 0, 0, 1, 1, 1, 1]
    assert screen.notes["batches"] == {"a": 3, "b": 5}
    with pytest.raises(DataError, match="--batch-key"):
        read(adata, batch_key="nope")


# --- expression and genes --------------------------------------------------------------------------------------------


def test_counts_are_normalised_and_log1p_is_kept() -> None:
    adata = make(["control", "KLF1"])
    dense = adata.X.toarray()
    expected = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)
    raw = read(adata)
    np.testing.assert_allclose(raw.expression.toarray(), expected, rtol=1e-6)
    assert (raw.notes["counts"], raw.notes["target_sum"]) == ("raw", 1e4)
    adata.X = sp.csr_matrix(expected)
    logs = read(adata)
    np.testing.assert_allclose(logs.expression.toarray(), expected, rtol=1e-6)
    assert (logs.notes["counts"], logs.notes["target_sum"]) == ("log1p", None)
    forced = read(adata, counts="raw", target_sum=10)
    totals = expected / expected.sum(axis=1, keepdims=True) * 10
    np.testing.assert_allclose(forced.expression.toarray(), np.log1p(totals), rtol=1e-5)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, lambda matrix: matrix.toarray()])
def test_files_of_any_form_and_matrix(tmp_path: Path, form: Callable[[Any], Any]) -> None:
    adata = make(["control", "KLF1", "OUT"])
    expected = read(adata)
    adata.X = form(adata.X)
    adata.layers["counts"] = form(sp.csr_matrix(adata.X))
    adata.raw = adata
    adata.X = adata.X * 1.5
    adata.write_h5ad(tmp_path / "screen.h5ad")
    for layer in ("counts", "raw"):
        screen = read(tmp_path / "screen.h5ad", layer=layer)
        np.testing.assert_array_equal(screen.expression.toarray(), expected.expression.toarray())
        assert screen.conditions == ("KLF1", "OUT")
        assert screen.notes["layer"] == layer
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    assert not np.array_equal(read(backed, counts="log1p").expression.toarray(), expected.expression.toarray())


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, lambda matrix: matrix.toarray()])
@pytest.mark.parametrize("values", [np.asarray, np.log1p])
def test_on_disk_is_the_same_screen(tmp_path: Path, form: Callable[[Any], Any], values: Callable[[Any], Any]) -> None:
    adata = make(["control", "KLF1", "MAP2K6", "G6"], batch=["a", "b", "a", "b"])
    adata.X = form(sp.csr_matrix(values(adata.X.toarray())))
    adata.obs.loc["cell2", "condition"] = "STAT2"  # one cell, which is left out
    adata.write_h5ad(tmp_path / "screen.h5ad")
    for hvg in (None, 4):
        screen = read(tmp_path / "screen.h5ad", hvg=hvg, on_disk=True)
        wanted = read(ad.read_h5ad(tmp_path / "screen.h5ad"), hvg=hvg)
        assert not screen.expression.data.flags.writeable  # a file
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(screen.expression, part), getattr(wanted.expression, part))
        np.testing.assert_array_equal(screen.condition, wanted.condition)
        assert {**screen.notes, "source": ""} == {**wanted.notes, "source": ""}
        for condition in ("control", *screen.conditions):
            np.testing.assert_array_equal(screen.mean(condition), wanted.mean(condition))


def test_the_object_is_left_as_it_is() -> None:
    adata = make(["control", "KLF1"])
    before = adata.copy()
    read(adata, hvg=3)
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_empty_cells_are_left_out() -> None:
    adata = make(["control", "KLF1"])
    matrix = adata.X.toarray()
    matrix[[0, 3]] = 0
    adata.X = sp.csr_matrix(matrix)
    screen = read(adata)
    assert len(screen.condition) == 6
    assert screen.notes["empty_cells"] == 2


def test_ensembl_ids_and_duplicated_symbols() -> None:
    adata = make(["control", "KLF1+ctrl", "ENSG00000000006"])
    ids = [f"ENSG{n:011d}" for n in range(len(GENES))]
    adata.var_names = [f"{gene}.3" for gene in ids]
    adata.var["gene_name"] = ["DUP", "DUP", "DUP", "KLF1", "", *GENES[5:]]
    screen = read(adata)
    named = ["DUP", f"DUP|{ids[1]}", f"DUP|{ids[2]}", "KLF1", ids[4], *GENES[5:]]
    assert sorted(zip(named, ids, strict=True)) == list(zip(screen.genes.symbol, screen.genes.ensembl, strict=True))
    assert screen.conditions == ("KLF1", "STAT2")
    assert screen.notes["told_apart_by_ensembl"] == 2
    adata.var_names = ["A", "A", "A", "A-1", *GENES[4:]]
    adata.obs["condition"] = np.where(adata.obs["condition"] == "control", "control", "STAT2")
    without = read(adata)
    assert without.genes.symbol.tolist()[:4] == ["A", "A-1", "A-2", "A-3"]
    assert without.notes["told_apart_by_suffix"] == 2


def test_symbols_of_an_ensembl_file_come_from_the_annotation(tmp_path: Path) -> None:
    adata = make(["control", "KLF1", "ENSG00000000008"])
    adata.var_names = [f"ENSG{n:011d}" for n in range(len(GENES))]
    screen = read(adata, annotation=annotation(tmp_path, *GENES, "OUT"))
    assert screen.genes.symbol.tolist() == [*GENES, "OUT"]
    assert screen.conditions == ("KLF1", "OUT")


def test_unmeasured_targets_follow_the_measured_genes(tmp_path: Path) -> None:
    adata = make(["control", "ZZZ+KLF1", "AAA"])
    for known in (None, annotation(tmp_path, *GENES, "AAA", "ZZZ")):
        screen = read(adata, annotation=known)
        assert screen.genes.symbol.tolist() == [*GENES, "AAA", "ZZZ"]
        assert screen.genes.measured == len(GENES) == screen.expression.shape[1]
        assert screen.targets("KLF1+ZZZ").tolist() == [3, 9]
        assert screen.notes["targets_not_measured"] == ["AAA", "ZZZ"]


def test_a_target_that_no_source_knows(tmp_path: Path) -> None:
    known = annotation(tmp_path, *GENES, "AAA")
    with pytest.raises(DataError, match="1 of 3 targets are neither measured nor in the annotation: ZZZ"):
        read(make(["control", "ZZZ+KLF1", "AAA"]), annotation=known)


def test_panel_is_chosen_on_controls_and_keeps_measured_targets() -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat(["control", "T0"], 150)
    counts = generator.negative_binomial(2, 0.2, (300, 80)).astype(np.float32)
    var = pd.DataFrame(index=[f"T{i}" for i in range(80)])
    adata = ad.AnnData(counts, obs=pd.DataFrame({"condition": labels}, index=[f"c{i}" for i in range(300)]), var=var)
    first, whole = read(adata, hvg=10), read(adata)
    adata.X[150:, 40:] *= generator.integers(0, 30, (150, 40))  # variance among perturbed cells only
    second = read(adata, hvg=10)
    assert first.genes.symbol.tolist() == second.genes.symbol.tolist()
    assert "T0" in first.genes
    assert 10 <= len(first.genes) <= 11
    panel = whole.genes.symbol.tolist()
    panel = [panel.index(symbol) for symbol in first.genes.symbol]
    np.testing.assert_array_equal(first.expression.toarray(), whole.expression.toarray()[:, panel])


def test_on_target_change() -> None:
    screen = read(make(["control", "KLF1", "OUT", "KLF1+STAT2"]))
    dense = screen.expression.toarray()
    for name, genes in {"KLF1": [3], "KLF1+STAT2": [3, 6]}.items():
        change = dense[screen.cells(name)].mean(axis=0) - dense[screen.control_cells].mean(axis=0)
        assert list(screen.notes["on_target"][name].values()) == pytest.approx([change[g] for g in genes], abs=1e-4)
    assert "OUT" not in screen.notes["on_target"]


def test_rankings_of_gears_files(tmp_path: Path) -> None:
    adata = make(["ctrl", "KLF1+ctrl", "ctrl+STAT2", "MAP2K6+KLF1"], cell_type=["K562(?)"] * 4)
    ids = [f"ENSG{n:011d}" for n in range(len(GENES))]
    adata.var["gene_name"] = GENES
    adata.var_names = ids
    adata.uns["rank_genes_groups_cov_all"] = {
        "K562(?)_KLF1+ctrl_1+1": np.array([ids[5], "ENSG99999999999", ids[3]]),
        "K562(?)_MAP2K6+KLF1_1+1": np.array([ids[6]]),
        "K562(?)_GONE+ctrl_1+1": np.array([ids[1]]),
    }
    adata.write_h5ad(tmp_path / "gears.h5ad")
    screen = read(tmp_path / "gears.h5ad")
    assert screen.stored_de == {"KLF1": ("NKX2-5", "KLF1"), "KLF1+MAP2K6": ("STAT2",)}


# --- refused at the door ---------------------------------------------------------------------------------------------


def test_no_controls() -> None:
    with pytest.raises(DataError, match="no control cells"):
        read(make(["KLF1", "STAT2"]))
    with pytest.raises(DataError, match="no cell has the control label 'contrl'.*did you mean 'control'"):
        read(make(["control", "STAT2"]), control=["contrl"])


def test_unknown_columns() -> None:
    with pytest.raises(DataError, match="no column 'conditions' .*did you mean 'condition'"):
        read(make(["control", "KLF1"]), condition_key="conditions")
    with pytest.raises(DataError, match="column 'arm' holds control labels.*--condition-key"):
        read(make(["control", "KLF1"], key="arm"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_bad_values(value: float) -> None:
    adata = make(["control", "KLF1"])
    adata.X[0, 0] = value
    with pytest.raises(DataError, match="1 (NaN|negative)"):
        read(adata)


def test_swapped_matrix() -> None:
    adata = make(["control", "KLF1"], each=5)
    with pytest.raises(DataError, match="cells and genes look swapped"):
        read(adata.T)
    barcodes = ad.AnnData(np.ones((3, 2)), var=pd.DataFrame(index=["AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1"]))
    with pytest.raises(DataError, match="swapped"):
        read(barcodes)


def test_files_that_are_no_h5ad(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "none.h5ad")
    (tmp_path / "empty.h5ad").touch()
    with pytest.raises(DataError, match="empty file"):
        read(tmp_path / "empty.h5ad")
    (tmp_path / "text.h5ad").write_text("cell,gene\n")
    with pytest.raises(DataError, match="not HDF5"):
        read(str(tmp_path / "text.h5ad"))
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["matrix"] = [1, 2]
    with pytest.raises(DataError, match="HDF5 but no .h5ad"):
        read(tmp_path / "other.h5ad")
    whole = tmp_path / "whole.h5ad"
    make(["control", "KLF1"]).write_h5ad(whole)
    (tmp_path / "cut.h5ad").write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "cut.h5ad")


def test_empty_data() -> None:
    with pytest.raises(DataError, match="0 cells, 8 genes"):
        read(make(["control", "KLF1"])[:0])


# --- real data -------------------------------------------------------------------------------------------------------


def test_norman_subset(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("norman_subset.h5ad")
    screen, adata = read_screen(path), ad.read_h5ad(path)
    adata = adata[:, adata.var_names.argsort()]
    assert screen.expression.shape == (3375, 500)
    np.testing.assert_array_equal(screen.expression.toarray(), adata.X.toarray().astype(np.float32))
    assert len(screen.conditions) == 33
    assert sum("+" in condition for condition in screen.conditions) == 15
    assert "KLF1+SET" in screen.conditions  # SET+KLF1 in the file
    assert len(screen.control_cells) == 100
    assert len(screen.genes) == 530
    assert len(screen.notes["targets_not_measured"]) == 30
    assert screen.notes["counts"] == "log1p"
    assert screen.notes["on_target"]["TMSB4X"]["TMSB4X"] > 1  # CRISPRa
    expected = adata.X[(adata.obs["condition"] == "KLF1+MAP2K6").to_numpy()].mean(axis=0)
    np.testing.assert_allclose(screen.mean("KLF1+MAP2K6"), np.asarray(expected).ravel(), rtol=1e-5, atol=1e-7)


def test_papalexi_subset(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("papalexi_subset.h5ad")
    screen = read_screen(path)
    assert len(screen.condition) == 20729
    assert len(screen.conditions) == 25
    assert screen.notes["counts"] == "raw"
    assert screen.notes["control_labels"] == ["non-targeting"]
    assert screen.notes["batches"] == {"rep_1": 9428, "rep_2": 6001, "rep_3": 5300}
    assert all(change < 0 for found in screen.notes["on_target"].values() for change in found.values())  # knock-outs
    np.testing.assert_allclose(np.expm1(screen.expression).sum(axis=1), 1e4, rtol=1e-4)


def test_papalexi_guides_are_its_conditions(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("papalexi_subset.h5ad")
    known = Annotation.from_files([shared_data("annotables_grch38.tsv.gz")], [shared_data("epd_promoters.fa")])
    by_gene, by_guide = read_screen(path, annotation=known), read_screen(path, annotation=known, condition_key="grna")
    assert by_guide.conditions == by_gene.conditions
    np.testing.assert_array_equal(by_guide.condition, by_gene.condition)
    assert not set(by_gene.notes["targets_not_measured"]) & set(by_gene.genes.symbol[: by_gene.genes.measured])


# --- what looks doubtful is said -------------------------------------------------------------------------------------


def test_batches_without_controls_are_named(caplog: pytest.LogCaptureFixture) -> None:
    adata = make(["ctrl", "KLF1", "STAT2"], each=6)
    adata.obs["batch"] = "one"
    adata.obs.loc[adata.obs["condition"] == "STAT2", "batch"] = "two"
    screen = read(adata)
    assert screen.notes["unmatched_conditions"] == ["STAT2"]
    assert "1 conditions have cells in batches without controls (STAT2)" in caplog.text
    caplog.clear()
    assert read(make(["ctrl", "KLF1"], each=6, batch=["one", "one"])).notes["unmatched_conditions"] == []
    assert "batches without controls" not in caplog.text


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["ctrl", "klf1", "stat2"], "'klf1' is 'KLF1' in another case"),
        (["ctrl", "ENSG00000105610", "ENSG00000115415"], "targets are named by Ensembl id and genes by symbol"),
        (["ctrl", "OUT1", "OUT2"], None),
        (["ctrl", "KLF1", "stat2"], None),
    ],
)
def test_names_of_two_kinds_are_pointed_out(
    labels: list[str], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    read(make(labels))
    assert (said or "no target is a measured gene") in caplog.text if said else "no target is a" not in caplog.text


def test_one_control_cell_and_nothing_but_controls() -> None:
    adata = make(["ctrl", "KLF1"])
    adata.obs["condition"] = ["ctrl"] + ["KLF1"] * (len(adata) - 1)
    with pytest.raises(DataError, match="only one control cell"):
        read(adata)
    adata.obs["condition"] = ["ctrl"] * (len(adata) - 1) + ["unassigned"]
    with pytest.raises(DataError, match="only control cells"):
        read(adata, condition_key="condition")


def test_reading_makes_nothing_dense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(["control", "KLF1", "OUT"]).write_h5ad(tmp_path / "screen.h5ad")

    def refuse(*given: Any, **named: Any) -> None:
        raise AssertionError("made dense")

    for kind in (sp.csr_matrix, sp.csc_matrix):
        for name in ("toarray", "todense"):
            monkeypatch.setattr(kind, name, refuse)
    assert read(tmp_path / "screen.h5ad").conditions == ("KLF1", "OUT")
