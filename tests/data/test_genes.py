"""Genes: the fields fit each other, and each view says what its docstring says."""

from __future__ import annotations

import numpy as np
import pytest

from grape_dgl.data.genes import Genes
from grape_dgl.errors import DataError


def genes(**changes: object) -> Genes:
    fields = {
        "symbol": np.array(["MYC", "MALAT1", "HLA-A", "KLF1"]),
        "ensembl": np.array(["ENSG00000136997", "ENSG00000251562", "", ""]),
        "biotype": np.array(["protein_coding", "lncRNA", "", "protein-coding"]),
        "description": np.array(["MYC proto-oncogene", "", "HLA-A", "KLF transcription factor 1"]),
        "sequence": ("ACGT", "", "", "GGNN"),
        "measured": 3,
    }
    return Genes(**{**fields, **changes})


def test_text_is_symbol_and_description() -> None:
    assert genes().text() == ["MYC: MYC proto-oncogene", "", "HLA-A", "KLF1: KLF transcription factor 1"]


def test_unknown_biotype_counts_as_coding() -> None:
    assert genes().coding.tolist() == [True, False, True, True]


def test_index_and_suggestion() -> None:
    assert [genes().index(symbol) for symbol in ("MYC", "KLF1")] == [0, 3]
    assert "KLF1" in genes() and "KLF2" not in genes()
    with pytest.raises(DataError, match=r"'KLF2' is not among the 4 genes; did you mean 'KLF1'\?"):
        genes().index("KLF2")


def test_frame_round_trip() -> None:
    frame = genes().to_frame()
    assert list(frame.columns) == ["symbol", "ensembl", "biotype", "measured"]
    back = Genes.from_frame(frame)
    for column in frame:
        assert back.to_frame()[column].tolist() == frame[column].tolist()
    assert back.measured == 3 and set(back.description) == {""} and back.sequence == ("",) * 4


@pytest.mark.parametrize(
    "flags", [["True", "False", "False", "False"], ["1", "0", "0", "0"], [True, False, False, False]]
)
def test_frame_as_read_from_text(flags: list[object]) -> None:
    frame = genes().to_frame().assign(measured=flags).replace("", np.nan)
    back = Genes.from_frame(frame)
    assert back.measured == 1 and back.ensembl.tolist()[2:] == ["", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbol": np.array(["MYC", "MYC", "A", "B"])}, "stand twice: MYC"),
        ({"symbol": np.array(["MYC", "", "A", "B"])}, "no symbol"),
        ({"measured": 5}, "from 0 to 4"),
        ({"sequence": ("A",)}, "different lengths"),
    ],
)
def test_checked_at_the_door(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        genes(**changes)


def test_frame_with_wrong_order_or_columns() -> None:
    frame = genes().to_frame()
    with pytest.raises(DataError, match="measured genes first"):
        Genes.from_frame(frame.iloc[::-1])
    with pytest.raises(DataError, match="no column 'biotype'"):
        Genes.from_frame(frame.drop(columns="biotype"))
