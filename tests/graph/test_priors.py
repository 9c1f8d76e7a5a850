"""Priors against slow twins: Python sets for GO, networkx for edges, numpy.corrcoef for co-expression."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from grape_dgl.data.genes import Genes
from grape_dgl.data.screen import Screen
from grape_dgl.errors import ConfigError, DataError
from grape_dgl.graph.priors import Prior, coexpression_prior, edge_prior, go_prior, string_prior

ABCD = Genes.from_symbols(["A", "B", "C", "D"])


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def edges(prior: Prior, genes: Genes) -> dict[frozenset[str], float]:
    """{two symbols: weight}; checks what every prior promises."""
    first, second, value = (one.numpy() for one in (prior.pairs.first, prior.pairs.second, prior.pairs.value))
    assert (first < second).all() and (np.diff(first * len(genes) + second) > 0).all()
    assert value.dtype == np.float32 and ((value > 0) & (value <= 1)).all()
    assert prior.present[prior.pairs.first].all() and prior.present[prior.pairs.second].all()
    names = genes.symbol
    return {frozenset((names[i], names[j])): float(w) for i, j, w in zip(first, second, value, strict=True)}


def known(prior: Prior, genes: Genes) -> list[str]:
    return genes.symbol[prior.present.numpy()].tolist()


def cut(every: dict[frozenset[str], float], neighbours: int) -> dict[frozenset[str], float]:
    """Slow twin of the cut: among the best of either end, ties to the alphabetically first neighbour."""
    if not neighbours:
        return every
    network = nx.Graph()
    network.add_weighted_edges_from((*sorted(pair), weight) for pair, weight in every.items())
    kept = set()
    for gene in network:
        best = sorted(network[gene], key=lambda other: (-network[gene][other]["weight"], other))
        kept |= {frozenset((gene, other)) for other in best[:neighbours]}
    return {pair: every[pair] for pair in kept}


def overlaps(terms: dict[str, set[str]], least: float) -> dict[frozenset[str], float]:
    names = sorted(terms)
    every = {
        frozenset((a, b)): len(terms[a] & terms[b]) / len(terms[a] | terms[b])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    return {pair: value for pair, value in every.items() if value >= least}


def approx(every: dict[frozenset[str], float], tolerance: float = 1e-6) -> object:
    return pytest.approx(every, abs=tolerance)


# ---- GO


GAF = (
    "!gaf-version: 2.2\n!\n! generated ! today\n"
    'UniProtKB\tP1\tA\tenables\tGO:0000001\tP\tIDA\t\tF\tname "of A\tAA|AAA\tprotein\ttaxon:9606\t20200101\tX\t\t\n'
    "UniProtKB\tP1\tA\tenables\tGO:0000002\tP\tIDA\t\tF\tname\tAA|AAA\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
    "UniProtKB\tP1\tA\tNOT|enables\tGO:0000003\tP\tIDA\t\tF\tname\tAA|AAA\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
    "UniProtKB\tP2\tNEWB\tenables\tGO:0000002\tP\tIEA\t\tF\tname\tB|SAME\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
    "UniProtKB\tP2\tNEWB\tenables\tGO:0000002\tP\tIDA\t\tF\tname\tB|SAME\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
    "UniProtKB\tP3\tC\tenables\tGO:0003674\tP\tND\t\tF\tname\tSAME|A\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
    "UniProtKB\tP4\tD\tenables\tGO:0000003\tP\tND\t\tF\tname\tD\tprotein\ttaxon:9606\t20200101\tX\t\t\n"
)


@pytest.mark.parametrize("name", ["a.gaf", "a.gaf.gz"])
def test_gaf_by_hand(tmp_path: Path, name: str) -> None:
    """NOT and root terms say nothing; B is found by a synonym, SAME by none as two entries have it."""
    genes = Genes.from_symbols(["A", "B", "C", "D", "SAME"])
    prior = go_prior(write(tmp_path, name, GAF), genes)
    assert edges(prior, genes) == {frozenset("AB"): 0.5}
    assert known(prior, genes) == ["A", "B", "D"]
    assert prior.source["kind"] == "go" and prior.source["file"] == name and len(prior.source["sha256"]) == 64


def test_gene2go_needs_and_uses_a_table_of_names(tmp_path: Path) -> None:
    text = "#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory\n" + "".join(
        f"9606\t{gene}\tGO:000000{term}\tIDA\t{qualifier}\tname\t-\tProcess\n"
        for gene, term, qualifier in [
            (1, 1, "enables"), (1, 2, "enables"), (2, 2, "enables"), (2, 1, "NOT enables"), (77, 1, "enables"),
        ]
    )  # fmt: skip
    path = write(tmp_path, "gene2go.gz", text)
    with pytest.raises(DataError, match="GeneID; give a table"):
        go_prior(path, ABCD)
    info = write(tmp_path, "info.tsv", "#tax_id\tGeneID\tSymbol\n9606\t1\tA\n9606\t2\tB\n")
    assert edges(go_prior(path, ABCD, names=info), ABCD) == {frozenset("AB"): 0.5}
    genes = Genes(*(np.array(x) for x in (["x", "y"], ["ENSG00000000001", "ENSG00000000002"], ["", ""], ["", ""])),
                  sequence=("", ""), measured=2)  # fmt: skip
    ids = write(tmp_path, "ids.csv", "ensgene,entrez,symbol\nENSG00000000001.5,1.0,A\nENSG00000000002,2,B\n,,C\n")
    assert edges(go_prior(path, genes, names=ids), genes) == {frozenset("xy"): 0.5}
    with pytest.raises(DataError, match="expected entrez"):
        go_prior(path, ABCD, names=write(tmp_path, "bad.csv", "symbol,chr\nA,1\n"))


def test_genes_without_an_id_are_told_apart(tmp_path: Path) -> None:
    """A BioMart export: E1 is A by its id, whatever its symbol; the others have a symbol only."""
    genes = Genes(np.array(["A", "B", "C"]), np.array(["ENSG00000000001", "", ""]), np.array([""] * 3),
                  np.array([""] * 3), ("",) * 3, 3)  # fmt: skip
    text = "Gene stable ID,Gene name,GO term accession\nENSG00000000001,B,GO:0000001\n,B,GO:0000002\n,C,GO:0000002\n"
    prior = go_prior(write(tmp_path, "mart.csv", text + ",A,\n"), genes)
    assert edges(prior, genes) == {frozenset("BC"): 1.0}
    assert known(prior, genes) == ["A", "B", "C"]


@pytest.mark.parametrize("neighbours", [0, 3])
def test_no_edge_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, neighbours: int) -> None:
    prior = go_prior(write(tmp_path, "go.csv", "symbol,go_id\nA,GO:0000001\nB,GO:0000002\n"), ABCD, neighbours)
    assert not edges(prior, ABCD) and known(prior, ABCD) == ["A", "B"]
    assert "prior 'go' has no edge" in caplog.text


@pytest.mark.parametrize(("neighbours", "least"), [(0, 0.1), (3, 0.1), (1, 0.3), (2, 0.0)])
def test_go_equals_python_sets(tmp_path: Path, neighbours: int, least: float) -> None:
    draw = np.random.default_rng(0)
    names = [f"G{i}" for i in draw.permutation(60)]
    rows = [(names[g], f"GO:{t:07d}") for g, t in draw.integers([55, 30], size=(300, 2))]
    text = "symbol,go_id\n" + "".join(f"{gene},{term}\n" for gene, term in rows)
    genes = Genes.from_symbols(names)
    prior = go_prior(write(tmp_path, "go.csv", text), genes, neighbours, least)
    terms = {gene: {term for other, term in rows if other == gene} for gene, _ in rows}
    expected = cut({pair: value for pair, value in overlaps(terms, least).items() if value}, neighbours)
    assert edges(prior, genes) == approx(expected)
    assert sorted(known(prior, genes)) == sorted(terms)


def test_go_of_real_genes(shared_data: Callable[[str], Path]) -> None:
    """A sample of the genes of NCBI's table."""
    path = shared_data("gene2go_human_direct.tsv.gz")
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    table = table[~table["go_id"].isin(["GO:0003674", "GO:0005575", "GO:0008150"])]
    symbols = list(pd.unique(table["symbol"]))[::80]
    sample = table[table["symbol"].isin(symbols)].groupby("symbol")
    terms = {symbol: set(part["go_id"]) for symbol, part in sample}
    genes = Genes.from_symbols([*symbols, "no gene"])
    prior = go_prior(path, genes, neighbours=5)
    assert edges(prior, genes) == approx(cut(overlaps(terms, 0.1), 5))
    assert known(prior, genes) == symbols


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol\tterm\nA\tGO:0000001\n", "columns symbol, term; expected GAF"),
        ("!gaf-version: 1.0\n" + GAF.split("\n", 3)[3], "gaf-version: 1.0.*expected GAF 2"),
        ("!gaf-version: 2.2\nA\tB\n", "with 2 columns"),
        ("symbol\tgo_id\nZ\tGO:0000001\n", "names none of the 4 genes, such as A, B, C"),
        ("symbol\tgo_id\nA\tGO:0008150\n", "names none of the 4 genes"),
        ("symbol\tgo_id\n", "names none"),
        ("!gaf-version: 2.2\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_go_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        go_prior(write(tmp_path, "go.tsv", text), ABCD)


# ---- STRING

LINKS = (
    "protein1 protein2 combined_score\n"
    "9606.ENSP1 9606.ENSP2 900\n9606.ENSP2 9606.ENSP1 900\n9606.ENSP1 9606.ENSP3 399\n9606.ENSP3 9606.ENSP1 399\n"
    "9606.ENSP2 9606.ENSP4 400\n9606.ENSP4 9606.ENSP2 400\n9606.ENSP2 9606.ENSP9 999\n9606.ENSP9 9606.ENSP2 999\n"
)
INFO = "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n" + "".join(
    f'9606.ENSP{number}\t{name}\t100\t"text\n' for number, name in enumerate("ABCD", start=1)
)


def test_string_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    links, info = write(tmp_path, "links.txt.gz", LINKS), write(tmp_path, "info.txt.gz", INFO)
    prior = string_prior(links, ABCD, aliases=info)
    assert edges(prior, ABCD) == approx({frozenset("AB"): 0.9, frozenset("BD"): 0.4})
    assert known(prior, ABCD) == ["A", "B", "C", "D"]  # C has no edge left
    assert caplog.messages[-1] == (
        "prior 'string': 4 of 4 genes are known; 2 edges, mean degree of these genes 1.0; edges dropped: "
        "2 with another gene, 2 below 400, 2 repeated"
    )
    with pytest.raises(DataError, match="give STRING's protein.info"):
        string_prior(links, ABCD)


def test_string_aliases_by_ensembl_id_then_symbol_then_unique_alias(tmp_path: Path) -> None:
    """Protein 1 is B by its Ensembl id whatever its symbol; 3 is C by an old symbol; OLD is two proteins' alias."""
    aliases = "#string_protein_id\talias\tsource\n" + "".join(
        f"9606.ENSP{row}\n"
        for row in (
            "1\tENSG00000000007\tEnsembl_gene", "1\tA\tEnsembl_HGNC_symbol", "2\tA\tUniProt_GN_Name",
            "3\tC\tEnsembl_HGNC_prev_symbol", "3\tOLD\tEnsembl_HGNC_prev_symbol", "4\tOLD\tEnsembl_HGNC_alias_symbol",
        )
    )  # fmt: skip
    genes = Genes(np.array(["A", "B", "C", "OLD"]), np.array(["", "ENSG00000000007", "", ""]), np.array([""] * 4),
                  np.array([""] * 4), ("",) * 4, 4)  # fmt: skip
    paths = write(tmp_path, "links.txt", LINKS), write(tmp_path, "aliases.txt.gz", aliases)
    prior = string_prior(paths[0], genes, least=0.1, aliases=paths[1])
    assert edges(prior, genes) == approx({frozenset("AB"): 0.9, frozenset("BC"): 0.399})
    assert prior.source["aliases_file"] == "aliases.txt.gz"


def test_string_in_chunks_is_string_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links, info = write(tmp_path, "links.txt.gz", LINKS), write(tmp_path, "info.txt.gz", INFO)
    whole = string_prior(links, ABCD, least=0.0, aliases=info)
    monkeypatch.setattr("grape_dgl.data.text_tables.CHUNK", 3)
    parts = string_prior(links, ABCD, least=0.0, aliases=info)
    assert edges(parts, ABCD) == edges(whole, ABCD) and len(whole.pairs) == 3
    with pytest.raises(DataError, match="row 10: weight '1001'; expected a number from 0 to 1000"):
        string_prior(write(tmp_path, "l.txt", LINKS + "9606.ENSP9 9606.ENSP2 1001\n"), ABCD)


@pytest.mark.parametrize(
    ("links", "info", "message"),
    [
        ("a b c\n1 2 3\n", INFO, "columns a, b, c; expected protein1"),
        (LINKS, "id\tname\nx\ty\n", "expected string_protein_id and preferred_name"),
        (LINKS, INFO.splitlines()[0], "names none of the 4 genes"),
        (LINKS.splitlines()[0], INFO, "a header and no rows"),
    ],
)
def test_string_files_that_are_refused(tmp_path: Path, links: str, info: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        string_prior(write(tmp_path, "l.txt", links), ABCD, aliases=write(tmp_path, "i.txt", info))


def test_a_truncated_download_is_one_line(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = "".join(f"p{a} p{b} {c}\n" for a, b, c in draw.integers(1, 1000, size=(30_000, 3)))
    whole = gzip.compress(f"protein1 protein2 combined_score\n{rows}".encode())
    (tmp_path / "links.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="the STRING links .* is a damaged gzip file: .*end-of-stream"):
        string_prior(tmp_path / "links.txt.gz", ABCD)
    with pytest.raises(DataError, match="No such file"):
        string_prior(tmp_path / "none.txt.gz", ABCD)


# ---- edge tables


@pytest.mark.parametrize(
    "text",
    [
        "source\ttarget\tweight\nA\tB\t0.5\nC\tB\t1\n",
        "Gene1,Gene2,Score\nB,A,0.5\nB,C,1\n",
        "weight;symbol_a;symbol_b\n0.5;A;B\n1;C;B\n",
        "from,to,similarity\nA,ENSG00000000002.3,0.5\nENSG00000000002,C,1\n",
        "TF\ttarget\timportance\nA\tB\t40\nC\tB\t80\n",
        '"regulator" "target" "weight"\n"1" "A" "B" 0.5\n"2" "C" "B" 1\n',
        "#node1\tnode2\tnode1_string_id\tcombined_score\nA\tB\tx\t0.5\nC\tB\ty\t1.0\n",
    ],
)
@pytest.mark.parametrize("name", ["e.tsv", "e.txt.gz"])
def test_spellings_of_an_edge_table(tmp_path: Path, text: str, name: str) -> None:
    genes = Genes(np.array(["A", "B", "C"]), np.array(["", "ENSG00000000002", ""]), np.array([""] * 3),
                  np.array([""] * 3), ("",) * 3, 3)  # fmt: skip
    prior = edge_prior(write(tmp_path, name, text), genes, "mine")
    assert edges(prior, genes) == {frozenset("AB"): 0.5, frozenset("BC"): 1.0}
    assert prior.name == "mine" and prior.source["kind"] == "edges"


def test_edge_table_without_weights(tmp_path: Path) -> None:
    assert edges(edge_prior(write(tmp_path, "e.csv", "gene_a,gene_b\nA,B\nNA,C\n"), ABCD, "x"), ABCD) == {
        frozenset("AB"): 1.0
    }


def test_what_an_edge_table_drops_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    text = "source,target,weight\nA,B,2\nB,A,4\nA,B,1\nC,C,8\nA,Z,1\nA,C,0\nD,Z,1\n"
    prior = edge_prior(write(tmp_path, "e.csv", text), ABCD, "mine")
    assert edges(prior, ABCD) == {frozenset("AB"): 0.5}
    assert known(prior, ABCD) == ["A", "B", "C", "D"]
    assert "divided by 8" in caplog.messages[0]
    assert caplog.messages[1].endswith("2 with another gene, 1 self-loops, 1 of weight 0, 2 repeated")


@pytest.mark.parametrize("neighbours", [0, 1, 2, 5])
def test_the_cut_equals_networkx_whatever_the_order(tmp_path: Path, neighbours: int) -> None:
    """Few distinct weights, so most cuts are ties; permuting genes and rows only relabels the result."""
    draw = np.random.default_rng(1)
    names = np.array([f"G{i}" for i in range(40)], dtype=object)
    rows = [
        (names[a], names[b], w / 4)
        for a, b, w in zip(*draw.integers(40, size=(2, 500)), draw.integers(1, 5, 500), strict=True)
    ]
    every: dict[frozenset[str], float] = {}
    for a, b, w in rows:
        if a != b:
            every[frozenset((a, b))] = max(w, every.get(frozenset((a, b)), 0))
    for _ in range(3):
        genes = Genes.from_symbols(list(draw.permutation(names)))
        rows = [rows[i] for i in draw.permutation(len(rows))]
        text = "source\ttarget\tweight\n" + "".join(f"{a}\t{b}\t{w}\n" for a, b, w in rows)
        prior = edge_prior(write(tmp_path, "e.tsv", text), genes, "x", neighbours)
        assert edges(prior, genes) == cut(every, neighbours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\nA,B,1\n", "columns x, y, z; expected a header with two gene columns"),
        ("A\tB\t1\nC\tD\t1\n", "expected a header"),
        ("source,target,weight\nA,B,1\nA,C,-0.5\n", "row 3: weight '-0.5'.*take absolute values"),
        ("source,target,weight\nA,B,strong\n", "row 2: weight 'strong'; expected a number"),
        ("source,target,weight\nA,B,\n", "row 2: weight ''"),
        ("source,target,weight\nA,B,nan\n", "row 2: weight 'nan'"),
        ("source,target,weight\nA,B,inf\n", "row 2: weight 'inf'"),
        ("source,target,weight\nA,B,1\nA,B\n", "row 3: weight"),
        ("source,target,weight\nA,B,1\n,B,1\n", "row 3: a gene is missing"),
        ("source,target,weight\nA,B,1\nA\n", "row 3: a gene is missing"),
        ("source,target,weight\nA,B,1\nA,B,1,1\n", "Expected 3 fields in line 3, saw 4"),
        ("source,target,weight\nX,Y,1\n", "names none of the 4 genes, such as A, B, C"),
        ("source,target,weight\n", "a header and no rows"),
        ("\n \n", "is empty"),
    ],
)
def test_edge_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        edge_prior(write(tmp_path, "e.csv", text), ABCD, "x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00source", b"\x1f\x8bnot gzip", b"\x00\x01\x02"])
def test_no_text_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.tsv").write_bytes(content)
    with pytest.raises(DataError, match="the edge table"):
        edge_prior(tmp_path / "e.tsv", ABCD, "x")
    with pytest.raises(DataError, match="cannot read"):
        edge_prior(tmp_path, ABCD, "x")


def test_settings_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neighbours of a prior is -1"):
        edge_prior(tmp_path / "e", ABCD, "x", -1)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        go_prior(tmp_path / "e", ABCD, least=1.5)


# ---- co-expression


def screen(order: np.ndarray | None = None, seed: int = 0) -> Screen:
    """40 measured genes in groups of four that vary together, 120 cells, half of them controls; gene 7 is constant."""
    draw = np.random.default_rng(seed)
    programmes = draw.gamma(1.0, size=(120, 10))
    values = np.repeat(programmes, 4, axis=1) + 0.5 * draw.gamma(1.0, size=(120, 40))
    values[draw.random(values.shape) < 0.3] = 0
    values[:, 7] = 1
    order = np.arange(40) if order is None else order
    names = [f"G{i}" for i in order] + ["target"]
    return Screen(
        sp.csr_matrix(values[:, order].astype(np.float32)), np.repeat([-1, 0], 60), ("G0",),
        np.zeros(120, dtype=np.int64), Genes.from_symbols(names, 40),
    )  # fmt: skip


@pytest.mark.parametrize(("neighbours", "least"), [(0, 0.4), (2, 0.1), (20, 0.0)])
def test_coexpression_equals_numpy(monkeypatch: pytest.MonkeyPatch, neighbours: int, least: float) -> None:
    monkeypatch.setattr("grape_dgl.graph.priors.BLOCK", 16)
    cells = screen()
    halves = cells.control_halves(3)
    prior = coexpression_prior(cells, halves, neighbours, least)
    values = np.delete(cells.expression.toarray().astype(np.float64)[halves.model], 7, axis=1)
    names = np.delete(cells.genes.symbol[:40], 7)
    r = np.abs(np.corrcoef(values.T))
    every = {frozenset((names[i], names[j])): r[i, j] for i in range(39) for j in range(i) if r[i, j] >= least}
    assert edges(prior, cells.genes) == approx(cut(every, neighbours), 2e-6)
    assert known(prior, cells.genes) == list(names)


def test_coexpression_sees_the_models_controls_only() -> None:
    """Every other cell may change without an effect; a change in the model's half has one."""
    cells = screen()
    halves = cells.control_halves(0)
    before = coexpression_prior(cells, halves)
    changed = cells.expression.toarray()
    others = np.setdiff1d(np.arange(120), halves.model)
    changed[others] = changed[others][:, ::-1]
    same = Screen(sp.csr_matrix(changed), cells.condition, cells.conditions, cells.batch, cells.genes)
    after = coexpression_prior(same, halves)
    assert torch.equal(before.pairs.value, after.pairs.value) and torch.equal(before.present, after.present)
    changed[halves.model] = changed[halves.model][:, ::-1]
    moved = Screen(sp.csr_matrix(changed), cells.condition, cells.conditions, cells.batch, cells.genes)
    assert edges(coexpression_prior(moved, halves), cells.genes) != edges(before, cells.genes)


def test_coexpression_of_permuted_genes_is_relabelled() -> None:
    order = np.random.default_rng(5).permutation(40)
    here, there = screen(), screen(order)
    halves = here.control_halves(0)
    expected = edges(coexpression_prior(here, halves, 1), here.genes)
    assert edges(coexpression_prior(there, halves, 1), there.genes) == approx(expected, 2e-6)


@pytest.mark.parametrize(("cells", "enough"), [(60, 3), (300, 3), (500, 5)])
def test_coexpression_of_genes_that_few_cells_express_is_unknown(cells: int, enough: int) -> None:
    """Two genes of the same few cells correlate by 1: gene k is seen in k cells; enough are 3, and 1 %."""
    values = np.zeros((2 * cells + 2, 8), np.float32)
    for gene in range(8):
        values[:gene, gene] = values[cells : cells + gene, gene] = 1
    some = Screen(
        sp.csr_matrix(values), np.repeat([-1, 0], [2 * cells, 2]), ("G1",), np.zeros(len(values), dtype=np.int64),
        Genes.from_symbols([f"G{k}" for k in range(8)]),
    )  # fmt: skip
    halves = some.control_halves(0)
    prior = coexpression_prior(some, type(halves)(np.arange(cells), halves.reference))
    assert known(prior, some.genes) == [f"G{k}" for k in range(enough, 8)] and len(prior.pairs)


def test_coexpression_needs_cells_that_vary() -> None:
    cells = screen()
    halves = cells.control_halves(0)
    few = type(halves)(halves.model[:2], halves.reference)
    with pytest.raises(DataError, match="2 control cells"):
        coexpression_prior(cells, few)
    flat = Screen(
        sp.csr_matrix(np.ones((120, 40), np.float32)), cells.condition, cells.conditions, cells.batch, cells.genes
    )
    with pytest.raises(DataError, match="no gene varies"):
        coexpression_prior(flat, halves)
