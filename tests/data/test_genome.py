"""Sequences cut out of a genome: against slow slicing base by base, by hand, and where GTF and FASTA do not fit."""

from __future__ import annotations

import gzip
import logging
import os
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from grape_dgl.data.annotation import Annotation
from grape_dgl.data.genome import GenomeSequences, Region
from grape_dgl.data.gtf import GeneModel, gtf_source, read_gtf
from grape_dgl.errors import ConfigError, DataError

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}
_RANDOM = random.Random(7)
GENOME = {name: "".join(_RANDOM.choices("ACGTacgtNnRy", k=size)) for name, size in (("1", 203), ("2", 60), ("MT", 31))}
FLANKS = [(8, 3), (5, 0), (0, 5), (50, 40)]

MODELS = [  # forward, an overlapping one backward, at both ends of chromosomes, mitochondrial
    GeneModel("ENSG00000000001", "FWD", "protein_coding", "chr1", 41, 160, 1, ((50, 75), (100, 100), (120, 152))),
    GeneModel("ENSG00000000002", "BWD", "lncRNA", "chr1", 61, 180, -1, ((61, 70), (121, 180))),
    GeneModel("ENSG00000000003", "HEAD", "lncRNA", "chr2", 1, 7, 1, ((1, 7),)),
    GeneModel("ENSG00000000004", "TAIL", "lncRNA", "chr2", 54, 60, -1, ((54, 60),)),
    GeneModel("ENSG00000000005", "WHOLE", "protein_coding", "chr1", 1, 203, -1),
    GeneModel("ENSG00000000006", "", "Mt_tRNA", "chrM", 2, 31, -1, ((2, 31),)),
]


def fasta(folder: Path, prefix: str = "", width: int = 60, end: str = "\n", last: bool = True) -> Path:
    lines = []
    for name, sequence in GENOME.items():
        lines.append(f">{prefix}{'M' if prefix and name == 'MT' else name} dna:chromosome")
        lines += [sequence[start : start + width] for start in range(0, len(sequence), width)]
    path = folder / "genome.fa"
    path.write_bytes((end.join(lines) + end * last).encode())
    return path


def slow(model: GeneModel, positions: Iterable[int]) -> str:
    """The bases at these positions (from 1, in genome order) as the gene's strand reads them."""
    chromosome = GENOME[{"chr1": "1", "chr2": "2", "chrM": "MT"}[model.chromosome]]
    bases = [chromosome[position - 1].upper() for position in positions if 1 <= position <= len(chromosome)]
    bases = [base if base in "ACGT" else "N" for base in bases]
    return "".join(bases if model.strand > 0 else [COMPLEMENT[base] for base in reversed(bases)])


def sequences(genome: GenomeSequences) -> dict[str, str]:
    source = genome.look_up([model.symbol for model in MODELS], [model.ensembl for model in MODELS])
    return {ensembl: record.sequence for ensembl, record in source.by_ensembl.items()}


@pytest.mark.parametrize("prefix", ["", "chr"])
def test_gene_and_transcript(tmp_path: Path, prefix: str) -> None:
    path = fasta(tmp_path, prefix)
    expected = {model.ensembl: slow(model, range(model.start, model.end + 1)) for model in MODELS}
    assert sequences(GenomeSequences(MODELS, path, "gene")) == expected
    exons = {
        model.ensembl: slow(model, [place for start, end in model.exons for place in range(start, end + 1)])
        for model in MODELS
        if model.exons
    }
    assert sequences(GenomeSequences(MODELS, path, "transcript")) == exons


@pytest.mark.parametrize(("upstream", "downstream"), FLANKS)
@pytest.mark.parametrize("with_exons", [True, False])
def test_promoter(tmp_path: Path, upstream: int, downstream: int, with_exons: bool) -> None:
    """The TSS counts as the first base downstream; that of the canonical transcript where its exons are known."""
    tss = {"FWD": 50 if with_exons else 41, "BWD": 180, "HEAD": 1, "TAIL": 60, "WHOLE": 203, "": 31}
    models = MODELS if with_exons else [replace(model, exons=()) for model in MODELS]
    expected = {}
    for model in models:
        if model.strand > 0:
            places = range(tss[model.symbol] - upstream, tss[model.symbol] + downstream)
        else:
            places = range(tss[model.symbol] - downstream + 1, tss[model.symbol] + upstream + 1)
        expected[model.ensembl] = slow(model, places)
    found = sequences(GenomeSequences(models, fasta(tmp_path), "promoter", upstream, downstream))
    assert found == {ensembl: sequence for ensembl, sequence in expected.items() if sequence}


def test_by_hand(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">chr7\nAACCg\nTRacG\nT\n")
    plus, minus = (GeneModel("E", "S", "", "7", 3, 8, strand, ((3, 4), (8, 8))) for strand in (1, -1))
    cut: dict[Region, tuple[str, str]] = {
        "gene": ("CCGTNA", "TNACGG"),
        "transcript": ("CCA", "TGG"),
        "promoter": ("ACCG", "GTNA"),
    }
    for region, expected in cut.items():
        for model, sequence in zip((plus, minus), expected, strict=True):
            found = GenomeSequences([model], tmp_path / "g.fa", region, upstream=1, downstream=3).look_up(["S"], [""])
            assert found.by_symbol["S"].sequence == sequence


@pytest.mark.parametrize(("width", "end", "last"), [(7, "\r\n", True), (1000, "\n", False), (7, "\r\n", False)])
def test_any_line_length(tmp_path: Path, width: int, end: str, last: bool) -> None:
    path = fasta(tmp_path, width=width, end=end, last=last)
    first = sequences(GenomeSequences(MODELS, path, "gene"))
    before = path.with_name("genome.fa.fai").stat()
    assert first["ENSG00000000005"] == slow(MODELS[4], range(1, 204))
    assert sequences(GenomeSequences(MODELS, path, "gene")) == first  # the index is used again
    assert path.with_name("genome.fa.fai").stat() == before


def test_names(tmp_path: Path) -> None:
    """The id counts before the symbol, an id may stand as symbol, primary chromosomes come first."""
    patch = GeneModel("ENSG00000000009", "FWD", "protein_coding", "PATCH", 1, 9, 1)
    genome = GenomeSequences([patch, *MODELS], fasta(tmp_path), "gene")
    found = genome.look_up(
        ["FWD", "moved", "ENSG00000000003.4", "BWD", "NOBODY"], ["", "ENSG00000000004.2", "", "ENSG00000009999", ""]
    )
    assert list(found.by_ensembl) == [f"ENSG0000000000{number}" for number in (1, 4, 3, 2)]
    assert set(found.by_symbol) == {"FWD", "TAIL", "HEAD", "BWD"}
    assert not genome.look_up(["NOBODY"], [""]).by_symbol


def test_exact_chromosome_name_wins(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">1\nAAAA\n>chr1\nCCCC\n")
    models = [GeneModel(f"E{name}", "", "", name, 1, 2, 1) for name in ("1", "chr1")]
    found = GenomeSequences(models, tmp_path / "g.fa", "gene").look_up(["E1", "Echr1"], ["", ""])
    assert [record.sequence for record in found.by_ensembl.values()] == ["AA", "CC"]


def test_from_gtf_to_annotation(tmp_path: Path) -> None:
    """From both files to the genes of a screen."""
    lines = []
    for model in MODELS[:2]:
        names = f'gene_id "{model.ensembl}.3"; gene_type "{model.biotype}"; gene_name "{model.symbol}";'
        strand = "+" if model.strand > 0 else "-"
        lines.append(f"{model.chromosome}\tx\tgene\t{model.start}\t{model.end}\t.\t{strand}\t.\t{names}\n")
        for start, end in model.exons[::-1]:
            exon = f'{names} transcript_id "T{model.symbol}";'
            lines.append(f"{model.chromosome}\tx\texon\t{start}\t{end}\t.\t{strand}\t.\t{exon}\n")
    (tmp_path / "a.gtf").write_text("".join(lines))
    models = read_gtf(tmp_path / "a.gtf", transcripts=True)
    assert models == MODELS[:2]
    symbols, ids = ["BWD", "FWD", "NONE"], ["", "ENSG00000000001.9", ""]
    source = GenomeSequences(models, fasta(tmp_path), "transcript").look_up(symbols, ids)
    genes = Annotation((gtf_source(models), source)).describe(symbols, ids, 3)
    assert genes.ensembl.tolist() == ["ENSG00000000002", "ENSG00000000001", ""]
    assert genes.biotype.tolist() == ["lncRNA", "protein_coding", ""]
    backward = slow(MODELS[1], [*range(61, 71), *range(121, 181)])
    forward = slow(MODELS[0], [*range(50, 76), 100, *range(120, 153)])
    assert list(genes.sequence) == [backward, forward, ""]


def test_genes_outside_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    far = GeneModel("ENSG00000000007", "FAR", "", "chr2", 50, 61, 1)
    lost = GeneModel("ENSG00000000008", "LOST", "", "chrUn_1", 1, 2, 1)
    genome = GenomeSequences([*MODELS, far, lost], fasta(tmp_path), "promoter")
    found = genome.look_up(["FAR", "FWD", "LOST"], ["", "", ""])
    assert set(found.by_symbol) == {"FWD"}
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "2 of 3 genes do not lie" in warning
    assert "FAR (end 61, but 2 has 60 bases), LOST (no chrUn_1)" in warning
    with pytest.raises(DataError, match=r"2 of 2 genes .* do not belong together.*sequences 1, 2, MT"):
        genome.look_up(["FAR", "LOST"], ["", ""])


def test_stale_or_damaged_index(tmp_path: Path) -> None:
    """Another genome at the same place, even an older file, is indexed anew; so is one with a damaged index."""
    path = fasta(tmp_path)
    GenomeSequences(MODELS, path, "gene")
    index = path.with_name("genome.fa.fai")
    good = index.read_text()
    newer = good.replace("203", "150")
    (tmp_path / "genome.fa").write_text(">1\n" + "ACGT\n" * 100)
    os.utime(path, (1e9, 1e9))
    model = GeneModel("E", "S", "", "1", 397, 400, 1)
    assert GenomeSequences([model], path, "gene").look_up(["S"], [""]).by_symbol["S"].sequence == "ACGT"
    path = fasta(tmp_path)
    os.utime(path, (1e9, 1e9))
    for text in ("", "1\n", "1\tx\ty\tz\t0\n", newer, good[:-4], "1\t203\t0\t60\t61\n"):
        index.write_text(text)
        assert sequences(GenomeSequences(MODELS, path, "gene"))["ENSG00000000006"] == slow(MODELS[5], range(2, 32)), (
            text
        )
        assert index.read_text() == good
    os.utime(index, (1e8, 1e8))
    assert len(sequences(GenomeSequences(MODELS, path, "gene"))) == 6 and index.stat().st_mtime > 1e8


def test_index_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be written beside the FASTA it is kept in the cache folder, or said that neither is possible."""
    path = fasta(tmp_path)
    path.with_name("genome.fa.fai").mkdir()  # also root cannot replace a folder by a file
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))
    for _ in range(2):
        assert len(sequences(GenomeSequences(MODELS, path, "gene"))) == 6
        (index,) = (tmp_path / "cache" / "genomes").iterdir()
    assert index.name.endswith("-genome.fa.fai") and not list(tmp_path.glob(".part-*"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="can be written neither beside it nor to .*GRAPE_DGL_DATA"):
        GenomeSequences(MODELS, path, "gene")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))
    folder = tmp_path / "shared"
    folder.mkdir()
    path = fasta(folder)
    folder.chmod(0o555)
    assert len(sequences(GenomeSequences(MODELS, path, "gene"))) == 6
    assert [file.name for file in folder.iterdir()] == ["genome.fa"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b">1\nACGT\n", mtime=0), r"is compressed \(gzip or bgzip\).*gunzip --keep"),
        (b"ACGT\n", "cannot be indexed: Unexpected text before the first"),
        (b">1\nACGT\nAC\nACGT\n", "cannot be indexed: Line length of fasta"),
        (b">1\nACGT\n>1\nAC\n", "cannot be indexed: Duplicate key .*each name once"),
        (b">\nACGT\n", "cannot be indexed: Bad sequence name"),
        (b"\x89HDF\r\n\xff\xfe", "cannot be indexed"),
        (b">1\nAC\xff\n", "cannot be indexed"),
        (b">1\nACGT\nACGTT\nACGT\n", "cannot be indexed: .*lines of equal length"),  # a RuntimeError of pyfaidx
    ],
)
def test_no_fasta(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        GenomeSequences(MODELS, path, "gene")
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["g.fa"]


def test_bad_requests(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.fa", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            GenomeSequences(MODELS, path, "gene")
    for flanks in ((-1, 5), (5, -1), (0, 0), (10**6, 1)):
        with pytest.raises(ConfigError, match="expected 1 to 1,000,000, none negative"):
            GenomeSequences(MODELS, fasta(tmp_path), "promoter", *flanks)
    with pytest.raises(DataError, match="no gene has exons"):
        GenomeSequences(MODELS[4:5], fasta(tmp_path), "transcript")
