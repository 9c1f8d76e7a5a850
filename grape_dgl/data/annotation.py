"""What the user's tables and FASTA files say about genes, joined to the genes of a screen by Ensembl id or symbol."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from grape_dgl.data.annotation_files import Record, Source, read_sequences, read_table, without_version
from grape_dgl.data.biotypes import group
from grape_dgl.data.embeddings import Embeddings
from grape_dgl.data.genes import Genes
from grape_dgl.data.genome import GenomeSequences
from grape_dgl.data.gtf import GeneModel, gtf_source, is_gtf, read_gtf
from grape_dgl.data.regions import Region
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError

log = logging.getLogger("grape_dgl")


class LookUp(Protocol):
    """Answers when it is known which genes are asked for: a genome's sequences, a server."""

    @property
    def origin(self) -> Mapping[str, Any]:
        """Where the answers are from, JSON-able; of a server, the release that the last of them were of."""
        ...

    def look_up(self, symbols: Sequence[str], ensembl: Sequence[str]) -> Source:
        """Records of these genes; ``ensembl`` is "" where the id is unknown."""
        ...


@dataclass(frozen=True, eq=False)
class Annotation:
    """Everything known about genes: description, biotype, Ensembl id, DNA sequence and vectors, from several places.

    A gene is found by its Ensembl id first, then by its symbol; of several sources the earlier wins, field by field,
    and what is looked up comes after what is there.
    """

    sources: tuple[Source, ...] = ()
    look_ups: tuple[LookUp, ...] = ()
    embeddings: tuple[Embeddings, ...] = ()

    @classmethod
    def from_files(
        cls,
        tables: Sequence[Path | str],
        sequences: Sequence[Path | str] = (),
        *,
        genome: Path | str | None = None,
        region: Region = "promoter",
        upstream: int = 1000,
        downstream: int = 100,
        embeddings: Mapping[str, Path | str] | None = None,
    ) -> Annotation:
        """Read what is known about genes from files, gzip or plain.

        Args:
            tables: TSV, CSV, GTF, or JSON {symbol: text}.
            sequences: FASTA, or ``NAME_1<TAB>sequence``.
            genome: FASTA of the assembly of the GTF among ``tables``, for sequences of genes.
            region, upstream, downstream: which DNA of a gene to take from ``genome``, see `GenomeSequences`.
            embeddings: name of a modality -> file of vectors, see `Embeddings.read`.
        Raises DataError that names file and line where a file is malformed.
        """
        sources: list[Source] = []
        models: list[GeneModel] = []
        for path in map(Path, tables):
            if is_gtf(path):
                genes = read_gtf(path, transcripts=genome is not None and region != "gene")
                sources.append(gtf_source(genes, f"annotation '{path}'"))
                models += genes
            else:
                sources.append(read_table(path))
        sources += [read_sequences(Path(path)) for path in sequences]
        if genome is not None and not models:
            raise DataError(f"the genome '{genome}' needs a GTF that says where genes are: give it as a table too")
        look_ups = [] if genome is None else [GenomeSequences(models, Path(genome), region, upstream, downstream)]
        vectors = tuple(Embeddings.read(Path(path), name) for name, path in (embeddings or {}).items())
        return cls(tuple(sources), tuple(look_ups), vectors)

    @classmethod
    def empty(cls) -> Annotation:
        """No annotation: symbols will serve as text."""
        return cls()

    @property
    def is_empty(self) -> bool:
        return not (self.sources or self.look_ups or self.embeddings)

    def looked_up(self, symbols: Sequence[str], ensembl: Sequence[str]) -> Annotation:
        """This annotation with what its look-ups answer for these genes."""
        if not self.look_ups:
            return self
        ids = [self._find(*gene).ensembl for gene in zip(symbols, ensembl, strict=True)]
        more = tuple(one.look_up(symbols, ids) for one in self.look_ups)
        return dataclasses.replace(self, sources=(*self.sources, *more), look_ups=())

    def names(self) -> dict[str, str]:
        """Every gene symbol and Ensembl id of every file -> the symbol (the id itself where it has none)."""
        found: dict[str, str] = {}
        for one in self.embeddings:
            found |= {name: name for name in (*one.by_ensembl, *one.by_symbol)}
        for source in self.sources:
            for ensembl, record in source.by_ensembl.items():
                if found.get(ensembl, ensembl) == ensembl:
                    found[ensembl] = record.symbol or ensembl
            found |= {symbol: symbol for symbol in source.by_symbol}
        return found

    def __contains__(self, name: object) -> bool:
        """Whether a symbol or an Ensembl id (with or without version) is known."""
        if not isinstance(name, str):
            return False
        known: tuple[Source | Embeddings, ...] = (*self.sources, *self.embeddings)
        return any(name in one.by_symbol or without_version(name) in one.by_ensembl for one in known)

    def describe(self, symbols: Sequence[str], ensembl: Sequence[str], measured: int) -> Genes:
        """Genes with what is known about them.

        Args:
            symbols: [genes] unique names, measured genes first.
            ensembl: [genes] Ensembl ids, "" unknown; ids known to the annotation are filled in.
            measured: number of genes with expression.
        Logs how many genes have each field and warns of biotypes that nobody knows. With an empty annotation the
        description is the symbol itself.
        """
        known = self.looked_up(symbols, ensembl)
        records = [known._find(*gene) for gene in zip(symbols, ensembl, strict=True)]
        if self.is_empty:
            log.warning("no annotation is given: gene symbols serve as text, and every gene counts as protein-coding")
        genes = Genes(
            symbol=np.array(symbols, dtype=object),
            ensembl=np.array([record.ensembl for record in records], dtype=object),
            biotype=np.array([record.biotype for record in records], dtype=object),
            description=np.array(
                symbols if self.is_empty else [record.description for record in records], dtype=object
            ),
            sequence=tuple(record.sequence for record in records),
            measured=measured,
            vectors=self._vectors(symbols, [record.ensembl for record in records]),
        )
        if measured:
            known._check_files(genes)
        if not self.is_empty:
            unknown = int((genes.biotype == "").sum())
            log.info(
                "annotation of %d genes: %d have a description, %d a sequence; %d are protein-coding and %d not, "
                "%d of unknown biotype count as protein-coding",
                len(genes),
                int((genes.description != "").sum()),
                sum(map(bool, genes.sequence)),
                int(genes.coding.sum()) - unknown,
                int((~genes.coding).sum()),
                unknown,
            )
        strange = Counter(biotype for biotype in genes.biotype if biotype and group(biotype) is None)
        if strange:
            names = ", ".join(f"'{biotype}' ({count})" for biotype, count in strange.most_common(5))
            log.warning(
                "%d genes count as non-coding because their biotype is not known: %s%s; "
                "expected names of Ensembl, GENCODE or NCBI, such as protein_coding and lncRNA",
                strange.total(),
                names,
                f" and {len(strange) - 5} more" if len(strange) > 5 else "",
            )
        return genes

    def _vectors(self, symbols: Sequence[str], ensembl: Sequence[str]) -> dict[str, Features]:
        found = {}
        for one in self.embeddings:
            values, present = one.rows(symbols, ensembl)
            found[one.name] = Features(values, present, one.source)
        return found

    def _check_files(self, genes: Genes) -> None:
        """Raise DataError for a file that knows none of the genes."""
        known: dict[str, Sequence[str]] = {}
        for place, source in enumerate(self.sources):
            pairs = zip(genes.symbol, genes.ensembl, strict=True)
            if source.file and not any(self._records(*pair)[1][place] for pair in pairs):
                known[source.file] = [*source.by_symbol, *source.by_ensembl]
        for one in self.embeddings:
            if not genes.vectors[one.name].present.any():
                known[f"embeddings '{one.name}'"] = [*one.by_symbol, *one.by_ensembl]
        for file, names in known.items():
            raise DataError(
                f"{file}: none of the {len(genes)} genes ({', '.join(genes.symbol[:3])}, ...) is in it; it has "
                f"{', '.join(names[:3]) or 'no genes'}; expected symbols or Ensembl ids of the same species"
            )

    def _find(self, symbol: str, ensembl: str) -> Record:
        """The fields of one gene, each from the first source that has it."""
        ensembl, records = self._records(symbol, ensembl)
        fields = ("biotype", "description", "sequence")
        known = {name: next((text for one in records if one and (text := getattr(one, name))), "") for name in fields}
        return Record(ensembl=ensembl, symbol=symbol, **known)

    def _records(self, symbol: str, ensembl: str) -> tuple[str, list[Record | None]]:
        """Ensembl id of a gene, and its record in each source."""
        ensembl = without_version(ensembl)
        if not ensembl:
            by_symbol = [source.by_symbol[symbol] for source in self.sources if symbol in source.by_symbol]
            ensembl = next((record.ensembl for record in by_symbol if record.ensembl), "")
        if not ensembl and any(without_version(symbol) in source.by_ensembl for source in self.sources):
            ensembl = without_version(symbol)
        same = [source.by_ensembl[ensembl] for source in self.sources if ensembl in source.by_ensembl]
        aliases = [record.symbol for record in same if record.symbol not in ("", symbol)]
        return ensembl, [_in(source, symbol, ensembl, aliases) for source in self.sources]


def _in(source: Source, symbol: str, ensembl: str, aliases: Sequence[str]) -> Record | None:
    """A gene's record in one source: by Ensembl id, symbol, else a symbol that another source has for the same id."""
    if record := source.by_ensembl.get(ensembl) or source.by_symbol.get(symbol):
        return record
    by_alias = (source.by_symbol[alias] for alias in aliases if alias in source.by_symbol)
    return next((record for record in by_alias if record.ensembl in ("", ensembl)), None)
