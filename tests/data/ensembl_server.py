"""A server on this machine that answers about a few genes as rest.ensembl.org does, and fails when told to.

Shapes after github.com/Ensembl/ensembl-rest: lib/EnsEMBL/REST/Controller/{Lookup,Sequence,Xrefs}.pm and t/*.t.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from data.server import serving

LIMITS = {"lookup": 1000, "sequence": 50}
"""Names that one POST may hold."""
_PAIR = str.maketrans("ACGTRYKM", "TGCAYRMK")


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests to a path that starts with ``path``."""

    kind: str
    path: str = ""
    times: int = 1


@dataclass
class EnsemblServer:
    """The state of the server; a test sets it and reads what was asked."""

    release: int = 115
    genes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id -> the answer of lookup/id."""
    synonyms: dict[str, list[str]] = field(default_factory=dict)
    genome: dict[str, str] = field(default_factory=dict)
    """Chromosome -> bases of its forward strand."""
    exons: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Transcript with version -> first and last base of each exon, 1-based; strand and chromosome are its gene's."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, list[str]]] = field(default_factory=list)
    """Path and names of every request, failed ones too."""
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(path, name) -> how often the client was given an answer."""
    headers: list[dict[str, str]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    """Set when a request of the fault "held" is there; it is answered never."""
    url: str = ""

    def gene(self, number: int, symbol: str | None, place: str = "1:1-10:1", prefix: str = "ENSG", **more: Any) -> str:
        """Add a gene at ``chromosome:start-end:strand``; its id."""
        chromosome, span, strand = place.split(":")
        start, end = map(int, span.split("-"))
        name = f"{prefix}{number:011d}"
        self.genes[name] = {
            "id": name, "version": 5, "object_type": "Gene", "db_type": "core", "species": "homo_sapiens",
            "biotype": "protein_coding", "source": "ensembl_havana", "logic_name": "ensembl_havana_gene_homo_sapiens",
            "assembly_name": "GRCh38", "seq_region_name": chromosome, "start": start, "end": end, "strand": int(strand),
            "description": f"gene number {number} [Source:HGNC Symbol;Acc:HGNC:{number}]",
            "canonical_transcript": f"{prefix[:-1]}T{number:011d}.2",
            **({"display_name": symbol} if symbol else {}), **more,
        }  # fmt: skip
        return name

    def count(self, path: str) -> list[int]:
        """Names in each request to a path."""
        return [len(names) for asked, names in self.requests if asked.startswith(path)]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        parts = path.split("/")
        names = next((body[key] for key in ("ids", "symbols", "regions") if key in body), [])
        if len(names) > LIMITS.get(parts[0], 0):
            return 400, {"error": f"POST message too large. You have submitted {len(names)} elements"}
        if path == "info/data":
            return 200, {"releases": [self.release]}
        if path == "lookup/id":
            return 200, {name: self._by_id(name) for name in names}
        if path.startswith("lookup/symbol/"):
            species = [gene for gene in self.genes.values() if gene["species"] == parts[2]]
            found = {gene["display_name"]: gene for gene in species[::-1] if "display_name" in gene}
            return 200, {name: found[name] for name in names if name in found}
        if path.startswith("xrefs/symbol/"):
            if parts[2] not in {gene["species"] for gene in self.genes.values()}:
                return 400, {"error": f"Can not find internal name for species '{parts[2]}'"}
            return 200, [{"id": gene, "type": "gene"} for gene in self.synonyms.get(unquote(parts[3]), [])]
        if parts[0] == "sequence":
            read = self._region if parts[1] == "region" else self._cdna if body.get("type") == "cdna" else self._genomic
            found = [{**read(name), "query": name, "molecule": "dna"} for name in names if read(name)]
            return (200, found) if found else (404, {"error": "No results found"})
        return 404, {"error": "page not found. Please check your uri and refer to our documentation"}

    def _by_id(self, name: str) -> dict[str, Any] | None:
        bare, _, version = name.partition(".")
        gene = self.genes.get(bare)
        return gene if gene and version in ("", str(gene["version"])) else None

    def _strand(self, chromosome: str, start: int, end: int, strand: int) -> str:
        bases = self.genome[chromosome][start - 1 : end]
        return bases if strand == 1 else bases[::-1].translate(_PAIR)

    def _region(self, name: str) -> dict[str, Any]:
        chromosome, span, strand = name.split(":")
        start, end = map(int, span.split(".."))
        if chromosome not in self.genome or start < 1:
            return {}
        end = min(end, len(self.genome[chromosome]))
        seq = self._strand(chromosome, start, end, int(strand))
        return {"id": f"chromosome:GRCh38:{chromosome}:{start}:{end}:{strand}", "seq": seq}

    def _genomic(self, name: str) -> dict[str, Any]:
        gene = self.genes.get(name)
        if gene is None or gene["seq_region_name"] not in self.genome:
            return {}
        place = gene["seq_region_name"], gene["start"], gene["end"], gene["strand"]
        return {"id": name, "version": gene["version"], "desc": "chromosome:GRCh38", "seq": self._strand(*place)}

    def _cdna(self, name: str) -> dict[str, Any]:
        gene = next((gene for gene in self.genes.values() if gene["canonical_transcript"] == name), None)
        if gene is None or name not in self.exons:
            return {}
        exons = sorted(self.exons[name], reverse=gene["strand"] == -1)
        seq = "".join(self._strand(gene["seq_region_name"], first, last, gene["strand"]) for first, last in exons)
        return {"id": name.partition(".")[0], "version": 2, "desc": None, "seq": seq}


@contextmanager
def running() -> Iterator[EnsemblServer]:
    """A server on a free port, stopped at the end."""
    state = EnsemblServer()
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept open, as Ensembl does
        wbufsize = -1  # an answer is one packet: no waiting for acknowledgements

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            path = urlsplit(self.path).path.strip("/")
            names = next((body[key] for key in ("ids", "symbols", "regions") if key in body), [])
            state.requests.append((path, names))
            state.headers.append(dict(self.headers))
            fault = next((fault for fault in state.faults if fault.times and path.startswith(fault.path)), Fault(""))
            fault.times -= 1
            status, answer = state.answer(path, body)
            if fault.kind == "half":
                kept = list(answer)[: len(answer) // 2]
                answer = {name: answer[name] for name in kept} if isinstance(answer, dict) else kept
            content = json.dumps(answer).encode()
            if fault.kind == "held":
                state.held.set()
                stopping.wait()
            if fault.kind in ("held", "closed"):
                self.close_connection = True
                return
            if fault.kind == "slow":
                time.sleep(0.05)
            if fault.kind == "html":
                content = b"<html>proxy</html>"
            if fault.kind == "cut":
                content = content[: len(content) // 2]
            if fault.kind.isdigit():
                status, content = int(fault.kind), b'{"error": "try later"}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 429:
                self.send_header("Retry-After", "0.0125")  # Ensembl sends fractions
            if status in (301, 302):
                self.send_header("Location", "http://elsewhere.example/")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if fault.kind == "short":  # fewer bytes than announced
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self.wfile.write(content)
            if fault.kind in ("", "slow"):
                state.answered.update((path, name) for name in names or [""])
            if fault.kind == "half":
                state.answered.update((path, name if isinstance(name, str) else name["query"]) for name in kept)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as state.url:
        try:
            yield state
        finally:
            stopping.set()
