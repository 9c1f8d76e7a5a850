"""Every command in docs/genes.md runs as it stands, on small files of the names that it uses."""

from __future__ import annotations

import gzip
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pytest
from data.ensembl_server import running

from grape_dgl.cli import main
from grape_dgl.data import ensembl

PAGE = Path(__file__).parents[1] / "docs" / "genes.md"
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for line in block.splitlines()
]  # fmt: skip
GENES = [f"GEN{number:02d}" for number in range(20)]
SMALL = "--epochs 1 --set model.hidden=8 --set model.width=4 --set structure.sparsity=degree:6 --set alignment.epochs=1"


def dna(gene: str) -> str:
    return "".join(random.Random(gene).choices("ACGT", k=300))


def write_files(folder: Path) -> None:
    draw = np.random.default_rng(0)
    targets = ["GEN00", "GEN01", "GEN02", "GEN03", "GEN04"]
    labels = np.repeat(["control", *targets], [70, *[30] * len(targets)])
    screen = anndata.AnnData(draw.poisson(4.0, (len(labels), len(GENES))).astype(np.float32))
    screen.var_names = GENES
    screen.obs["condition"] = labels
    screen.write_h5ad(folder / "screen.h5ad")
    gtf, described, vectors = [], ["symbol\tbiotype\tdescription"], ["symbol,a,b"]
    go, edges = ["!gaf-version: 2.2"], ["source\ttarget\tweight"]
    links, info = ["protein1 protein2 combined_score"], ["#string_protein_id\tpreferred_name"]
    for number, gene in enumerate(GENES):
        biotype = "protein_coding" if number % 3 else "lncRNA"
        start, end = 300 * number + 1, 300 * number + 300
        names = f'gene_id "ENSG{number:011d}"; gene_name "{gene}"; gene_biotype "{biotype}";'
        exon = f'{names} transcript_id "ENST{number:011d}"; tag "Ensembl_canonical";'
        gtf += [f"1\tx\tgene\t{start}\t{end}\t.\t+\t.\t{names}"]
        gtf += [f"1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\t{exon}" for kind in ("transcript", "exon")]
        described.append(f"{gene}\t{biotype}\tmakes {gene.lower()}")
        vectors.append(f"{gene},{draw.normal():.3f},{draw.normal():.3f}")
        columns = ["UniProtKB", "P1", gene, "", f"GO:{number // 4:07d}", "PMID:1", "IDA", "", "P", "", "", "protein",
                   "taxon:9606", "20240101", "GO", "", ""]  # fmt: skip
        go.append("\t".join(columns))
        info.append(f"9606.ENSP{number:011d}\t{gene}")
        if number:
            links.append(f"9606.ENSP{number - 1:011d} 9606.ENSP{number:011d} 900")
            edges.append(f"{GENES[number - 1]}\t{gene}\t0.5")
    for name, lines in (
        ("genes.tsv", described), ("genept.csv", vectors), ("goa.gaf", go), ("edges.tsv", edges),
        ("genome.fa", [">1", *map(dna, GENES)]), ("promoters.fa", [f">{gene}\n{dna(gene)}" for gene in GENES]),
    ):  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, lines in (("genes.gtf.gz", gtf), ("links.txt.gz", links), ("info.txt.gz", info)):
        with gzip.open(folder / name, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with running() as server:
        server.genome["1"] = "".join(map(dna, GENES))
        for number, gene in enumerate(GENES):
            server.gene(number, gene, f"1:{300 * number + 1}-{300 * number + 300}:1")
        yield server.url


@pytest.mark.parametrize("command", COMMANDS)
def test_command(
    command: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(ensembl, "URL", service)
    program, *arguments = shlex.split(command)
    assert program == "grape-dgl"
    code = main([*arguments, *(shlex.split(SMALL) if arguments[0] == "train" else [])])
    assert code == 0, capsys.readouterr().err
    for flag in ("-o", "--out", "--report"):
        if flag in arguments:
            assert Path(arguments[arguments.index(flag) + 1]).exists()


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 8
