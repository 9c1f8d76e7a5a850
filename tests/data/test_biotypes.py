"""Biotypes: every name of the real tables is known, retired names lead to today's group, strange ones are reported."""

from __future__ import annotations

import csv
import gzip
import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.data.annotation import Annotation
from grape_dgl.data.biotypes import group, is_coding
from grape_dgl.data.genes import Genes


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["protein_coding", "protein-coding", "Protein_Coding", "polymorphic_pseudogene"], "protein_coding"),
        (["lncRNA", "LINCRNA", "antisense", "antisense_RNA", "processed_transcript", "sense_intronic"], "lncRNA"),
        (["sense_overlapping", "3prime_overlapping_ncrna", "3prime_overlapping_ncRNA", "macro_lncRNA"], "lncRNA"),
        (["bidirectional_promoter_lncRNA", "non_coding", "known_ncrna", "ambiguous_orf"], "lncRNA"),
        (["miRNA", "vault_RNA", "vaultRNA", "Mt_tRNA", "scaRNA", "snoRNA", "Y_RNA"], "small_ncRNA"),
        (["pseudo", "transcribed-unitary-pseudogene", "IG_V_pseudogene", "V_segment_pseudogene"], "pseudogene"),
        (["IG_C_gene", "TR_J_gene", "IG_LV_gene", "V_segment", "C_region"], "IG/TR gene"),
        (["TEC", "artifact", "ncRNA", "biological-region", "unknown"], "other"),
        (["", "protein coding gene", "lncRNAs"], None),
    ],
)
def test_group(names: list[str], expected: str | None) -> None:
    assert {name: group(name) for name in names} == dict.fromkeys(names, expected)


def test_only_protein_coding_is_coding() -> None:
    """METHOD: protein-coding is coding, everything else is not, also where it is translated."""
    assert is_coding("protein_coding") and is_coding("protein-coding") and is_coding("PROTEIN_CODING")
    for name in ("IG_V_gene", "TR_C_gene", "polymorphic_pseudogene", "translated_processed_pseudogene", "", "mystery"):
        assert not is_coding(name)
    genes = Genes.from_symbols(["A", "B", "C"])
    object.__setattr__(genes, "biotype", np.array(["", "IG_V_gene", "Protein-Coding"], dtype=object))
    assert genes.coding.tolist() == [True, False, True]


def test_strange_spellings_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    biotypes = ["odd"] * 3 + [f"odd{number}" for number in range(6)] + ["protein_coding", "lincRNA", ""]
    symbols = [f"G{number}" for number in range(len(biotypes))]
    table = tmp_path / "genes.tsv"
    table.write_text("symbol\tbiotype\n" + "".join(f"{s}\t{b}\n" for s, b in zip(symbols, biotypes, strict=True)))
    genes = Annotation.from_files([table]).describe(symbols, [""] * len(symbols), 5)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and warnings[0].startswith("9 genes count as non-coding")
    assert "'odd' (3), 'odd0' (1), 'odd1' (1), 'odd2' (1), 'odd3' (1) and 2 more" in warnings[0]
    assert genes.biotype.tolist() == biotypes and genes.coding.tolist() == [False] * 9 + [True, False, True]


@pytest.mark.parametrize("name", ["annotables_grch38.tsv.gz", "annotables_grch37.tsv.gz"])
def test_real_biotypes_are_known(shared_data: Callable[[str], Path], name: str) -> None:
    assert {row["biotype"] for row in rows(shared_data(name)) if group(row["biotype"]) is None} == set()


def test_real_retired_names(shared_data: Callable[[str], Path]) -> None:
    """Most genes that had a retired biotype in GRCh37 are in the group of that name in GRCh38."""
    new = {row["ensgene"]: row["biotype"] for row in rows(shared_data("annotables_grch38.tsv.gz"))}
    moved = defaultdict(Counter[str | None])
    for row in rows(shared_data("annotables_grch37.tsv.gz")):
        if row["ensgene"] in new:
            moved[row["biotype"]][group(new[row["ensgene"]])] += 1
    retired = set(moved) - set(new.values())
    assert {"lincRNA", "antisense", "processed_transcript", "polymorphic_pseudogene"} <= retired
    assert {name: moved[name].most_common(1)[0][0] for name in retired} == {name: group(name) for name in retired}
