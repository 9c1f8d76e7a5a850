"""Which gene of Ensembl a name stands for: by id, id without version, symbol, previous symbol, in this order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grape_dgl.data.annotation_files import ENSEMBL_GENE, PRIMARY, SOURCE_NOTE, Record, Source, without_version
from grape_dgl.data.ensembl_questions import Answers
from grape_dgl.data.regions import promoter_span


@dataclass(frozen=True)
class Gene:
    """A gene as look-ups answer it; "" unknown."""

    id: str
    symbol: str
    biotype: str
    description: str
    transcript: str
    """The canonical one, with version."""
    chromosome: str
    start: int
    end: int
    strand: int
    """1 or -1; 0 where the place on the chromosome is unknown."""

    @classmethod
    def of(cls, answer: Any, species: str) -> Gene | str:
        """The gene of an answer, or why it is none: "" where there is no answer."""
        if not isinstance(answer, dict):
            return ""
        if answer.get("species") != species or answer.get("object_type") != "Gene":
            return f" of a {answer.get('object_type')} of {answer.get('species')}"
        place = [number for key in ("start", "end", "strand") if isinstance(number := answer.get(key), int)]
        start, end, strand = place if len(place) == 3 else (0, 0, 0)
        return cls(
            id=str(answer.get("id") or ""),
            symbol=str(answer.get("display_name") or ""),
            biotype=str(answer.get("biotype") or ""),
            description=SOURCE_NOTE.sub("", str(answer.get("description") or "")),
            transcript=str(answer.get("canonical_transcript") or ""),
            chromosome=str(answer.get("seq_region_name") or ""),
            start=start,
            end=end,
            strand=strand,
        )

    def promoter(self, upstream: int, downstream: int) -> str:
        """Its region on its strand: ``upstream`` bases before the transcription start and ``downstream`` from it on."""
        if self.strand not in (1, -1):
            return ""
        first, last = promoter_span(self.start, self.end, self.strand, upstream, downstream)
        return f"{self.chromosome}:{max(first, 1)}..{last}:{self.strand}"


class Search:
    """The genes of a list of names, as far as the answers go."""

    def __init__(self, answers: Answers, species: str, symbols: Sequence[str], ensembl: Sequence[str]) -> None:
        self._answers, self._species, self._symbols = answers, species, symbols
        self._ids = [
            gene or (symbol if ENSEMBL_GENE.fullmatch(symbol) else "")
            for symbol, gene in zip(symbols, ensembl, strict=True)
        ]
        self.found: dict[int, Gene] = {}
        """Position of a gene -> what Ensembl says."""
        self.tried: list[dict[str, list[str]]] = [{} for _ in symbols]
        """[genes] name -> how it was looked up."""
        self.unasked: set[int] = set()
        """Positions of genes of which a name is not in the cache and could not be asked."""
        words = ["" if ENSEMBL_GENE.fullmatch(symbol) else symbol for symbol in symbols]
        bare = ["" if without_version(name) == name else without_version(name) for name in self._ids]
        self._try("id", self._ids, self._ids)
        self._try("id without version", bare, self._ids)
        self._try("symbol", words, words)
        self._try("previous symbol", words, words)

    def _try(self, how: str, names: Sequence[str], shown: Sequence[str]) -> None:
        """Look up the genes not found so far; an empty name is not tried."""
        todo = [position for position, name in enumerate(names) if name and position not in self.found]
        asked = [names[position] for position in todo]
        answers = self._previous(asked) if how == "previous symbol" else self._genes(how.split()[0], asked)
        for position in todo:
            answer = answers.get(names[position], "")
            if isinstance(answer, Gene):
                self.found[position] = answer
                continue
            self.tried[position].setdefault(shown[position], []).append(how + answer)
            if names[position] not in answers:
                self.unasked.add(position)

    def _genes(self, kind: str, names: Iterable[str]) -> dict[str, Gene | str]:
        """Name -> gene, or why it is none: "" where Ensembl does not know it."""
        return {name: Gene.of(answer, self._species) for name, answer in self._answers.to(kind, names).items()}

    def _previous(self, names: Sequence[str]) -> dict[str, Gene | str]:
        """The same for previous symbols and synonyms, which may stand for several genes: then for none of them."""
        ids = {name: answer or [] for name, answer in self._answers.to("previous symbol", names).items()}
        genes = self._genes("id", (gene for several in ids.values() for gene in several))
        return {
            name: _one([gene for gene in (genes[other] for other in several) if isinstance(gene, Gene)], name)
            for name, several in ids.items()
            if genes.keys() >= set(several)
        }

    def source(self, sequences: Mapping[int, str]) -> Source:
        """Records by the names asked for, then by those that Ensembl has; ``sequences`` by position."""
        by_ensembl, by_symbol = dict[str, Record](), dict[str, Record]()
        records = {
            position: Record(gene.id, gene.symbol, gene.biotype, gene.description, sequences.get(position, ""))
            for position, gene in self.found.items()
        }
        for position, record in records.items():
            by_ensembl.setdefault(record.ensembl, record)
            by_symbol.setdefault(self._symbols[position], record)
        for position, record in records.items():
            by_ensembl.setdefault(without_version(self._ids[position]), record)
            by_symbol.setdefault(record.symbol, record)
        by_ensembl.pop("", None)
        by_symbol.pop("", None)
        return Source(by_ensembl, by_symbol)

    def how(self, position: int) -> str:
        """The names of a gene and how they were looked up: ``MLL (symbol, previous symbol)``."""
        return " ".join(f"{name} ({', '.join(ways)})" for name, ways in self.tried[position].items())


def _one(genes: Sequence[Gene], name: str) -> Gene | str:
    """The gene whose symbol ``name`` is, else the only one; copies on alternative contigs come last."""
    genes = [gene for gene in genes if gene.symbol == name] or genes
    genes = [gene for gene in genes if gene.chromosome in PRIMARY] or genes
    symbols = sorted({gene.symbol or gene.id for gene in genes})
    return genes[0] if len(symbols) == 1 else f" of {', '.join(symbols)}" if symbols else ""
