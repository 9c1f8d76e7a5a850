"""Gene models from a GTF file of GENCODE or Ensembl: id, symbol, biotype, location, exons of one transcript."""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from grape_dgl.data.annotation_files import PRIMARY, Record, Source, without_version
from grape_dgl.data.text_files import reading
from grape_dgl.errors import DataError

log = logging.getLogger("grape_dgl")

COLUMNS = 9
_POSITION = re.compile("0*[1-9][0-9]{0,11}")
_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
_REQUIRED = {name: re.compile(rf'\b{name} "([^"]+)"') for name in ("gene_id", "transcript_id")}
_GFF_VERSION = "##gff-version"
_GFF3 = "'{path}' is a GFF3 file; expected GTF: get the .gtf.gz of the same release"
_CANONICAL = (
    ('tag "Ensembl_canonical"',),
    ('tag "MANE_Select"',),
    ('tag "appris_principal_1"', 'tag "appris_principal"'),  # the latter in GENCODE 19 (GRCh37)
)
"""Tags of a gene's canonical transcript, the preferred first."""


@dataclass(frozen=True)
class GeneModel:
    """Where a gene lies. Positions count from 1 and include both ends, as in the file."""

    ensembl: str
    """Gene id without version."""
    symbol: str
    """"" where the file names none."""
    biotype: str
    """As the file spells it, "" unknown."""
    chromosome: str
    """As the file spells it: ``chr1`` (GENCODE) or ``1`` (Ensembl)."""
    start: int
    end: int
    strand: int
    """+1 or -1."""
    exons: tuple[tuple[int, int], ...] = ()
    """Of the canonical transcript, in genome order; () unless asked for."""


@dataclass
class _Transcript:
    """A transcript while the file is read: the rank of its tags in ``_CANONICAL``, and its exons' starts and ends."""

    rank: int
    ends: array[int] = field(default_factory=lambda: array("q"))

    @property
    def exons(self) -> tuple[tuple[int, int], ...]:
        return tuple(sorted(zip(self.ends[::2], self.ends[1::2], strict=True)))

    @property
    def length(self) -> int:
        return sum(self.ends[1::2]) - sum(self.ends[::2]) + len(self.ends) // 2


def is_gtf(path: Path) -> bool:
    """Whether a file, plain or gzip, begins as GTF, or as GFF3, which read_gtf turns down by name."""
    with reading(path, "the annotation") as file:
        lines = iter(lambda: file.readline(1 << 16).decode(errors="replace"), "")
        line = next((line for line in lines if line.startswith(_GFF_VERSION) or line.strip() and line[0] != "#"), "")
    cells = line.split("\t")
    placed = len(cells) == COLUMNS and ('gene_id "' in cells[8] or all(map(str.isdecimal, cells[3:5])))
    return placed or line.startswith(_GFF_VERSION)


def read_gtf(path: Path, transcripts: bool = False) -> list[GeneModel]:
    """The genes of a GTF file, plain or gzip, in the order of the file.

    An id stands once: of a gene that stands on X and Y (``ENSG..._PAR_Y``) X counts. With ``transcripts`` a gene has
    the exons of its canonical transcript: that tagged Ensembl_canonical, else MANE_Select, else appris_principal_1; of
    several, or without any, the longest. Raises DataError that names file and line.
    """
    genes = dict[str, GeneModel]()  # by id as in the file
    variants = dict[str, list[_Transcript]]()
    by_id = dict[str, _Transcript]()
    for number, feature, line in _lines(path, ("gene", "transcript", "exon") if transcripts else ("gene",)):
        cells, start, end = _location(path, number, line)
        if feature == "gene":
            gene_id = _find("gene_id", path, number, cells[8])
            genes[gene_id] = _gene(path, number, cells, start, end)
            continue
        name = _find("transcript_id", path, number, cells[8])
        if name not in by_id:
            by_id[name] = _Transcript(_rank(cells[8]))
            variants.setdefault(_find("gene_id", path, number, cells[8]), []).append(by_id[name])
        if feature == "exon":
            by_id[name].ends.extend((start, end))
    if not genes:
        raise DataError(
            f"'{path}' has no line of feature 'gene'; expected a GTF file of GENCODE, or of Ensembl from release 75 on"
        )
    if transcripts:
        for gene_id, found in variants.items():
            if gene_id in genes:
                canonical = min(found, key=lambda transcript: (transcript.rank, -transcript.length))
                genes[gene_id] = replace(genes[gene_id], exons=canonical.exons)
    models = dict[str, GeneModel]()
    for gene_id in sorted(genes, key=lambda gene_id: gene_id.endswith("_PAR_Y")):
        models.setdefault(genes[gene_id].ensembl, genes[gene_id])
    log.info("annotation '%s': %d genes", path, len(models))
    return list(models.values())


def gtf_source(models: Iterable[GeneModel], file: str = "") -> Source:
    """Symbol, Ensembl id and biotype of genes, found by id or symbol as those of read_table."""
    return Source.of(
        (Record(ensembl=model.ensembl, symbol=model.symbol, biotype=model.biotype) for model in primary_first(models)),
        file,
    )


def primary_first(models: Iterable[GeneModel]) -> list[GeneModel]:
    """Genes on a primary chromosome before those on alternative contigs and patches."""
    return sorted(models, key=lambda model: model.chromosome.removeprefix("chr") not in PRIMARY)


def _lines(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, feature and text of the lines whose feature is wanted; others are only split at three tabs."""
    features = {feature.encode(): feature for feature in wanted}
    number = 0
    with reading(path, "the GTF") as file:
        for number, line in enumerate(file, 1):
            cells = line.split(b"\t", 3)
            if len(cells) == 4 and cells[2] in features:
                try:
                    text = line.decode().rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(f"'{path}', line {number}: not text: {error}; expected UTF-8") from error
                yield number, features[cells[2]], text
            elif line.startswith(b"##gff-version 3"):
                raise DataError(_GFF3.format(path=path))
            elif len(cells) < 4 and line.strip() and not line.startswith(b"#"):
                raise DataError(f"'{path}', line {number}: {len(cells)} columns; expected the {COLUMNS} of GTF")
    if not number:
        raise DataError(f"'{path}' is empty; expected a GTF file of genes")


def _location(path: Path, number: int, line: str) -> tuple[list[str], int, int]:
    """The columns of a line, its start and its end."""
    cells = line.split("\t")
    if len(cells) != COLUMNS:
        raise DataError(f"'{path}', line {number}: {len(cells)} columns; expected the {COLUMNS} of GTF")
    if not (_POSITION.fullmatch(cells[3]) and _POSITION.fullmatch(cells[4])):
        raise DataError(
            f"'{path}', line {number}: start and end are '{cells[3]}' and '{cells[4]}'; expected numbers from 1 on"
        )
    start, end = int(cells[3]), int(cells[4])
    if start > end:
        raise DataError(f"'{path}', line {number}: start {start} lies behind end {end}; expected start <= end")
    return cells, start, end


def _gene(path: Path, number: int, cells: Sequence[str], start: int, end: int) -> GeneModel:
    if cells[6] not in ("+", "-"):
        raise DataError(f"'{path}', line {number}: the strand is '{cells[6]}'; expected + or -")
    attributes = dict(_ATTRIBUTE.findall(cells[8]))
    return GeneModel(
        ensembl=without_version(attributes["gene_id"]),
        symbol=attributes.get("gene_name", ""),
        biotype=attributes.get("gene_biotype") or attributes.get("gene_type", ""),
        chromosome=cells[0],
        start=start,
        end=end,
        strand=1 if cells[6] == "+" else -1,
    )


def _find(name: str, path: Path, number: int, attributes: str) -> str:
    """The value of an attribute that the line must have."""
    if found := _REQUIRED[name].search(attributes):
        return found.group(1)
    if attributes.startswith("ID="):
        raise DataError(_GFF3.format(path=path))
    raise DataError(f"'{path}', line {number}: the attributes '{attributes[:60]}' lack {name}")


def _rank(attributes: str) -> int:
    """Place of a transcript's best tag in ``_CANONICAL``."""
    ranks = (rank for rank, tags in enumerate(_CANONICAL) if any(tag in attributes for tag in tags))
    return next(ranks, len(_CANONICAL))
