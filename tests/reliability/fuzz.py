"""Is there a file that makes a reader fail otherwise than with one clear line?

Run: python tests/reliability/fuzz.py [--seconds 600] [--seed 0] [--reader NAME ...] [--finds FOLDER] [--out F]

Contract: for ``--seconds`` per reader, a small valid file is changed at random (bytes overwritten, cut out, doubled,
moved, cut off, tokens of the format put in; one to eight changes) and read, in a process of its own for at most
``LIMIT`` seconds. A `GrapeError` that says something, or a result, is right. Any other exception is a find, and so is
an end without one; both are written to ``--finds``. A reader of HDF5 that crashes or hangs does so in that library,
where nothing here can catch it: it is counted. JSON on stdout: executions, results, refusals and finds of each reader.
Exit code 1 where there are finds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plain_screen import GENES, LABELS, plain, write

from grape_dgl.config import Config
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.embeddings import Embeddings
from grape_dgl.data.read import read_screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import GrapeError
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.graph.files import read_edges
from grape_dgl.graph.priors import edge_prior, go_prior, string_prior
from grape_dgl.suite.spec import Suite
from grape_dgl.training.progress import Progress, read_progress, write_progress

LIMIT = 10
"""Seconds for a file"""


@dataclass(frozen=True)
class Reader:
    name: str
    """Of its file"""
    valid: bytes
    read: Callable[[Path], object]
    tokens: tuple[bytes, ...] = ()


def readers(folder: Path) -> dict[str, Reader]:
    path = Path(write(folder))
    screen = read_screen(path, min_cells=2)
    genes = screen.genes
    names = np.array(GENES, dtype=object)
    change = np.zeros((2, len(GENES)), np.float32)
    Predictions(("G1", "G2"), names, change=change, control=change[0], expected=change).write(folder / "p.h5ad")
    table = "symbol\tensgene\tbiotype\tdescription\n" + "".join(
        f"{name}\tENSG{number:011d}\tprotein_coding\tabout {name}\n" for number, name in enumerate(GENES)
    )
    gtf = "".join(
        f'chr1\tx\t{kind}\t{100 * n + 1}\t{100 * n + 90}\t.\t+\t.\tgene_id "ENSG{n:011d}"; gene_name "{name}"; '
        f'gene_biotype "lncRNA"; transcript_id "T{n}";\n'
        for n, name in enumerate(GENES) for kind in ("gene", "transcript", "exon")
    )  # fmt: skip
    fasta = "".join(f">{name} x\nACGTNACGT\nACGT\n" for name in GENES)
    vectors = "gene,a,b\n" + "".join(f"{name},{n},0.5\n" for n, name in enumerate(GENES))
    edges = "source\ttarget\trelation\tweight\nG1\tG2\tcc\t0.5\nG2\tG3\tcc\t0.25\n"
    parts = json.dumps({"train": ["G1", "G2", "G1+G2"], "val": ["G3"], "test": ["G4", "G5"]})
    go = "!gaf-version: 2.2\n" + "".join(
        f"UniProtKB\tP{n}\t{name}\t\tGO:000000{n % 4}\tx\tIDA\t\tP\tn\ts\tprotein\ttaxon:9606\t20200101\tx\t\t\n"
        for n, name in enumerate(GENES)
    )
    links = "protein1 protein2 combined_score\n9606.G1 9606.G2 900\n9606.G2 9606.G3 500\n"
    suite = 'name = "one"\nsplits = ["condition"]\nseeds = 2\n[[data]]\nname = "demo"\npath = "demo"\n'
    suite += '[[model]]\nname = "mean"\n'
    files, settings = Annotation.from_files, Config().to_toml()
    number = (b"nan", b"inf", b"-1", b"1e999", b"0", b"99999999999999999999", b"")
    text = (b"\t", b"\n", b"\r", b",", b'"', b"\x00", b"\xff", b"\xef\xbb\xbf", *number)
    toml = (b"[", b"]", b"=", b'"', b"{}", b"true", b"1979-05-27", b"\n", *number)
    return {
        "h5ad": Reader("s.h5ad", path.read_bytes(), lambda p: read_screen(p, min_cells=2), (b"\x00" * 8, b"\xff" * 8)),
        "predictions": Reader("p.h5ad", (folder / "p.h5ad").read_bytes(), Predictions.read, (b"\x00" * 8, b"\xff" * 8)),
        "annotation table": Reader("g.tsv", table.encode(), lambda p: used(files([p])), text),
        "annotation gzip": Reader("g.tsv.gz", gzip.compress(table.encode()), lambda p: used(files([p]))),
        "annotation JSON": Reader("g.json", json.dumps({n: f"about {n}" for n in GENES}).encode(),
                                  lambda p: used(files([p])), (b"{", b"[", b"null", *text)),
        "gtf": Reader("g.gtf", gtf.encode(), lambda p: used(files([p])), (b";", b"gene_id", *text)),
        "fasta": Reader("p.fa", fasta.encode(), lambda p: used(files([], [p])), (b">", *text)),
        "genome": Reader("genome.fa", b">chr1\n" + b"ACGTACGTAC\n" * 130, lambda p: genome(folder, gtf, p),
                         (b">", *text)),
        "embeddings": Reader("e.csv", vectors.encode(), lambda p: Embeddings.read(p, "mine"), text),
        "edges": Reader("g.tsv", edges.encode(), lambda p: read_edges(p, genes), text),
        "prior edges": Reader("e.tsv", edges.encode(), lambda p: edge_prior(p, genes, "mine"), text),
        "prior go": Reader("g.gaf", go.encode(), lambda p: go_prior(p, genes), (b"GO:", *text)),
        "prior string": Reader("s.txt", links.encode(), lambda p: string_prior(p, genes), (b" ", *text)),
        "settings": Reader("c.toml", settings.encode(), lambda p: Config.resolve(toml=p), toml),
        "suite": Reader("s.toml", suite.encode(), Suite.read, toml),
        "split": Reader("s.json", parts.encode(), lambda p: Split.from_json(p, screen.conditions, list(genes.symbol)),
                        (b"null", b"[]", b"{}", b"1", b'"G1"', b"control")),
        "guide map": Reader("m.tsv", b"guide\tgene\n" + b"".join(b"%s\t%s\n" % ((x.encode(),) * 2) for x in LABELS),
                            lambda p: read_screen(path, min_cells=2, guide_map=p), text),
        "obs table": Reader("o.tsv", b"barcode\tcondition\n" + b"".join(b"cell%d\tG1\n" % n for n in range(40)),
                            lambda p: read_screen(path, min_cells=2, obs_table=p, condition_key="condition"), text),
        "progress": Reader("p.safetensors", progress_file(folder), read_progress,
                           (b"{", b"[", b'"', b"\xff" * 8, *number)),
    }  # fmt: skip


def used(annotation: Annotation) -> object:
    """As a screen uses it."""
    return read_screen(plain(), annotation=annotation, min_cells=2)


def genome(folder: Path, gtf: str, path: Path) -> object:
    where = folder / "genome.gtf"
    if not where.exists():
        where.write_text(gtf)
    for index in path.parent.glob(f"{path.name}.*"):
        index.unlink()
    return used(Annotation.from_files([where], genome=path))


def progress_file(folder: Path) -> bytes:
    model = torch.nn.Linear(2, 2)
    path = folder / "progress.safetensors"
    write_progress(path, Progress(0, [{"epoch": 0.0}], 1.0, 0, 1.0, {}), model, torch.optim.AdamW(model.parameters()))
    return path.read_bytes()


def mutated(valid: bytes, tokens: tuple[bytes, ...], draw: random.Random) -> bytes:
    data = bytearray(valid)
    for _ in range(draw.randint(1, 8)):
        place, length = draw.randrange(len(data) + 1), min(1 << draw.randrange(8), len(data))
        kind = draw.randrange(7)
        if kind == 0 and place < len(data):
            data[place] = draw.randrange(256)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length]
        elif kind == 3:
            start = draw.randrange(len(data) + 1)
            data[place:place] = data[start : start + length]
        elif kind == 4 and draw.random() < 0.2:
            del data[place:]
        elif kind == 5 and tokens:
            data[place:place] = draw.choice(tokens)
        elif tokens:
            token = draw.choice(tokens)
            data[place : place + len(token)] = token
    return bytes(data)


def fuzz(name: str, reader: Reader, seconds: float, seed: int, folder: Path, finds: Path) -> dict[str, int]:
    draw, count, seen = random.Random(f"{seed} {name}"), Counter[str](), set[str]()
    path, until = folder / reader.name, time.monotonic() + seconds
    reader.read(write_bytes(path, reader.valid))  # valid it is
    while time.monotonic() < until:
        content = mutated(reader.valid, reader.tokens, draw)
        count["executions"] += 1
        what, problem = apart(reader, write_bytes(path, content), folder / "said")
        count[what] += 1
        if what == "ended without a word" and reader.name.endswith(".h5ad"):
            continue
        if problem:
            count["finds"] += 1
            where = "".join(line for line in problem.splitlines(True) if "grape_dgl" in line)[-500:]
            if where not in seen:
                seen.add(where)
                count["kinds of finds"] += 1
                kept = finds / f"{name.replace(' ', '-')}-{len(seen)}"
                kept.mkdir(parents=True, exist_ok=True)
                (kept / reader.name).write_bytes(content)
                (kept / "traceback.txt").write_text(problem)
    return dict(count)


def apart(reader: Reader, path: Path, note: Path) -> tuple[str, str]:
    """What came of it, and what is wrong with that, from a process of its own."""
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT)  # ends it, also within a library
        try:
            reader.read(path)
            said = ("read", "")
        except GrapeError as error:
            said = ("refused", "" if str(error).strip() else f"an error that says nothing: {error!r}")
        except BaseException:
            said = ("failed", traceback.format_exc())
        note.write_text(json.dumps(said), encoding="utf-8")
        os._exit(0)
    os.waitpid(child, 0)
    if not note.exists():
        return "ended without a word", "it crashed, or took too long"
    what, problem = json.loads(note.read_text(encoding="utf-8"))
    return what, problem


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Reads files that are broken at random.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", metavar="NAME")
    parser.add_argument("--finds", type=Path, default=Path("finds"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    found = {}
    with tempfile.TemporaryDirectory() as place:
        known = readers(Path(place))
        for name in given.reader or known:
            folder = Path(place) / name
            folder.mkdir()
            found[name] = fuzz(name, known[name], given.seconds, given.seed, folder, given.finds)
            print(json.dumps({name: found[name]}), file=sys.stderr)
    text = json.dumps({"seconds": given.seconds, "seed": given.seed, "readers": found}, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    raise SystemExit(any(counts.get("finds") for counts in found.values()))


if __name__ == "__main__":
    main()
