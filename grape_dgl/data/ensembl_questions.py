"""The kinds of question that the Ensembl REST service answers about genes, asked in batches, each name only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from grape_dgl.data.annotation_files import as_dna
from grape_dgl.data.ensembl_cache import Cache
from grape_dgl.data.ensembl_service import RETRIES, Refused, Service, rest
from grape_dgl.data.progress import bar
from grape_dgl.errors import DownloadError

_FIELDS = (
    *("id", "display_name", "description", "biotype", "object_type", "species"),
    *("seq_region_name", "start", "end", "strand", "canonical_transcript"),
)
"""What is kept of the answer about a gene."""


@dataclass(frozen=True)
class Question:
    """One kind of question. ``ask(service, species, names, again)`` gives the answers that settle a name.

    None settles it too: Ensembl does not know the name. A name that is left out is asked ``again``.
    """

    batch: int
    """Names per request, at most what the service allows (look-ups 1000, sequences 50)."""
    ask: Callable[[Service, str, Sequence[str], bool], Mapping[str, Any]]


def _ids(service: Service, species: str, names: Sequence[str], again: bool) -> dict[str, Any]:
    """Genes by Ensembl id; the service says null for an id it does not know."""
    answer = _dict(service.ask("lookup/id", {"ids": list(names)}))
    return {name: _gene(answer[name]) for name in names if name in answer}


def _symbols(service: Service, species: str, names: Sequence[str], again: bool) -> dict[str, Any]:
    """Genes by current symbol. The service leaves out those it does not know; where that is half of them, they are
    asked again."""
    answer = _dict(service.ask(f"lookup/symbol/{species}", {"symbols": list(names)}))
    found = {name: _gene(answer[name]) for name in names if name in answer}
    return found if 2 * len(found) <= len(names) and not again else {name: found.get(name) for name in names}


def _previous(service: Service, species: str, names: Sequence[str], again: bool) -> dict[str, Any]:
    """Ids of the genes that a previous symbol or synonym stands for."""
    (name,) = names
    try:
        answer = service.ask(f"xrefs/symbol/{species}/{quote(name, safe='')}?object_type=gene")
    except Refused as error:
        if "species" in str(error):
            raise
        return {name: None}
    if not isinstance(answer, list):
        return {}
    return {name: [str(entry["id"]) for entry in answer if isinstance(entry, dict) and "id" in entry] or None}


def _sequences(path: str, key: str, **settings: str) -> Callable[[Service, str, Sequence[str], bool], dict[str, Any]]:
    """DNA in upper-case ACGTN. The service leaves out what it does not know and refuses where that is all."""

    def ask(service: Service, species: str, names: Sequence[str], again: bool) -> dict[str, Any]:
        try:
            answer = service.ask(path.format(species=species), {key: list(names), **settings})
        except Refused as error:
            if error.status != 404:
                raise
            return dict.fromkeys(names)
        entries = [entry for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []
        found = {str(entry.get("query")): str(entry.get("seq")) for entry in entries}
        return {name: dna for name in names if (dna := as_dna(found.get(name, "")))}

    return ask


QUESTIONS: Mapping[str, Question] = {
    "id": Question(500, _ids),
    "symbol": Question(500, _symbols),
    "previous symbol": Question(1, _previous),
    "gene": Question(50, _sequences("sequence/id", "ids", type="genomic")),
    "transcript": Question(50, _sequences("sequence/id", "ids", type="cdna")),
    "promoter": Question(50, _sequences("sequence/region/{species}", "regions")),
}
"""Kind -> how it is asked. Names are ids, symbols, and for a promoter the region: ``X:1000000..1000100:-1``."""


class Answers:
    """Answers of one release about one species: from the cache, else from the service, batch by batch."""

    def __init__(self, cache: Cache, service: Service | None, species: str, release: int) -> None:
        self._cache, self._service, self._species, self._release = cache, service, species, release

    def to(self, kind: str, names: Iterable[str]) -> dict[str, Any]:
        """Name -> answer, None where Ensembl does not know the name; without a service only what is in the cache.

        Raises DownloadError; every batch before is in the cache.
        """
        names = list(dict.fromkeys(names))
        found = self._cache.find(self._release, kind, names)
        new = [name for name in names if name not in found]
        if self._service is None or not new:
            return found
        size = QUESTIONS[kind].batch
        with bar(f"Ensembl: {kind}", len(new)) as shown:
            for start in range(0, len(new), size):
                batch = new[start : start + size]
                found |= self._settle(self._service, kind, batch)
                shown.update(len(batch))
        return found

    def _settle(self, service: Service, kind: str, names: list[str]) -> dict[str, Any]:
        """Ask until each name has an answer, each time for the missing ones only."""
        found, missing = dict[str, Any](), names
        for attempt in range(RETRIES + 1):
            if attempt:
                rest(attempt)
            answers = QUESTIONS[kind].ask(service, self._species, missing, attempt > 0)
            self._cache.keep(self._release, kind, answers)
            found |= answers
            missing = [name for name in missing if name not in found]
            if not missing:
                return found
        raise DownloadError(
            f"{RETRIES + 1} answers of Ensembl leave out {len(missing)} of {len(names)} names ({kind}), "
            f"such as '{missing[0]}'"
        )


def _gene(answer: Any) -> dict[str, Any] | None:
    return {name: answer.get(name) for name in _FIELDS} if isinstance(answer, dict) else None


def _dict(answer: Any) -> dict[str, Any]:
    return answer if isinstance(answer, dict) else {}
