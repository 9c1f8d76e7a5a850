"""GTF files: both flavours, the choice of the canonical transcript, and errors that name file and line."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from grape_dgl.data.annotation_files import read_table
from grape_dgl.data.gtf import GeneModel, gtf_source, is_gtf, read_gtf
from grape_dgl.errors import DataError

ENSEMBL = """#!genome-build GRCh38.p14
#!genome-version GRCh38
1\thavana\tgene\t100\t900\t.\t+\t.\tgene_id "ENSG00000000001"; gene_version "3"; gene_name "AAA"; \
gene_source "havana"; gene_biotype "protein_coding";
1\thavana\ttranscript\t100\t900\t.\t+\t.\tgene_id "ENSG00000000001"; gene_version "3"; \
transcript_id "ENST00000000001"; gene_name "AAA"; gene_biotype "protein_coding"; transcript_biotype "retained_intron";
1\thavana\texon\t100\t900\t.\t+\t.\tgene_id "ENSG00000000001"; transcript_id "ENST00000000001"; exon_number "1";
1\thavana\ttranscript\t150\t420\t.\t+\t.\tgene_id "ENSG00000000001"; gene_version "3"; \
transcript_id "ENST00000000002"; gene_name "AAA"; tag "basic"; tag "Ensembl_canonical"; tag "MANE_Select";
1\thavana\texon\t150\t200\t.\t+\t.\tgene_id "ENSG00000000001"; transcript_id "ENST00000000002"; exon_number "1";
1\thavana\tCDS\t160\t200\t.\t+\t0\tgene_id "ENSG00000000001"; transcript_id "ENST00000000002"; exon_number "1";
1\thavana\texon\t400\t420\t.\t+\t.\tgene_id "ENSG00000000001"; transcript_id "ENST00000000002"; exon_number "2";

MT\tinsdc\tgene\t5\t9\t.\t-\t.\tgene_id "ENSG00000000002"; gene_version "1"; gene_biotype "Mt_tRNA";
"""
GENCODE = """##description: evidence-based annotation of the human genome
##format: gtf
chrY\tHAVANA\tgene\t7\t8\t.\t+\t.\tgene_id "ENSG00000000003.7_PAR_Y"; gene_type "lncRNA"; gene_name "PAR"; level 2;
chrY\tHAVANA\texon\t7\t8\t.\t+\t.\tgene_id "ENSG00000000003.7_PAR_Y"; transcript_id "ENST00000000009.1_PAR_Y"; level 2;
chr1\tHAVANA\tgene\t100\t900\t.\t-\t.\tgene_id "ENSG00000000001.15"; gene_type "protein_coding"; gene_name "AAA"; \
level 2; tag "overlapping_locus";
chr1\tHAVANA\ttranscript\t100\t900\t.\t-\t.\tgene_id "ENSG00000000001.15"; transcript_id "ENST00000000001.2"; level 2;
chr1\tHAVANA\texon\t800\t900\t.\t-\t.\tgene_id "ENSG00000000001.15"; transcript_id "ENST00000000001.2"; exon_number 1;
chr1\tHAVANA\texon\t100\t110\t.\t-\t.\tgene_id "ENSG00000000001.15"; transcript_id "ENST00000000001.2"; exon_number 2;
chrX\tHAVANA\tgene\t1\t2\t.\t+\t.\tgene_id "ENSG00000000003.7"; gene_type "lncRNA"; gene_name "PAR"; level 2;
chrX\tHAVANA\texon\t1\t2\t.\t+\t.\tgene_id "ENSG00000000003.7"; transcript_id "ENST00000000009.1"; level 2;
"""


def write(folder: Path, text: str, name: str = "a.gtf") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.gtf", "a.gtf.gz", "packed.gtf"])
def test_ensembl(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, ENSEMBL, name)
    if name == "packed.gtf":  # gzip is recognised by content
        path.write_bytes(gzip.compress(ENSEMBL.replace("\n", "\r\n").encode()))
    a = GeneModel("ENSG00000000001", "AAA", "protein_coding", "1", 100, 900, 1)
    b = GeneModel("ENSG00000000002", "", "Mt_tRNA", "MT", 5, 9, -1)
    assert read_gtf(path) == [a, b]
    with_exons = read_gtf(path, transcripts=True)
    assert [model.exons for model in with_exons] == [((150, 200), (400, 420)), ()]


def test_gencode(tmp_path: Path) -> None:
    models = read_gtf(write(tmp_path, GENCODE), transcripts=True)
    assert models == [
        GeneModel("ENSG00000000001", "AAA", "protein_coding", "chr1", 100, 900, -1, ((100, 110), (800, 900))),
        GeneModel("ENSG00000000003", "PAR", "lncRNA", "chrX", 1, 2, 1, ((1, 2),)),
    ]


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        (("", "", ""), 1),
        (("", "", "appris_principal_1"), 2),
        (("appris_principal_1", "appris_principal_1", "MANE_Select"), 2),
        (("Ensembl_canonical", "MANE_Select", "appris_principal_1"), 0),
        (("appris_principal_1", "appris_principal_2", "appris_principal_1"), 2),
        (("MANE_Plus_Clinical", "appris_alternative_1", "appris_principal"), 2),
    ],
)
def test_canonical_transcript(tmp_path: Path, tags: tuple[str, ...], chosen: int) -> None:
    """Of exon lengths 10, 20 and 15, the second in two exons; transcripts stand in any order, before their gene too."""
    exons = [((1, 10),), ((1, 5), (31, 45)), ((1, 15),)]
    lines = ['chr1\tx\tgene\t1\t50\t.\t+\t.\tgene_id "G";']
    for number, (tag, parts) in enumerate(zip(tags, exons, strict=True)):
        attributes = f'gene_id "G"; transcript_id "T{number}"; tag "basic"; tag "{tag}";'
        lines += [f"chr1\tx\ttranscript\t1\t50\t.\t+\t.\t{attributes}"]
        lines += [f"chr1\tx\texon\t{start}\t{end}\t.\t+\t.\t{attributes}" for start, end in parts]
    for order in (lines, lines[::-1]):
        (model,) = read_gtf(write(tmp_path, "\n".join(order)), transcripts=True)
        assert model.exons == exons[chosen]


def test_source_prefers_primary_chromosomes(tmp_path: Path) -> None:
    gene = '{}\tx\tgene\t1\t50\t.\t+\t.\tgene_id "{}"; gene_name "HLA-A"; gene_type "protein_coding";\n'
    text = gene.format("GL000250.2", "ENSG00000000009") + gene.format("chr6", "ENSG00000000001.2")
    source = gtf_source(read_gtf(write(tmp_path, text)))
    assert source.by_symbol["HLA-A"].ensembl == "ENSG00000000001"
    assert set(source.by_ensembl) == {"ENSG00000000001", "ENSG00000000009"}
    assert source.by_ensembl["ENSG00000000009"].biotype == "protein_coding"


GENE = 'chr1\tx\tgene\t1\t50\t.\t+\t.\tgene_id "G";'
EXON = 'chr1\tx\texon\t1\t50\t.\t+\t.\tgene_id "G"; transcript_id "T";'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GENE}\n{GENE}\textra\n", "line 2: 10 columns; expected the 9 of GTF"),
        (f"{GENE}\nchr1\tx\n", "line 2: 2 columns"),
        ("symbol,description\nMYC,x\n", "line 1: 1 columns"),
        (GENE.replace("50", "0"), "line 1: start and end are '1' and '0'; expected numbers from 1 on"),
        (GENE.replace("50", "5e3"), "start and end are '1' and '5e3'"),
        (GENE.replace("50", "9" * 5000), "start and end are"),
        (GENE.replace("\t1\t", "\t51\t"), "line 1: start 51 lies behind end 50"),
        (GENE.replace("+", "."), "line 1: the strand is '.'; expected + or -"),
        (GENE.replace("gene_id", "name"), "line 1: the attributes 'name \"G\";' lack gene_id"),
        (f"{GENE}\n{EXON.replace('transcript_id', 'id')}", 'line 2: the attributes \'gene_id "G"; id "T";\' lack tr'),
        (f"{GENE}\n{EXON.replace('gene_id', 'id')}", 'line 2: the attributes \'id "G"; tr'),
        (f"{GENE}\n{EXON.replace('50', 'x')}", "line 2: start and end"),
        (EXON, "has no line of feature 'gene'"),
        ("", "is empty"),
        ("##gff-version 3\nchr1\tx\tgene\t1\t50\t.\t+\t.\tID=gene:ENSG1;Name=A\n", "GFF3 file; expected GTF"),
        ("chr1\tx\tgene\t1\t50\t.\t+\t.\tID=gene:ENSG00000000001;Name=A\n", "GFF3 file; expected GTF"),
    ],
)
@pytest.mark.parametrize("name", ["a.gtf", "a.gtf.gz"])
def test_malformed(tmp_path: Path, text: str, message: str, name: str) -> None:
    with pytest.raises(DataError) as error:
        read_gtf(write(tmp_path, text, name), transcripts=True)
    assert message in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


def test_unreadable(tmp_path: Path) -> None:
    whole = gzip.compress(ENSEMBL.encode())
    damaged = whole[:40] + bytes(40) + whole[80:]
    no_text = GENE.encode()[:-3] + b"\xff"
    for content in (whole[:-9], whole[:-8] + b"12345678", whole[:5], damaged, no_text):
        path = tmp_path / "a.gtf"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.gtf"):
            read_gtf(path)
    for path in (tmp_path / "missing.gtf", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            read_gtf(path)


def begins_as_gtf(folder: Path, text: str) -> bool:
    """The same of the file, plain and gzip."""
    found = {is_gtf(write(folder, text, name)) for name in ("a.gtf", "a.gtf.gz")}
    assert len(found) == 1
    return found.pop()


def test_is_gtf(tmp_path: Path) -> None:
    for text in (ENSEMBL, GENCODE, f"{GENE}\n", "##gff-version 3\n", "#!genome-build GRCh38\n" * 9999 + GENE):
        assert begins_as_gtf(tmp_path, text)
    for line in (GENE.replace("\t1\t", "\t-1\t"), GENE.replace("+", "*"), GENE.replace("50", "5.5")):
        assert begins_as_gtf(tmp_path, line)  # read_gtf says what is wrong with it
    table = "ensgene\tentrez\tsymbol\tchr\tstart\tend\tstrand\tbiotype\tdescription\n"
    last = "chr\tstart\tend\tsymbol\tbiotype\tdescription\ta\tb\tensembl_gene_id\n"
    for text in (table, last, "#tax_id\tGeneID\n9606\t1\n", '{"MYC": "x"}', "", "\n", ">MYC\nACGT\n"):
        assert not begins_as_gtf(tmp_path, text)


def test_real_table_as_gtf(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """A GTF of the real genes says of every id and symbol what the table says."""
    path = shared_data("annotables_grch38.tsv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lines = []
    for row in rows:
        strand = "+" if row["strand"] == "1" else "-"
        name = f'gene_name "{row["symbol"]}"; ' if row["symbol"] else ""
        attributes = f'gene_id "{row["ensgene"]}.7"; gene_type "{row["biotype"]}"; {name}level 2;'
        columns = [row["chr"], "x", "gene", row["start"], row["end"], ".", strand, ".", attributes]
        lines.append("\t".join(columns) + "\n")
    source, table = gtf_source(read_gtf(write(tmp_path, "".join(lines), "a.gtf.gz"))), read_table(path)
    assert len(source.by_ensembl) > 60_000 and len(source.by_symbol) > 35_000
    for ours, theirs in ((source.by_ensembl, table.by_ensembl), (source.by_symbol, table.by_symbol)):
        assert {name: (record.ensembl, record.symbol, record.biotype) for name, record in ours.items()} == {
            name: (record.ensembl, record.symbol, record.biotype) for name, record in theirs.items()
        }
