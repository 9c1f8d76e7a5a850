"""What is known about genes from a service, a genome, tables, vectors and prior graphs, through the commands."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from data.ensembl_server import EnsemblServer, Fault, running

from grape_dgl.cli import main
from grape_dgl.data import ensembl_service
from grape_dgl.features.kmer import spectrum

GENES = [f"GEN{number:02d}" for number in range(40)]
TARGETS = ["GEN00", "GEN01", "GEN02", "GEN00+GEN03", "OUT1"]
"""OUT1 is not measured."""
BAD_URLS = ("", "rest.ensembl.org", "https://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:x")


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    labels = np.repeat(["control", *TARGETS], [80, *[35] * len(TARGETS)])
    table = anndata.AnnData(draw.poisson(4.0, (len(labels), len(GENES))).astype(np.float32))
    table.var_names = GENES
    table.obs["condition"] = labels
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    table.write_h5ad(path)
    return path


def dna(gene: str, length: int = 400) -> str:
    return "".join(random.Random(gene).choices("ACGT", k=length))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EnsemblServer]:
    """Knows all genes but GEN39; every third one is an lncRNA; genes lie side by side on one chromosome."""
    monkeypatch.setattr(ensembl_service, "BACKOFF", 0.001)
    monkeypatch.setattr(ensembl_service, "RATE", 1e6)
    with running() as state:
        known = [gene for gene in (*GENES, "OUT1") if gene != "GEN39"]
        state.genome["1"] = "".join(map(dna, known))
        for number, gene in enumerate(known):
            biotype = "protein_coding" if number % 3 else "lncRNA"
            place = f"1:{400 * number + 1}-{400 * number + 400}:1"
            state.gene(number, gene, place, biotype=biotype, description=f"makes {gene.lower()} [Source:HGNC]")
        yield state


@pytest.fixture
def asked(screen: Path, server: EnsemblServer, tmp_path: Path) -> list[str]:
    """Features from the service, text by letters of the k-mer kind: no language model is loaded."""
    flags = ["--ensembl", "human", "--ensembl-url", server.url, "--region", "gene", "--cache", str(tmp_path / "cache")]
    return ["features", str(screen), *flags, "--set", "features.kmer=3"]


def table(text: str) -> dict[str, list[str]]:
    """The printed coverage, by the first word(s) of a line."""
    lines = [line.split() for line in text.splitlines()[1:]]
    return {line[0]: line[1:] for line in lines}


def test_features_from_the_service(
    asked: list[str], server: EnsemblServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("429", "lookup"), Fault("cut", "sequence")]
    assert main([*asked, "-o", str(tmp_path / "f.npz")]) == 0
    said = capsys.readouterr()
    rows = table(said.out)
    assert rows["all"][:3] == ["41", "40", "1"]
    assert rows["description"][:3] == rows["sequence"][:3] == rows["biotype"][:3] == ["40", "39", "1"]
    assert "GEN39" in said.err
    with np.load(tmp_path / "f.npz") as saved:
        place = saved["symbol"].tolist().index("OUT1")
        np.testing.assert_array_equal(saved["seq"][place], spectrum(dna("OUT1"), 3))
        assert saved["present_text"].sum() == 40
        source = json.loads(str(saved["source"]))
    origin = {"server": "127.0.0.1", "species": "homo_sapiens", "release": 115, "region": "gene"}
    assert source["looked_up"] == [origin] and source["seq"]["encoder"] and "release 115" in said.out
    before = len(server.requests)
    assert main([*asked, "--offline", "-o", str(tmp_path / "g.npz")]) == 0
    assert len(server.requests) == before and (tmp_path / "g.npz").read_bytes() == (tmp_path / "f.npz").read_bytes()


def test_features_from_gtf_and_genome(screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last gene lies on the other strand."""
    lines = []
    for number, gene in enumerate([*GENES, "OUT1"]):
        strand = "-" if gene == "OUT1" else "+"
        names = f'gene_id "ENSG{number:011d}"; gene_name "{gene}"; gene_biotype "protein_coding";'
        lines.append(f"1\ttest\tgene\t{400 * number + 1}\t{400 * number + 400}\t.\t{strand}\t.\t{names}\n")
    (tmp_path / "genes.gtf").write_text("".join(lines))
    (tmp_path / "genome.fa").write_text(">1\n" + "".join(map(dna, [*GENES, "OUT1"])) + "\n")
    flags = ["--annotation", str(tmp_path / "genes.gtf"), "--genome", str(tmp_path / "genome.fa"), "--region", "gene"]
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["features", str(screen), *flags, *cache, "-o", str(tmp_path / "f.npz"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["sequence"]["genes"] == rows["biotype"]["genes"] == 41 and rows["description"]["genes"] == 0
    assert rows["all"]["source"] == {"genome": str(tmp_path / "genome.fa"), "region": "gene"}
    reverse = dna("OUT1")[::-1].translate(str.maketrans("ACGT", "TGCA"))
    with np.load(tmp_path / "f.npz") as saved:
        np.testing.assert_array_equal(saved["seq"][-1], spectrum(reverse, 5))
    assert main(["features", str(screen), "--genome", str(tmp_path / "genome.fa"), *cache]) == 1
    assert "needs a GTF" in capsys.readouterr().err


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Four numbers of every gene but GEN05, OUT1 and NEW1 among them."""
    names = [gene for gene in (*GENES, "OUT1", "NEW1") if gene != "GEN05"]
    values = np.random.default_rng(1).normal(size=(len(names), 4)).astype(np.float32)
    pd.DataFrame(values, index=pd.Index(names, name="symbol")).to_csv(tmp_path / "vectors.csv")
    return tmp_path / "vectors.csv", values


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    (tmp_path / "edges.tsv").write_text("source\ttarget\tweight\nGEN00\tGEN01\t3\nGEN02\tOUT1\t1\nGEN07\tX\t2\n")
    return tmp_path / "edges.tsv"


def test_vectors_alone_with_prior_graphs_and_report(
    screen: Path, vectors: tuple[Path, np.ndarray], edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, values = vectors
    flags = ["--embeddings", f"esm={path}", "--prior", f"mine={edges}", "--prior", "coexpression,least=0.01"]
    out = ["-o", str(tmp_path / "f.npz"), "--report", str(tmp_path / "r.html"), "--gene", "GEN03"]
    assert main(["features", str(screen), *flags, *out, "--cache", str(tmp_path / "cache")]) == 0
    said = capsys.readouterr().out
    rows = table(said)
    assert rows["esm"][:3] == ["40", "39", "1"] and rows["description"][:3] == ["0", "0", "0"] and "text" not in rows
    prior = next(line for line in said.splitlines() if line.startswith("prior mine"))
    assert prior.split()[2:5] == ["5", "4", "1"] and "edges 2" in prior
    with np.load(tmp_path / "f.npz") as saved:
        assert not saved["present_esm"][5] and not saved["esm"][5].any()
        np.testing.assert_array_equal(saved["esm"][-1], values[-2])
    assert "GEN03" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_train_and_predict_with_vectors_and_prior_graphs(
    screen: Path, vectors: tuple[Path, np.ndarray], edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A third modality and a fixed member of M through the whole of it; a new gene comes with its vector."""
    genes = tmp_path / "genes.tsv"
    described = [f"{gene}\tprotein_coding\tmakes {gene.lower()}\n" for gene in (*GENES, "OUT1", "NEW1")]
    genes.write_text("symbol\tbiotype\tdescription\n" + "".join(described))
    known = ["--annotation", str(genes), "--embeddings", f"esm={vectors[0]}", "--cache", str(tmp_path / "cache")]
    small = [
        "--epochs",
        "1",
        "--set",
        "model.hidden=8",
        "--set",
        "model.width=4",
        "--set",
        "structure.sparsity=degree:6",
    ]
    run = str(tmp_path / "run")
    assert main(["train", str(screen), *known, "--prior", f"mine={edges}", *small, "--out", run]) == 0
    model = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert set(model["widths"]) == {"text", "esm"} and model["priors"]["mine"]["kind"] == "edges"
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["data"]["read_with"]["embeddings"]
    capsys.readouterr()
    assert main(["predict", run, "--condition", "GEN00+NEW1", "--json", *known]) == 0
    assert {row["condition"] for row in json.loads(capsys.readouterr().out)} == {"GEN00+NEW1"}
    other = tmp_path / "other.csv"
    other.write_text(vectors[0].read_text().replace("GEN10", "GEN99"))
    assert (
        main(["predict", run, "--condition", "NEW1", "--annotation", str(genes), "--embeddings", f"esm={other}"]) == 1
    )
    assert "do not fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--embeddings", "vectors.csv"], "NAME=FILE"),
        (["--embeddings", "fus=vectors.csv"], "choose another"),
        (["--prior", "mine"], "not understood"),
        (["--prior", "coexpression=x.tsv"], "not understood"),
        (["--prior", "go=x.tsv,neighbors=3"], "did you mean 'neighbours'"),
        (["--prior", "go=x.tsv,neighbours=few"], "expected a number"),
        (["--prior", "mine=x.tsv,least=0.3"], "an edge table no least"),
        (["--prior", "mine=none.tsv"], "none.tsv"),
        (["--report", "r.txt"], ".html"),
        (["--report", "full"], "is a folder"),
        (["--report", "genes.tsv/r.html"], "cannot be written"),
        (["--report", "r.html", "--gene", "gen03"], "did you mean 'GEN03'"),
        (["--gene", "GEN03"], "give --report"),
        (["-o", ""], "is a folder"),
        (["--embeddings", "symbol=v.csv"], "choose another"),
        (["--embeddings", "present_seq=v.csv"], "choose another"),
        (["--embeddings", "e=v.csv", "--embeddings", "e=v.csv"], "twice"),
        (["--embeddings", "e=mouse.csv"], "none of the 41 genes (GEN00, GEN01, GEN02, ...) is in it; it has Gen00"),
        (["--embeddings", "e=zeros.npz"], "no NPZ file"),
        (["--embeddings", "e=damaged.h5ad"], "cannot be read as .h5ad"),
        (["--annotation", "mouse.tsv"], "none of the 41 genes"),
        (["--annotation", "mouse.gtf"], "none of the 41 genes"),
        (["--annotation", "header.tsv"], "it has no genes"),
        (["--annotation", "zeros.tsv"], "zero bytes"),
        (["--annotation", "deep.json"], "no JSON that can be read"),
        (["--annotation", "digits.json"], "no JSON that can be read"),
        (["--annotation", "surrogate.json"], "no JSON that can be read"),
        (["--annotation", "start.gtf"], "line 1: start and end are '-1' and '2'"),
        (["--annotation", "genes.gtf", "--genome", "protein.fa"], "no A, C, G or T"),
        (["--annotation", "genes.gtf", "--genome", "protein.fa", "--upstream", "9" * 30], "expected 1 to 1,000,000"),
        (["--sequences", "mouse.fa"], "sequences 'mouse.fa': none of the 41 genes"),
        (["--sequences", "zeros.tsv"], "zero bytes"),
        (["--ensembl-url", "https://rest.ensembl.org"], "needs --ensembl"),
        *((["--ensembl", "human", "--ensembl-url", url], "the address of Ensembl is") for url in BAD_URLS),
        (["--prior", "mine=zeros.tsv"], "zero bytes"),
        (["--prior", "mine=cut.tsv.gz"], "damaged gzip"),
        (["--prior", "go=x.tsv,neighbours=3,neighbours=4"], "twice"),
        (["--prior", "go=x.tsv,names="], "no value"),
        (["--set", "features.dna_model="], "is no folder"),
        (["--set", "features.dna_model=deep"], "no readable config.json"),
    ],
)
def test_bad_input_is_one_line(
    screen: Path, broken: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 1, and no file; what is about flags and names is said before anything is encoded."""
    out = [] if "-o" in flags else ["-o", "o.npz"]
    before = {path.name for path in broken.iterdir()}
    assert main(["features", str(screen), "--cache", "cache", "-q", "--sequences", "genes.fa", *out, *flags]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and message in said.err and said.err.count("\n") == 1 and not said.out
    assert {path.name for path in broken.iterdir()} - before <= {"cache", "protein.fa.fai"}


@pytest.fixture
def broken(screen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, of files with something wrong each, and few that are right."""
    monkeypatch.chdir(tmp_path)
    gene = '1\tx\tgene\t1\t2\t.\t+\t.\tgene_id "ENSG00000000001"; gene_name "GEN00";\n'
    edges = gzip.compress(b"source\ttarget\n" + b"GEN00\tGEN01\n" * 999)
    texts = {
        "genes.fa": "".join(f">{name}\n{dna(name)}\n" for name in (*GENES, "OUT1")),
        "mouse.fa": ">Gen00\nACGT\n", "mouse.csv": "gene,a,b\nGen00,1,2\n", "v.csv": "gene,a,b\nGEN00,1,2\n",
        "mouse.tsv": "symbol\tbiotype\nGen00\tlncRNA\n", "header.tsv": "symbol\tbiotype\n",
        "genes.gtf": gene, "mouse.gtf": gene.replace("GEN", "Gen"), "start.gtf": gene.replace("\t1\t", "\t-1\t"),
        "protein.fa": ">1\nMKLEEEEE\n", "genes.tsv": "symbol\tbiotype\nGEN00\tlncRNA\n",
        "deep.json": '{"GEN00":' + "[" * 100_000, "digits.json": '{"GEN00":' + "9" * 5000 + "}",
        "surrogate.json": json.dumps({"GEN00": "\ud800"}),
    }  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    for name, content in {"zeros.npz": bytes(99), "zeros.tsv": bytes(99), "cut.tsv.gz": edges[:40]}.items():
        Path(name).write_bytes(content)
    whole = screen.read_bytes()
    assert b"SNOD" in whole  # a node of a group
    Path("damaged.h5ad").write_bytes(whole.replace(b"SNOD", b"XXXX"))
    Path("full").mkdir()
    Path("deep").mkdir()
    Path("deep", "config.json").write_text("[" * 100_000)
    return tmp_path


KILLED = """
import json, os, random, signal, sys, time
import tqdm
tqdm.tqdm.monitor_interval = 0  # no thread: this process forks
from pathlib import Path
from grape_dgl.cli import main
asked, folder = json.loads(sys.argv[1]), Path(sys.argv[2])

def child(cache, out):
    pid = os.fork()
    if pid == 0:
        os._exit(main([*asked, "--cache", str(folder / cache), "-o", str(folder / out), "--force", "-q"]))
    return pid

def finish(cache, out):
    assert os.waitstatus_to_exitcode(os.waitpid(child(cache, out), 0)[1]) == 0
    return (folder / out).read_bytes()

assert main([*asked, "--cache", str(folder / "first"), "-o", str(folder / "first.npz"), "-q"]) == 0  # loads all modules
wanted = (folder / "first.npz").read_bytes()
started = time.monotonic()
assert finish("whole", "whole.npz") == wanted
whole = time.monotonic() - started
draw, killed = random.Random(0), 0
for number in range(20):
    pid = child(f"cache{number}", f"{number}.npz")
    time.sleep(draw.uniform(0, whole))
    os.kill(pid, signal.SIGKILL)
    killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
    out = folder / f"{number}.npz"
    assert not out.exists() or out.read_bytes() == wanted
    assert finish(f"cache{number}", out.name) == wanted
print(killed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.fork is not there on Windows")
def test_killed_at_twenty_random_moments_and_resumed_the_file_is_the_same(asked: list[str], tmp_path: Path) -> None:
    """Each time from an empty cache: fetch, encode text (MiniLM) and DNA, write; SIGKILL; go on."""
    run = [sys.executable, "-c", KILLED, json.dumps(asked), str(tmp_path)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # OpenMP's threads do not survive a fork: the child would wait
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) >= 10
