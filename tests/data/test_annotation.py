"""Annotation files: every spelling that is promised, the order of sources, and errors that name file and line."""

from __future__ import annotations

import csv
import gzip
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from grape_dgl.data.annotation import Annotation
from grape_dgl.errors import DataError

MYC = "ENSG00000136997"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"ensgene\tsymbol\tbiotype\tdescription\n{MYC}\tMYC\tprotein_coding\tproto-oncogene, bHLH\n",
        f'Gene stable ID,Gene name,Gene type,Gene description\n{MYC}.20,MYC,protein_coding,"proto-oncogene, bHLH"\n',
        f"gene_id;gene_name;gene_biotype;summary\n{MYC};MYC;protein_coding;proto-oncogene, bHLH\n",
        f"summary\tsymbol\tgene_type\tensembl\nproto-oncogene, bHLH [Source:HGNC;Acc:1]\tMYC\tprotein_coding\t{MYC}",
        f'\ufeff"symbol"\t"ensembl"\t"biotype"\tsummary\r\nMYC\t"{MYC}"\tprotein_coding\t"proto-oncogene, bHLH"\r\n',
    ],
)
@pytest.mark.parametrize("name", ["genes.tsv", "genes.txt.gz"])
def test_spellings_of_a_table(tmp_path: Path, name: str, text: str) -> None:
    annotation = Annotation.from_files([write(tmp_path, name, text)], [])
    assert all(known in annotation for known in ("MYC", MYC, f"{MYC}.3")) and "KLF1" not in annotation
    for symbols, ids in ((["MYC"], [""]), (["other"], [f"{MYC}.7"]), ([MYC], [""])):
        genes = annotation.describe(symbols, ids, 1)
        assert genes.ensembl[0] == MYC and genes.biotype[0] == "protein_coding"
        assert genes.text() == [f"{symbols[0]}: proto-oncogene, bHLH"]


def test_earlier_source_wins_field_by_field(tmp_path: Path) -> None:
    first = write(tmp_path, "a.tsv", f"ensgene\tsymbol\tbiotype\tdescription\n{MYC}\tMYC\t\tfirst\nX1\tB\tlncRNA\t\n")
    second = write(tmp_path, "b.json", json.dumps({"MYC": "by symbol", "B": "text of B", MYC: "by id"}))
    third = write(tmp_path, "c.csv", f"ensembl,biotype\n{MYC},protein_coding\n")
    genes = Annotation.from_files([first, second, third], []).describe(["MYC", "B"], ["", ""], 2)
    assert genes.description.tolist() == ["first", "text of B"]
    assert genes.biotype.tolist() == ["protein_coding", "lncRNA"]
    assert Annotation.from_files([second, first], []).describe(["MYC"], [""], 1).description.tolist() == ["by id"]


def test_the_id_decides_before_the_symbol(tmp_path: Path) -> None:
    """A symbol that moved to another gene must not bring that gene's text; an alias of the same id may."""
    table = write(tmp_path, "a.tsv", "ensgene\tsymbol\tdescription\nE1\tNEW\tright\nE2\tOLD\twrong\n")
    assert Annotation.from_files([table], []).describe(["OLD"], ["E1"], 1).description.tolist() == ["right"]
    fasta = write(tmp_path, "s.fa", ">NEW\nACGT\n")
    assert Annotation.from_files([table], [fasta]).describe(["ALIAS"], ["E1"], 1).sequence == ("ACGT",)


def test_primary_chromosome_before_contigs(tmp_path: Path) -> None:
    rows = "E3\tHLA-A\tCHR_HSCHR6_MHC_QBL_CTG1\talt\nE1\tHLA-A\tchr6\tmain\nE2\tHLA-A\t7\tlater\n"
    table = write(tmp_path, "a.tsv", "ensgene\tsymbol\tchr\tdescription\n" + rows)
    genes = Annotation.from_files([table], []).describe(["HLA-A"], [""], 1)
    assert (genes.ensembl[0], genes.description[0]) == ("E1", "main")


def test_sequences(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fasta = f">MYC some text\nacgt\nNNac\n\n>{MYC}.20|OTHER\nGGRU\n>MYC\nTTTT\n"
    table = "KLF1_2\tAAAA\nKLF1_1\tCCCC\nNKX2-5_1\tGGGG\nY_RNA\tTTTT\n"
    caplog.set_level(logging.INFO, "grape_dgl")
    annotation = Annotation.from_files([], [write(tmp_path, "a.fa.gz", fasta), write(tmp_path, "b.fa", table)])
    symbols = ["MYC", "OTHER", "KLF1", "NKX2-5", "Y_RNA", "none"]
    genes = annotation.describe(symbols, ["", MYC, "", "", "", ""], 6)
    assert genes.sequence == ("ACGTNNAC", "GGNT", "CCCC", "GGGG", "TTTT", "")
    assert caplog.text.count("1 further sequences") == 2


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        ("table", "a.tsv", "symbol\tdescription\nMYC\tx\nKLF1\n", "a.tsv', line 3: 1 cells; expected 2"),
        ("table", "a.tsv", "foo\tbar\n1\t2\n", "line 1: the columns are foo, bar"),
        ("table", "a.csv", 'symbol,description\nMYC,"x\n', "a.csv', line 2: not a CSV"),
        (
            "table",
            "a.json",
            '{"MYC": "x",\n oops}',
            "no JSON that can be read: Expecting property name",
        ),
        ("table", "a.json", '{"MYC": 3}', "entry of 'MYC' is a int"),
        ("table", "a.json", '["MYC"]', "expected an object"),
        ("table", "a.tsv", "", "is empty"),
        ("sequence", "a.fa", ">MYC\nACGT\nAC!T\n", "a.fa', line 3: '!' is no DNA base"),
        ("sequence", "a.fa", ">MYC\n>KLF1\nACGT\n", "line 1: '>MYC' has no sequence"),
        ("sequence", "a.fa", ">\nACGT\n", "line 1: '>' has no gene name"),
        ("sequence", "a.fa", "MYC_1\tACGT\nKLF1\n", "line 2: expected 'name<TAB>sequence'"),
    ],
)
def test_malformed(tmp_path: Path, kind: str, name: str, text: str, message: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(DataError) as error:
        Annotation.from_files([path] if kind == "table" else [], [path] if kind == "sequence" else [])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing.tsv': No such file"):
        Annotation.from_files([tmp_path / "missing.tsv"], [])
    whole = gzip.compress(b"symbol\tdescription\n" * 99)
    for number, content in enumerate((whole[:-9], whole[:-8] + b"12345678", b"\x89HDF\r\n\xff\xfe")):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            Annotation.from_files([path], [])


def test_without_annotation_symbols_are_text(caplog: pytest.LogCaptureFixture) -> None:
    for annotation in (Annotation.empty(), Annotation.from_files([], [])):
        caplog.clear()
        genes = annotation.describe(["MYC", "KLF1"], ["", f"{MYC}.1"], 1)
        assert annotation.is_empty and genes.text() == ["MYC", "KLF1"] and genes.coding.all()
        assert genes.ensembl.tolist() == ["", MYC] and "symbols serve as text" in caplog.text


def test_real_tables(shared_data: Callable[[str], Path]) -> None:
    """Against the csv module: the Adamson genes by their own table, and what the README of the data says."""
    with gzip.open(shared_data("adamson_genes.tsv.gz"), "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    annotation = Annotation.from_files([shared_data("adamson_genes.tsv.gz")], [shared_data("epd_promoters.fa")])
    ids, symbols = [row["ensgene"] for row in rows], [row["symbol"] for row in rows]
    twice = {name for name, count in Counter(symbols).items() if count > 1}
    unique = [gene if symbol in twice else symbol for gene, symbol in zip(ids, symbols, strict=True)]
    genes = annotation.describe(unique, ids, len(rows))
    assert len(genes) == 5060 and int(genes.coding.sum()) == 3899
    assert genes.ensembl.tolist() == ids
    assert [
        text.split(" [Source")[0].strip() for text in (row["description"] for row in rows)
    ] == genes.description.tolist()
    lines = (line.split("\t") for line in shared_data("epd_promoters.fa").read_text().splitlines())
    first = {name.removesuffix("_1"): sequence for name, sequence in lines if name.endswith("_1")}
    found = [
        sequence == first.get(symbol, "").upper() for symbol, sequence in zip(symbols, genes.sequence, strict=True)
    ]
    assert all(found) and sum(map(bool, genes.sequence)) > 3000


def test_real_contigs(shared_data: Callable[[str], Path]) -> None:
    genes = Annotation.from_files([shared_data("annotables_grch38.tsv.gz")], []).describe(
        ["HLA-A", "NKX2-5", "Y_RNA"], ["", "", ""], 3
    )
    assert genes.ensembl[0] == "ENSG00000206503"
    assert genes.text()[:2] == ["HLA-A: major histocompatibility complex, class I, A", "NKX2-5: NK2 homeobox 5"]
    assert genes.coding.tolist() == [True, True, False]


def test_a_file_that_knows_none_of_the_genes_is_named(tmp_path: Path) -> None:
    """A name that only another file leads to counts; genes that are added later need no file to know them."""
    table = write(tmp_path, "a.tsv", "symbol\tensembl\tbiotype\nNEW\tENSG00000000001\tlncRNA\n")
    by_alias = write(tmp_path, "a.fa", ">NEW\nACGT\n")
    known = Annotation.from_files([table], [by_alias])
    assert known.describe(["OLD"], ["ENSG00000000001.2"], 1).sequence == ("ACGT",)
    other = Annotation.from_files([table], [by_alias, write(tmp_path, "b.fa", ">Xyz\nACGT\n")])
    with pytest.raises(DataError, match=r"b\.fa': none of the 1 genes \(OLD, \.\.\.\) is in it; it has Xyz; expected"):
        other.describe(["OLD"], ["ENSG00000000001"], 1)
    assert other.describe(["OLD"], ["ENSG00000000001"], 0).sequence == ("ACGT",)
