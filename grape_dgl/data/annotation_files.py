"""Readers of what is known about genes: tables (TSV, CSV), JSON texts, FASTA files and two-column sequence tables."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grape_dgl.data.text_files import reading
from grape_dgl.errors import DataError

log = logging.getLogger("grape_dgl")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ensembl": ("ensgene", "ensembl", "ensembl_id", "ensembl_gene_id", "gene_stable_id", "gene_id"),
    "symbol": ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "external_gene_name", "gene"),
    "biotype": ("biotype", "gene_biotype", "gene_type", "type_of_gene"),
    "description": ("description", "gene_description", "summary"),
    "chromosome": ("chr", "chromosome", "chrom", "chromosome_name", "chromosome_scaffold_name", "seqname"),
}
"""Field -> its column names in lower case with "_" between words, the preferred first."""
PRIMARY = {*map(str, range(1, 23)), "X", "Y", "M", "MT"}
"""Chromosomes; other names are alternative contigs and patches."""

ENSEMBL_GENE = re.compile(r"(ENS[A-Z]*G\d{11})(\.\d+)?(_PAR_Y)?")
SOURCE_NOTE = re.compile(r"\s*\[Source:[^\]]*\]\s*$")
_PROMOTER = re.compile(r"(.+)_(\d+)")
_QUOTED = re.compile(r'^"(.*)"$')
_NOT_DNA = re.compile("[^ACGTN]")
_NOT_IUPAC = re.compile("[^ACGTUNRYSWKMBDHV]")


def without_version(name: str) -> str:
    """An Ensembl gene id without version (``ENSG00000000003.15`` -> ``ENSG00000000003``); any other name unchanged."""
    found = ENSEMBL_GENE.fullmatch(name)
    return found.group(1) if found else name


@dataclass(frozen=True)
class Record:
    """What one row of one file says about a gene; "" where it says nothing."""

    ensembl: str = ""
    symbol: str = ""
    biotype: str = ""
    description: str = ""
    sequence: str = ""


@dataclass(frozen=True)
class Source:
    """The records of one file, found by Ensembl id or symbol; the first record of a name counts."""

    by_ensembl: Mapping[str, Record]
    by_symbol: Mapping[str, Record]
    file: str = ""
    """What it was read from, for messages: ``annotation 'genes.tsv'``."""

    @classmethod
    def of(cls, records: Iterable[Record], file: str = "") -> Source:
        by_ensembl: dict[str, Record] = {}
        by_symbol: dict[str, Record] = {}
        for record in records:
            by_ensembl.setdefault(record.ensembl, record)
            by_symbol.setdefault(record.symbol, record)
        by_ensembl.pop("", None)
        by_symbol.pop("", None)
        return cls(by_ensembl, by_symbol, file)


def read_table(path: Path) -> Source:
    """A TSV/CSV table or a JSON object {symbol: text}, gzip or plain.

    Rows on a primary chromosome come before others, so that a symbol which also stands on alternative contigs gets
    the gene of the reference. Raises DataError that names file and line.
    """
    text = _read(path, "the annotation")
    records = _json_records(path, text) if text.lstrip()[:1] in ("{", "[") else _table_records(path, text)
    source = Source.of(records, f"annotation '{path}'")
    log.info("%s: %d Ensembl ids and %d symbols", source.file, len(source.by_ensembl), len(source.by_symbol))
    return source


def read_sequences(path: Path) -> Source:
    """DNA by gene from a FASTA file or a two-column table (``NAME_1<TAB>sequence``), gzip or plain.

    The first word of a FASTA header names the gene: a symbol, an Ensembl id, or both (``ENSG00000136997|MYC``). In a
    table ``NAME_1`` is the first promoter of NAME; its further ones are left out and counted. Bases other than ACGT
    become N. Raises DataError that names file and line.
    """
    text = _read(path, "the sequences")
    records = list(_fasta_records(path, text) if text.lstrip()[:1] == ">" else _promoter_records(path, text))
    source = Source.of(records, f"sequences '{path}'")
    genes = len({record.ensembl or record.symbol for record in records})
    log.info("%s: %d genes; %d further sequences of these are left out", source.file, genes, len(records) - genes)
    return source


def _read(path: Path, what: str) -> str:
    with reading(path, what) as file:
        text = file.read().decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds zero bytes")
    if not text.strip():
        raise DataError(f"'{path}' is empty; expected a table of genes or sequences")
    return text


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    header = text[: text.find("\n")] if "\n" in text else text
    if "\t" in header:  # quotes are part of the text, except around a whole cell
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                cells = line.rstrip("\r").split("\t")
                yield number, [_QUOTED.sub(r"\1", cell) for cell in cells] if '"' in line else cells
        return
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"'{path}', line {reader.line_num}: not a CSV table: {error}") from error


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Field -> position of the column that holds it."""
    normal = [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in header]
    found = {field: normal.index(name) for field, names in COLUMNS.items() for name in names[::-1] if name in normal}
    if not {"ensembl", "symbol"} & set(found) or len(set(found) - {"chromosome"}) < 2:
        raise DataError(
            f"'{path}', line 1: the columns are {', '.join(header[:12]) or 'all empty'}; "
            "expected a gene column (such as symbol or ensgene) and biotype or description"
        )
    return found


def _table_records(path: Path, text: str) -> list[Record]:
    rows = _rows(path, text)
    _, header = next(rows, (1, []))
    columns = _columns(path, header)
    records, elsewhere = list[Record](), list[Record]()
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"'{path}', line {number}: {len(cells)} cells; expected {len(header)} as in the header")
        row = {field: cells[position].strip() for field, position in columns.items()}
        ensembl = without_version(row.get("ensembl", ""))
        record = Record(
            ensembl="" if ensembl.isdigit() else ensembl,  # NCBI's gene_id is a number
            symbol=row.get("symbol", ""),
            biotype=row.get("biotype", ""),
            description=SOURCE_NOTE.sub("", row.get("description", "")),
        )
        primary = row.get("chromosome", "1").removeprefix("chr") in PRIMARY
        (records if primary else elsewhere).append(record)
    return records + elsewhere


def _json_records(path: Path, text: str) -> Iterator[Record]:
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON that can be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise DataError(f"'{path}', line 1: JSON of a {type(document).__name__}; expected an object {{symbol: text}}")
    for name, value in document.items():
        if not isinstance(value, str):
            raise DataError(
                f"'{path}': the entry of '{name}' is a {type(value).__name__}; expected text about the gene"
            )
        named = without_version(name)
        key = {"ensembl": named} if ENSEMBL_GENE.fullmatch(named) else {"symbol": named}
        yield Record(**key, description=SOURCE_NOTE.sub("", value.strip()))


def _fasta_records(path: Path, text: str) -> Iterator[Record]:
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(">")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        name = lines[start][1:].split(maxsplit=1)[:1]
        sequence = "".join(_dna(path, number + 1, lines[number].strip()) for number in range(start + 1, stop))
        if not name or not sequence:
            missing = "sequence" if name else "gene name"
            raise DataError(f"'{path}', line {start + 1}: '{lines[start][:40]}' has no {missing}")
        yield _named(name[0], sequence)


def _promoter_records(path: Path, text: str) -> list[Record]:
    """In the order of the promoters' numbers: a table need not list a gene's first promoter first."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, sequence = map(str.strip, line.partition("\t"))
        if not name or not sequence:
            raise DataError(f"'{path}', line {number}: expected 'name<TAB>sequence', or a FASTA file ('>name' first)")
        promoter = _PROMOTER.fullmatch(name)
        rank, gene = (int(promoter.group(2)), promoter.group(1)) if promoter else (0, name)
        found.append((rank, _named(gene, _dna(path, number, sequence))))
    return [record for _, record in sorted(found, key=lambda item: item[0])]


def _named(name: str, sequence: str) -> Record:
    """A sequence by the name of its gene, which may hold both its names: ``ENSG00000136997.20|MYC``."""
    parts = [without_version(part) for part in name.split("|") if part]
    ensembl = next((part for part in parts if ENSEMBL_GENE.fullmatch(part)), "")
    return Record(ensembl=ensembl, symbol=next((part for part in parts if part != ensembl), ""), sequence=sequence)


def _dna(path: Path, number: int, line: str) -> str:
    bases = as_dna(line)
    if len(bases) < len(line):
        wrong = next(base for base in line if not as_dna(base))
        raise DataError(f"'{path}', line {number}: '{wrong}' is no DNA base; expected A, C, G, T or N")
    return bases


def as_dna(bases: str) -> str:
    """Upper-case ACGTN, "" where a letter is no base; U is T, other IUPAC codes are N."""
    bases = bases.upper()
    if not _NOT_DNA.search(bases):
        return bases
    return "" if _NOT_IUPAC.search(bases) else _NOT_DNA.sub("N", bases.replace("U", "T"))
