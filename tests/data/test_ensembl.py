"""The Ensembl client against a server on this machine that answers, and fails, as rest.ensembl.org does."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ensembl_server import EnsemblServer, Fault, running

from grape_dgl.data import ensembl_cache, ensembl_service
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.annotation_files import Source
from grape_dgl.data.ensembl import Ensembl
from grape_dgl.errors import ConfigError, DownloadError

#        1234567890123456789012345678901234567890
FIRST = "AAAACCCCGGGGTTTTACGTRYACATTTGGGCCCAAATAT"
PLUS, MINUS, EDGE, GONE = (f"ENSG{number:011d}" for number in (1, 2, 3, 99))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensembl_service, "BACKOFF", 0.001)
    monkeypatch.setattr(ensembl_service, "RATE", 1e6)


@pytest.fixture
def server() -> Iterator[EnsemblServer]:
    with running() as state:
        state.genome["1"] = FIRST
        state.gene(1, "PLUS", "1:13-24:1")
        state.gene(2, "MINUS", "1:5-20:-1", biotype="lncRNA")
        state.gene(3, "EDGE", "1:3-8:1", description=None)
        state.exons = {"ENST00000000001.2": [(13, 16), (21, 24)], "ENST00000000002.2": [(5, 8), (17, 20)]}
        state.synonyms = {"OLD": [PLUS], "PLUS": [PLUS]}
        yield state


def many(server: EnsemblServer, genes: int) -> tuple[list[str], list[str]]:
    """Symbols and ids of new genes of 10 bases."""
    symbols = [f"M{number}" for number in range(genes)]
    return symbols, [server.gene(1000 + number, symbol, "1:21-30:1") for number, symbol in enumerate(symbols)]


def client(server: EnsemblServer, cache: Path | None = None, **settings: Any) -> Ensembl:
    return Ensembl(cache=cache, url=server.url, **settings)


def test_genes_are_found_by_every_name(server: EnsemblServer, caplog: pytest.LogCaptureFixture) -> None:
    """Each gene by another of its names; the gene table then knows them by symbol and by id."""
    caplog.set_level(logging.INFO, "grape_dgl")
    ensembl = client(server, None)
    symbols, ids = ["PLUS", "x", "OLD", EDGE, "y"], [GONE, f"{MINUS}.5", "", "", f"{EDGE}.1"]
    source = ensembl.look_up(symbols, ids)
    assert ensembl.release == 115
    assert source.by_symbol.keys() == {"PLUS", "x", "MINUS", "OLD", EDGE, "y", "EDGE"}
    assert source.by_ensembl.keys() == {PLUS, GONE, MINUS, EDGE} and source.by_ensembl[GONE].ensembl == PLUS
    assert source.by_symbol["OLD"] is not None and source.by_symbol["OLD"] == source.by_symbol["PLUS"]
    record = source.by_symbol["x"]
    assert (record.ensembl, record.symbol, record.biotype, record.description, record.sequence) == (
        MINUS, "MINUS", "lncRNA", "gene number 2", "",
    )  # fmt: skip
    assert source.by_symbol["y"].ensembl == EDGE and source.by_symbol["y"].description == ""
    genes = Annotation((source,)).describe(["OLD", "x"], ["", MINUS], 2)
    assert genes.ensembl.tolist() == [PLUS, MINUS] and genes.text() == ["OLD: gene number 1", "x: gene number 2"]
    assert "Ensembl release 115, homo_sapiens: 5 of 5 genes found" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Bases 13-24 of FIRST; 5-20 reversed; 3-8. Exons 13-16 + 21-24; 20-17 + 8-5 reversed. R and Y become N.
# Promoters of 4 + 3 bases: 9-15; the start on the reverse strand is base 20: 18-24 reversed; 1-5, for 3 - 4 < 1.
@pytest.mark.parametrize(
    ("region", "sequences"),
    [
        ("gene", ["TTTTACGTNNAC", "ACGTAAAACCCCGGGG", "AACCCC"]),
        ("transcript", ["TTTTNNAC", "ACGTGGGG", ""]),
        ("promoter", ["GGGGTTT", "GTNNACG", "AAAAC"]),
    ],
)
def test_sequences_are_read_on_the_strand_of_the_gene(
    server: EnsemblServer, caplog: pytest.LogCaptureFixture, region: Any, sequences: list[str]
) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    source = client(server, None, region=region, upstream=4, downstream=3).look_up(["a", "b", "c"], [PLUS, MINUS, EDGE])
    assert [source.by_ensembl[gene].sequence for gene in (PLUS, MINUS, EDGE)] == sequences
    assert f"3 of 3 genes found, {sum(map(bool, sequences))} with a sequence ({region})" in caplog.text


PATHS = ["info/data", "lookup/id", "lookup/symbol", "xrefs", "sequence"]


@pytest.mark.parametrize("kind", ["429", "500", "cut", "short", "closed", "slow", "half"])
def test_a_fault_costs_one_request_and_changes_nothing(
    server: EnsemblServer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fault of each path, in the same run; no request passes by the limit of requests per second."""
    passed: list[None] = []
    monkeypatch.setattr(ensembl_service._Pace, "wait", lambda pace: passed.append(None))
    paths = [path for path in PATHS if kind != "half" or path not in ("info/data", "xrefs")]
    names = ["PLUS", "MINUS", "OLD", "c"], ["", "", "", EDGE]
    expected = client(server, None, region="gene").look_up(*names)
    usual = len(server.requests)
    server.requests.clear()
    server.answered.clear()
    server.faults = [Fault(kind, path) for path in paths]
    assert client(server, tmp_path, region="gene").look_up(*names) == expected
    assert len(passed) - usual == len(server.requests) == usual + (0 if kind == "slow" else len(paths))
    assert set(server.answered.values()) == {1}
    server.requests.clear()
    assert client(server, tmp_path, region="gene").look_up(*names) == expected
    assert server.requests == [("info/data", [])]


def test_batches_keep_the_limits_and_nothing_is_asked_twice(server: EnsemblServer, tmp_path: Path) -> None:
    symbols, ids = many(server, 1100)
    source = client(server, tmp_path, region="promoter").look_up([*symbols, *symbols[-3:]], ids[:600] + [""] * 503)
    assert len(source.by_symbol) == 1100 and set(server.answered.values()) == {1}
    assert server.count("lookup/id") == [500, 100] and server.count("lookup/symbol") == [500]
    assert server.count("sequence") == [1]  # they all start at the same base
    sent = server.headers[-1]
    assert sent["Content-Type"] == sent["Accept"] == "application/json" and sent["User-Agent"].startswith("grape-dgl/")


def test_genes_without_a_sequence_are_asked_once(server: EnsemblServer, tmp_path: Path) -> None:
    nowhere = [server.gene(50 + number, None, "HSCHR6_ALT:1-10:1") for number in range(2)]
    for _ in range(2):
        source = client(server, tmp_path, region="gene").look_up(["a", "b", "c"], [PLUS, *nowhere])
        assert [bool(source.by_ensembl[gene].sequence) for gene in (PLUS, *nowhere)] == [True, False, False]
    assert server.count("sequence") == [3, 2]


@pytest.mark.parametrize("kind", ["cut", "html", "closed", "half", "500", "429"])
def test_a_lasting_fault_ends_in_one_line_and_a_rerun_goes_on(server: EnsemblServer, tmp_path: Path, kind: str) -> None:
    """The second of three batches of sequences fails for ever: the look-ups and the first batch are not asked again."""
    symbols, ids = many(server, 120)
    server.faults = [Fault("", "sequence"), Fault(kind, "sequence", times=-1)]
    with pytest.raises(DownloadError, match="what was fetched is kept in '.*ensembl.sqlite': run it again") as error:
        client(server, tmp_path, region="gene").look_up(symbols, ids)
    assert "\n" not in str(error.value) and len(server.requests) < 12
    assert {"500": "answers 500", "429": "answers 429", "half": "leave out 1 of 50", "closed": "cannot be reached"}.get(
        kind, "7 damaged answers"
    ) in str(error.value)
    server.faults = []
    source = client(server, tmp_path, region="gene").look_up(symbols, ids)
    assert [source.by_ensembl[gene].sequence for gene in ids] == ["NNACATTTGG"] * 120
    assert {count for (path, _), count in server.answered.items() if path != "info/data"} == {1}


def test_a_new_release_is_asked_anew(server: EnsemblServer, tmp_path: Path) -> None:
    ensembl = client(server, tmp_path)
    ensembl.look_up(["PLUS", "NEW"], ["", ""])
    server.release = 116
    server.gene(7, "NEW")
    assert "NEW" in ensembl.look_up(["PLUS", "NEW"], ["", ""]).by_symbol and ensembl.release == 116
    server.release = 115
    assert "NEW" not in ensembl.look_up(["PLUS", "NEW"], ["", ""]).by_symbol and ensembl.release == 115
    assert server.count("lookup/symbol") == [2, 1, 2]


def test_genes_not_found_are_named_with_what_was_tried(server: EnsemblServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    mouse = server.gene(4, "Plus", prefix="ENSMUSG", species="mus_musculus")
    transcript = server.gene(5, "PLUS-201", object_type="Transcript")
    server.synonyms["SHARED"] = [PLUS, MINUS]
    symbols = ["NO/1 %?", f"{GONE}.1", "b", "SHARED", "Plus", "t", *(f"X{number}" for number in range(6))]
    ids = ["", "", f"{GONE}.1", "", mouse, transcript, *[""] * 6]
    assert not client(server).look_up(symbols, ids).by_symbol
    info, warning = (record.getMessage() for record in caplog.records)
    assert info == "Ensembl release 115, homo_sapiens: 0 of 12 genes found"
    assert warning == (
        "Ensembl does not know 12 genes: NO/1 %? (symbol, previous symbol), "
        f"{GONE}.1 (id, id without version), {GONE}.1 (id, id without version) b (symbol, previous symbol), "
        "SHARED (symbol, previous symbol of MINUS, PLUS), "
        f"{mouse} (id of a Gene of mus_musculus) Plus (symbol, previous symbol), "
        f"{transcript} (id of a Transcript of homo_sapiens) t (symbol, previous symbol), "
        + ", ".join(f"X{number} (symbol, previous symbol)" for number in range(4)) + " and 2 more"
    )  # fmt: skip
    assert ("xrefs/symbol/homo_sapiens/NO%2F1%20%25%3F", []) in server.requests


def test_a_previous_symbol_means_the_gene_on_the_chromosome(server: EnsemblServer) -> None:
    """Copies on alternative contigs, locus reference genomic records and further synonyms do not confuse."""
    copy = server.gene(8, "PLUS", "HSCHR1_ALT:13-24:1")
    server.genes["LRG_1"] = {**server.genes[PLUS], "id": "LRG_1", "display_name": "LRG_1", "seq_region_name": "LRG_1"}
    server.synonyms |= {"OLD": ["LRG_1", copy, PLUS], "MINUS": [PLUS, MINUS], "SAME": [copy, copy]}
    server.genes[MINUS]["display_name"] = "minus"  # lookup/symbol does not find it
    source = client(server).look_up(["OLD", "SAME"], ["", ""])
    assert source.by_symbol["OLD"].ensembl == PLUS and source.by_symbol["SAME"].ensembl == copy
    server.genes[MINUS]["display_name"] = "MINUS"
    server.faults = [Fault("half", "lookup/symbol", times=2)]  # leaves the only symbol out twice
    assert client(server).look_up(["MINUS"], [""]).by_symbol["MINUS"].ensembl == MINUS


def test_mouse_and_other_species(server: EnsemblServer, tmp_path: Path) -> None:
    """The same symbol in two species, in one cache."""
    mouse = server.gene(4, "PLUS", "2:3-6:-1", prefix="ENSMUSG", species="mus_musculus")
    rat = server.gene(4, "PLUS", "2:3-6:1", prefix="ENSRNOG", species="rattus_norvegicus")
    server.genome["2"] = "TTACGGTT"
    for species, gene, sequence in (
        ("mouse", mouse, "CCGT"), ("rattus_norvegicus", rat, "ACGG"), ("human", PLUS, "TTTTACGTNNAC"),
    ):  # fmt: skip
        record = client(server, tmp_path, species=species, region="gene").look_up(["PLUS"], [""]).by_symbol["PLUS"]
        assert (record.ensembl, record.sequence) == (gene, sequence)
    with pytest.raises(DownloadError, match="Can not find internal name for species 'homo_sapien'"):
        client(server, species="homo_sapien").look_up(["PLUS"], [""])


def test_offline_only_the_cache_is_used(
    server: EnsemblServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for release in (114, 115):
        server.release = release
        expected = client(server, tmp_path, region="gene").look_up(["PLUS", "OLD", "GONE"], ["", "", ""])
    server.requests.clear()
    caplog.clear()
    caplog.set_level(logging.INFO, "grape_dgl")
    ensembl = client(server, tmp_path, region="gene", offline=True)
    assert ensembl.look_up(["PLUS", "OLD", "GONE"], ["", "", ""]) == expected and ensembl.release == 115
    assert ensembl.look_up(["OLD", "NEW", "GONE"], ["", MINUS, GONE]).by_symbol.keys() == {"OLD", "PLUS"}
    assert server.requests == []
    assert [record.getMessage() for record in caplog.records][1:] == [
        "Ensembl does not know 1 genes: GONE (symbol, previous symbol)",
        "Ensembl release 115, homo_sapiens: 1 of 3 genes found, 1 with a sequence (gene)",
        "offline, and the cache does not say whether Ensembl knows 2 genes: "
        f"{MINUS} (id) NEW (symbol, previous symbol), {GONE} (id) GONE (symbol, previous symbol)",
    ]


def test_offline_without_a_cache(server: EnsemblServer, tmp_path: Path) -> None:
    client(server, tmp_path / "human").look_up(["PLUS"], [""])
    for folder, species in ((None, "human"), (tmp_path / "none", "human"), (tmp_path / "human", "mouse")):
        with pytest.raises(DownloadError, match="look the genes up once with a network"):
            client(server, folder, species=species, offline=True).look_up(["PLUS"], [""])
    assert [path.name for path in tmp_path.iterdir()] == ["human"]


HELD = """
import sys
from pathlib import Path
from grape_dgl.data import ensembl_service
from grape_dgl.data.ensembl import Ensembl
ensembl_service.RATE = 1e6
names = sys.argv[3].split(",")
Ensembl(region="gene", cache=Path(sys.argv[1]), url=sys.argv[2]).look_up(names, names)
"""


@pytest.mark.parametrize(("path", "before"), [("lookup", 0), ("sequence", 0), ("sequence", 1), ("sequence", 2)])
def test_a_killed_run_goes_on_where_it_was(server: EnsemblServer, tmp_path: Path, path: str, before: int) -> None:
    """SIGKILL while a request is on its way; afterwards only what that request asked is asked again."""
    _, ids = many(server, 120)
    expected = client(server, None, region="gene").look_up(ids, ids)
    server.answered.clear()
    server.faults = [Fault("", path, before), Fault("held", path)]
    command = [sys.executable, "-c", HELD, str(tmp_path), server.url, ",".join(ids)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE) as process:
        assert server.held.wait(60)
        process.send_signal(signal.SIGKILL)
    assert client(server, tmp_path, region="gene").look_up(ids, ids) == expected
    assert server.answered.pop(("info/data", "")) == 2 and set(server.answered.values()) == {1}


def test_two_runs_share_a_cache(server: EnsemblServer, tmp_path: Path) -> None:
    symbols, ids = many(server, 200)
    sources: list[Source] = []
    runs = [
        threading.Thread(target=lambda: sources.append(client(server, tmp_path, region="gene").look_up(symbols, ids)))
        for _ in range(3)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sources[0] == sources[1] == sources[2] == client(server, tmp_path, region="gene").look_up(symbols, ids)


@pytest.mark.parametrize("damage", ["noise", "page", "answer", "table"])
def test_a_damaged_cache_is_set_aside(
    server: EnsemblServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    expected = client(server, tmp_path).look_up(["PLUS"], [""])
    path = tmp_path / "ensembl.sqlite"
    if damage in ("noise", "page"):
        content = bytearray(path.read_bytes())
        start = 0 if damage == "noise" else 4096
        content[start : start + 4096] = b"!" * 4096
        path.write_bytes(content)
    else:
        statement = "UPDATE answers SET answer = 'x'" if damage == "answer" else "ALTER TABLE answers RENAME kind TO k"
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)
    assert client(server, tmp_path).look_up(["PLUS"], [""]) == expected
    assert "is damaged" in caplog.text and (tmp_path / "ensembl.sqlite.damaged").exists()
    caplog.clear()
    server.requests.clear()
    assert client(server, tmp_path).look_up(["PLUS"], [""]) == expected
    assert server.requests == [("info/data", [])] and "damaged" not in caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(
    server: EnsemblServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert client(server, tmp_path / "file").look_up(["PLUS", "OLD"], ["", ""]).by_ensembl.keys() == {PLUS}
    assert caplog.text.count("cannot write the cache") == 1
    client(server, tmp_path).look_up(["MINUS"], [""])
    monkeypatch.setattr(ensembl_cache, "BUSY", 0.01)
    caplog.clear()
    with closing(sqlite3.connect(tmp_path / "ensembl.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")  # another process writes and does not end
        found = client(server, tmp_path, region="gene").look_up(["PLUS", "OLD", "MINUS"], ["", "", ""])
    assert found.by_ensembl.keys() == {PLUS, MINUS} and server.answered["lookup/symbol/homo_sapiens", "MINUS"] == 1
    assert caplog.text.count("cannot write the cache") == 1 and "database is locked" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"species": "humen"}, "species is 'humen'; expected human, .* did you mean 'human'"),
        ({"species": "../x"}, "species is '../x'"),
        ({"region": "intron"}, "region is 'intron'; expected one of gene, transcript, promoter, or None"),
        ({"upstream": -1}, "-1 \\+ 100 bases"),
        ({"upstream": 0, "downstream": 0}, "expected 1 to 1,000,000"),
        ({"url": "http://rest.ensembl.org"}, "expected https://"),
        ({"url": "ftp://localhost"}, "expected https://"),
        ({"url": "rest.ensembl.org"}, "expected https://"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ensembl(cache=None, **settings)


def test_what_is_no_ensembl_server(server: EnsemblServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [Fault("302")]
    with pytest.raises(DownloadError, match="answers 302 .* to http://elsewhere.example/; try again later"):
        client(server).look_up(["PLUS"], [""])
    with pytest.raises(DownloadError, match="/wrong/info/data answers 404: page not found"):
        Ensembl(cache=None, url=f"{server.url}/wrong/").look_up(["PLUS"], [""])
    server.release = None  # type: ignore[assignment]
    with pytest.raises(DownloadError, match="is no Ensembl REST service"):
        client(server).look_up(["PLUS"], [""])
    monkeypatch.setattr(ensembl_service, "SIZE", 10)
    with pytest.raises(DownloadError, match="sends more than 0 MB"):
        client(server).look_up(["PLUS"], [""])
    with pytest.raises(DownloadError, match="cannot be reached"):
        Ensembl(cache=None, url="http://127.0.0.1:9").look_up(["PLUS"], [""])


@pytest.mark.parametrize("path", ["info/data", "lookup/id", "lookup/symbol", "xrefs", "sequence"])
def test_answers_of_another_shape(server: EnsemblServer, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """They are an error of one line, or say nothing about a gene."""
    usual = server.answer
    odd = (None, 5, "x", [], [None], [[1]], {}, {"releases": ["x"]}, [{"query": ["x"], "seq": 5}], [{"id": {}}],
           {"PLUS": [], PLUS: 7, "OLD": {"id": [], "start": "x"}}, [{"query": PLUS, "seq": "<b>"}])  # fmt: skip
    for document in odd:
        with monkeypatch.context() as patch:
            answer = lambda asked, body, document=document: (  # noqa: E731
                (200, document) if asked.startswith(path) else usual(asked, body)
            )
            patch.setattr(server, "answer", answer)
            try:
                found = client(server, region="gene").look_up(["a", "PLUS", "OLD"], [PLUS, "", ""])
            except DownloadError as error:
                assert "\n" not in str(error)
            else:
                assert all(set(record.sequence) <= set("ACGTN") for record in found.by_symbol.values())
                assert path in ("lookup/id", "lookup/symbol", "xrefs")


def test_at_most_fifteen_requests_a_second(server: EnsemblServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: 1 + 20 requests need 20 / 15 s, less a pause that was long enough anyway."""
    clock = [0.0]
    monkeypatch.setattr(ensembl_service, "RATE", 15.0)
    monkeypatch.setattr(ensembl_service, "_PACE", ensembl_service._Pace())
    monkeypatch.setattr(ensembl_service.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ensembl_service.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    pace = ensembl_service._Pace()
    for _ in range(21):
        pace.wait()
    assert clock[0] == pytest.approx(20 / 15)
    clock[0] += 5
    pace.wait()
    assert clock[0] == pytest.approx(20 / 15 + 5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("40.0", 40), ("1.0232", 1.0232), ("7", 7), ("soon", 0), ("nan", 0), ("-3", 0), ("1e9", 3600),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)  # fmt: skip
def test_retry_after(header: str, seconds: float) -> None:
    assert ensembl_service._Retry(1).parse_retry_after(header) == seconds
