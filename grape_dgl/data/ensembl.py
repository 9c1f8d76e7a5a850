"""Genes of human, mouse or another species by the Ensembl REST service: descriptions, biotypes and sequences."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from grape_dgl.data.annotation_files import Source
from grape_dgl.data.ensembl_cache import FILE, Cache
from grape_dgl.data.regions import Region, check_promoter, region_note
from grape_dgl.errors import ConfigError, DownloadError, did_you_mean

if TYPE_CHECKING:
    from grape_dgl.data.ensembl_questions import Answers
    from grape_dgl.data.ensembl_search import Gene, Search

log = logging.getLogger("grape_dgl")

URL = "https://rest.ensembl.org"
SPECIES = {"human": "homo_sapiens", "mouse": "mus_musculus"}

_NAME = re.compile("[a-z0-9]+(_[a-z0-9]+)+")
_LISTED = 10


class Ensembl:
    """Descriptions, biotypes and sequences of the genes of one species from the Ensembl REST service.

    Args:
        species: ``human``, ``mouse``, or a name as Ensembl writes it, such as ``rattus_norvegicus``.
        region: whose DNA to ask for: the ``gene`` from end to end, the cDNA of its canonical ``transcript``, or its
            ``promoter``; None for no sequences.
        upstream: bases of the promoter before the transcription start.
        downstream: bases of the promoter from the transcription start on.
        cache: folder of ``ensembl.sqlite``, which keeps every answer; None keeps nothing.
        url: the server, by TLS unless it is this machine.
        offline: use the newest release in the cache and never the network.
    Raises ConfigError for a setting out of range.
    """

    def __init__(
        self,
        species: str = "human",
        *,
        region: Region | None = None,
        upstream: int = 1000,
        downstream: int = 100,
        cache: Path | None,
        url: str = URL,
        offline: bool = False,
    ) -> None:
        self.species = SPECIES.get(species, species)
        """As Ensembl writes it."""
        self.release: int | None = None
        """The release that the last look_up used."""
        self._region, self._upstream, self._downstream = region, upstream, downstream
        self._dna = {} if region is None else region_note(region, upstream, downstream)
        self._folder, self._url, self._offline = cache, url.rstrip("/"), offline
        if not _NAME.fullmatch(self.species):
            raise ConfigError(
                f"species is '{species}'; expected human, mouse or a name of Ensembl such as rattus_norvegicus"
                + did_you_mean(species, SPECIES)
            )
        if region not in (None, *get_args(Region)):
            raise ConfigError(f"region is '{region}'; expected one of {', '.join(get_args(Region))}, or None")
        check_promoter(upstream, downstream)
        try:
            parts = urlsplit(self._url)
            self._server = parts.hostname or ""
            local = parts.port != 0 and self._server in ("localhost", "127.0.0.1", "::1")
            if not self._server or parts.scheme not in (("http", "https") if local else ("https",)):
                raise ValueError("no https")
        except ValueError as error:  # also of urlsplit, and of a port that is no number
            raise ConfigError(f"the address of Ensembl is '{url}'; expected https://..., such as {URL}") from error

    @property
    def origin(self) -> dict[str, Any]:
        """Server, species, release of the last look_up, and which DNA."""
        return {"server": self._server, "species": self.species, "release": self.release, **self._dna}

    def look_up(self, symbols: Sequence[str], ensembl: Sequence[str]) -> Source:
        """What Ensembl says about genes, found by the names asked for and by the names Ensembl has for them.

        Args:
            symbols: [genes] names; an Ensembl id among them is taken for one.
            ensembl: [genes] Ensembl ids with or without version, "" unknown.
        An id counts before a symbol. Logs how many genes were found, and names those that were not. Raises
        DownloadError where the service or, offline, the cache does not answer.
        """
        from grape_dgl.data.ensembl_questions import Answers
        from grape_dgl.data.ensembl_search import Search
        from grape_dgl.data.ensembl_service import Service

        if self._offline and (self._folder is None or not (self._folder / FILE).is_file()):
            raise DownloadError(self._nothing_cached())
        with ExitStack() as stack:
            cache = stack.enter_context(closing(Cache(self._folder, self._server, self.species)))
            service = None if self._offline else stack.enter_context(closing(Service(self._url)))
            try:
                self.release = cache.newest() if service is None else _newest(service.ask("info/data"), self._url)
                if self.release is None:
                    raise DownloadError(self._nothing_cached())
                answers = Answers(cache, service, self.species, self.release)
                search = Search(answers, self.species, symbols, ensembl)
                sequences = self._sequences(answers, search.found)
            except DownloadError as error:
                if service is None:
                    raise
                kept = f"what was fetched is kept in '{cache.path}': run it again to go on from there"
                raise DownloadError(f"{error}; {kept if cache.path else 'try again later'}") from error
        self._report(search, sequences)
        return search.source(sequences)

    def _sequences(self, answers: Answers, found: Mapping[int, Gene]) -> dict[int, str]:
        """Position of a gene -> its sequence, where Ensembl has one."""
        if self._region is None:
            return {}
        names = {position: self._named(gene) for position, gene in found.items()}
        known = answers.to(self._region, filter(None, names.values()))
        return {position: known[name] for position, name in names.items() if known.get(name)}

    def _named(self, gene: Gene) -> str:
        """What the sequence of a gene is asked for by."""
        if self._region == "promoter":
            return gene.promoter(self._upstream, self._downstream)
        return gene.id if self._region == "gene" else gene.transcript

    def _report(self, search: Search, sequences: Mapping[int, str]) -> None:
        log.info(
            "Ensembl release %s, %s: %d of %d genes found%s", self.release, self.species, len(search.found),
            len(search.tried), f", {len(sequences)} with a sequence ({self._region})" if self._region else "",
        )  # fmt: skip
        missing = set(range(len(search.tried))) - search.found.keys()
        _warn("Ensembl does not know", search, missing - search.unasked)
        _warn("offline, and the cache does not say whether Ensembl knows", search, missing & search.unasked)

    def _nothing_cached(self) -> str:
        return (
            f"no answers of {self._server} about {self.species} are in the cache folder '{self._folder}' and --offline "
            "forbids to ask; look the genes up once with a network, or describe them by a table"
        )


def _newest(answer: Any, url: str) -> int:
    """The release of a service, from the answer to ``info/data``."""
    releases = answer.get("releases") if isinstance(answer, dict) else None
    numbers = (
        [one for one in releases if isinstance(one, int) and 0 < one < 10**9] if isinstance(releases, list) else []
    )
    if not numbers:
        raise DownloadError(f"{url} is no Ensembl REST service: it does not say which release it has")
    return max(numbers)


def _warn(what: str, search: Search, positions: Set[int]) -> None:
    """One warning that names the first genes and how they were looked up."""
    if positions:
        named = ", ".join(search.how(position) for position in sorted(positions)[:_LISTED])
        more = f" and {len(positions) - _LISTED} more" if len(positions) > _LISTED else ""
        log.warning("%s %d genes: %s%s", what, len(positions), named, more)
