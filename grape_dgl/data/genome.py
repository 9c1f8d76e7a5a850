"""DNA of genes, cut out of a genome FASTA file where a GTF file says they lie."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grape_dgl.data.annotation_files import Record, Source, without_version
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.gtf import GeneModel, primary_first
from grape_dgl.data.progress import bar
from grape_dgl.data.regions import Region, check_promoter, promoter_span, region_note
from grape_dgl.data.text_files import GZIP
from grape_dgl.errors import DataError, some
from grape_dgl.writing import write_beside

if TYPE_CHECKING:
    from pyfaidx import Fasta

log = logging.getLogger("grape_dgl")


def _table(bases: str) -> bytes:
    """For bytes.translate: A, C, G, T of either case to ``bases``, whatever else to N."""
    table = bytearray(b"N" * 256)
    for base, to in zip("ACGTacgt", 2 * bases, strict=True):
        table[ord(base)] = ord(to)
    return bytes(table)


_FORWARD, _COMPLEMENT = _table("ACGT"), _table("TGCA")


class GenomeSequences:
    """The sequences of genes, read when they are asked for.

    ``upstream`` and ``downstream`` are bases of a promoter before and after the TSS, which is the first of those
    downstream; the ends of the chromosome cut them short. The TSS is that of the canonical transcript where the models
    have exons, else the outermost of the gene. Sequences are upper-case ACGTN. Raises DataError for a FASTA file that
    cannot be read or indexed, ConfigError for flanks that are no promoter.
    """

    def __init__(
        self, models: Sequence[GeneModel], fasta: Path, region: Region, upstream: int = 1000, downstream: int = 100
    ) -> None:
        check_promoter(upstream, downstream)
        if region == "transcript" and not any(model.exons for model in models):
            raise DataError("no gene has exons, which the region 'transcript' needs; expected 'exon' lines in the GTF")
        self._fasta, self._region, self._upstream, self._downstream = fasta, region, upstream, downstream
        last_wins = primary_first(models)[::-1]
        self._by_id = {model.ensembl: model for model in last_wins}
        self._by_symbol = {model.symbol: model for model in last_wins if model.symbol}
        self._genome = _open(fasta)
        names = self._genome.faidx.index
        self._names = {_plain(name): name for name in names} | {name: name for name in names}

    @property
    def origin(self) -> dict[str, Any]:
        """FASTA file, and which DNA."""
        return {"genome": str(self._fasta), **region_note(self._region, self._upstream, self._downstream)}

    def look_up(self, symbols: Sequence[str], ensembl: Sequence[str]) -> Source:
        """Records with id, symbol and sequence of those of the genes [genes] that are known.

        A gene is found by its Ensembl id ("" unknown) first, then by its symbol. Genes that do not lie in the FASTA
        are left out with a warning; DataError if that is all of them.
        """
        asked = (self._find(*names) for names in zip(symbols, ensembl, strict=True))
        models = list(dict.fromkeys(model for model in asked if model))
        records, outside = list[Record](), list[str]()
        for model in bar("reading the genome", len(models), models):
            if misfit := self._misfit(model):
                outside.append(f"{model.symbol or model.ensembl} ({misfit})")
            elif sequence := self._sequence(model):
                records.append(Record(ensembl=model.ensembl, symbol=model.symbol, sequence=sequence))
        if outside:
            names = some(outside)
            count = f"{len(outside)} of {len(models)} genes do not lie in '{self._fasta}'"
            if len(outside) == len(models):
                raise DataError(
                    f"{count}: {names}; GTF and FASTA do not belong together: take both from one release (the FASTA "
                    f"has the sequences {', '.join(list(self._genome.faidx.index)[:5])})"
                )
            log.warning("%s and get no sequence (is it the assembly of the GTF?): %s", count, names)
        if records and not any(base in record.sequence for record in records for base in "ACGT"):
            raise DataError(f"'{self._fasta}' has no A, C, G or T where the genes lie; expected DNA")
        log.info("'%s': %d of %d genes have a %s sequence", self._fasta, len(records), len(symbols), self._region)
        return Source.of(records)

    def _find(self, symbol: str, ensembl: str) -> GeneModel | None:
        by_id = self._by_id.get(without_version(ensembl))
        return by_id or self._by_symbol.get(symbol) or self._by_id.get(without_version(symbol))

    def _name(self, model: GeneModel) -> str | None:
        return self._names.get(model.chromosome) or self._names.get(_plain(model.chromosome))

    def _misfit(self, model: GeneModel) -> str:
        """Why a gene does not lie in the FASTA, "" where it does."""
        name = self._name(model)
        if name is None:
            return f"no {model.chromosome}"
        length = len(self._genome[name])
        return f"end {model.end}, but {name} has {length} bases" if model.end > length else ""

    def _sequence(self, model: GeneModel) -> str:
        chromosome = self._genome[self._name(model)]
        spans = self._spans(model, len(chromosome))
        raw = "".join(chromosome[start - 1 : end] for start, end in spans).encode()
        return (raw.translate(_FORWARD) if model.strand > 0 else raw[::-1].translate(_COMPLEMENT)).decode()

    def _spans(self, model: GeneModel, length: int) -> Sequence[tuple[int, int]]:
        """What to cut out, in genome order; positions from 1, both ends included."""
        if self._region == "gene":
            return [(model.start, model.end)]
        if self._region == "transcript":
            return model.exons
        start, end = (model.exons[0][0], model.exons[-1][1]) if model.exons else (model.start, model.end)
        start, end = promoter_span(start, end, model.strand, self._upstream, self._downstream)
        return [(max(start, 1), min(end, length))]


def _plain(name: str) -> str:
    """A chromosome's name as Ensembl writes it: ``chr1`` is ``1``, ``chrM`` is ``MT``."""
    name = name.removeprefix("chr")
    return "MT" if name == "M" else name


def _open(fasta: Path) -> Fasta:
    """The FASTA with its index, which is made where there is none that fits: beside it, else in the user's cache."""
    from pyfaidx import Faidx, Fasta, FastaIndexingError

    _check(fasta)
    places = tuple(_places(fasta))
    for index in places:
        if genome := _current(fasta, index):
            return genome
    log.info("indexing '%s', once", fasta)
    for index in places:
        try:
            write_beside(index, lambda part: Faidx(fasta, indexname=part))
            return Fasta(fasta, indexname=index, as_raw=True)
        except OSError as error:
            log.info("no index can be written to '%s': %s", index, error)
        except (FastaIndexingError, ValueError, RuntimeError) as error:  # a name stands twice, no text, odd lines
            raise DataError(
                f"'{fasta}' cannot be indexed: {' '.join(str(error).split())}; expected a FASTA file: '>name' lines, "
                "each name once, and lines of equal length"
            ) from error
    raise DataError(
        f"the index of '{fasta}' can be written neither beside it nor to '{places[-1].parent}'; make one of both "
        "folders writable, or set GRAPE_DGL_DATA to one that is"
    )


def _places(fasta: Path) -> Iterator[Path]:
    """Where the index may be: beside the FASTA, or in the user's cache by the path of the FASTA."""
    yield fasta.with_name(f"{fasta.name}.fai")
    yield default_cache() / "genomes" / f"{hashlib.sha256(bytes(fasta.resolve())).hexdigest()[:16]}-{fasta.name}.fai"


def _check(fasta: Path) -> None:
    try:
        with fasta.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise DataError(f"cannot read '{fasta}': {error.strerror or error}") from error
    if not start:
        raise DataError(f"'{fasta}' is empty; expected the FASTA file of a genome")
    if start == GZIP:
        raise DataError(
            f"'{fasta}' is compressed (gzip or bgzip), but genes are read from the middle of a genome; "
            f"unpack it: gunzip --keep '{fasta}'"
        )


def _current(fasta: Path, index: Path) -> Fasta | None:
    """The FASTA with that index if it fits: it is not older, and sequences end where it says they do."""
    from pyfaidx import Fasta

    try:
        if index.stat().st_mtime < fasta.stat().st_mtime:
            return None
        genome = Fasta(fasta, indexname=index, as_raw=True)
        ends = [record.bend for record in genome.faidx.index.values()]
        with fasta.open("rb") as file:
            for end in ends:
                file.seek(end)
                if file.read(99).lstrip()[:1] not in (b">", b""):
                    return None
        return genome if max(ends) <= fasta.stat().st_size + 2 else None  # the last line may lack its line end
    except (OSError, ValueError):  # there is none, or it is damaged
        return None
