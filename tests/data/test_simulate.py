"""The simulated screen: a pure function of its parameters, its planted properties visible in the cells."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from grape_dgl.data import demo_biology, simulate
from grape_dgl.data.demo_text import PATHWAYS
from grape_dgl.data.simulate import Demo, Simulation
from grape_dgl.errors import DataError

DEMO = Demo(genes=150, conditions=24, cells=4000)


@pytest.fixture(scope="module")
def result() -> Simulation:
    return simulate.simulate(DEMO)


@pytest.fixture(scope="module")
def change(result: Simulation) -> pd.DataFrame:
    """Observed change of log1p-normalised means from control [conditions, measured]."""
    counts = result.screen.to_df()
    expression = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
    means = expression.groupby(result.screen.obs["condition"].to_numpy()).mean()
    return means.drop("control") - means.loc["control"]


def singles(result: Simulation) -> list[str]:
    return [label for label in result.effects.index if "+" not in label]


def test_same_seed_same_data_and_another_seed_other_data(result: Simulation) -> None:
    again = simulate.simulate(DEMO)
    assert (again.screen.X != result.screen.X).nnz == 0
    pd.testing.assert_frame_equal(again.screen.obs, result.screen.obs)
    pd.testing.assert_frame_equal(again.genes, result.genes)
    pd.testing.assert_frame_equal(again.network, result.network)
    assert again.sequences == result.sequences
    other = simulate.simulate(dataclasses.replace(DEMO, seed=1))
    assert (other.screen.X != result.screen.X).nnz > 0
    assert other.sequences != result.sequences
    assert not other.network.equals(result.network)


def test_more_cells_leave_genes_and_network_as_they_are(result: Simulation) -> None:
    more = simulate.simulate(dataclasses.replace(DEMO, cells=4100, batches=3))
    pd.testing.assert_frame_equal(more.genes, result.genes)
    pd.testing.assert_frame_equal(more.network, result.network)
    pd.testing.assert_frame_equal(more.effects, result.effects)
    assert more.sequences == result.sequences


def test_counts_look_like_a_screen(result: Simulation) -> None:
    screen = result.screen
    assert screen.shape == (4000, 150)
    assert screen.X.format == "csr"
    assert screen.X.dtype == np.float32
    assert np.all(screen.X.data == np.round(screen.X.data))
    assert 0.5 < 1 - screen.X.nnz / np.prod(screen.shape) < 0.8
    counts = screen.obs["condition"].value_counts()
    assert counts["control"] == round(0.12 * 4000)
    assert counts.min() >= 30
    assert len(counts) == DEMO.conditions + 1
    assert set(screen.obs["batch"]) == {"batch1", "batch2"}
    # overdispersed: variance above the mean, within one condition and batch
    control = screen[(screen.obs["condition"] == "control") & (screen.obs["batch"] == "batch1")].to_df()
    high = control.loc[:, control.mean() > 1]
    assert (high.var() > high.mean()).mean() > 0.9


def test_genes(result: Simulation) -> None:
    genes = result.genes
    assert genes["symbol"].is_unique
    assert genes["ensgene"].is_unique
    assert genes["ensgene"].str.fullmatch(r"ENSG9\d{10}").all()
    measured = genes.iloc[: DEMO.genes]
    assert 0.25 <= (measured["biotype"] != "protein_coding").mean() <= 0.30
    assert list(result.screen.var_names) == list(measured["symbol"])
    assert list(result.screen.var["ensembl_id"]) == list(measured["ensgene"])
    lacking_text, lacking_dna = (genes["description"] == "").mean(), np.mean([not dna for dna in result.sequences])
    assert 0.02 < lacking_text < 0.2
    assert 0.02 < lacking_dna < 0.2
    assert {len(dna) for dna in result.sequences} == {0, DEMO.sequence_length}
    assert set("".join(result.sequences)) == set("ACGT")


def test_targets(result: Simulation) -> None:
    targets = singles(result)
    doubles = [label for label in result.effects.index if "+" in label]
    assert (len(targets), len(doubles)) == (18, 6)
    assert len(set(result.effects.index)) == 24
    for label in doubles:
        assert label.split("+") == sorted(set(label.split("+")))
        assert set(label.split("+")) <= set(targets)
    unmeasured = set(targets) - set(result.screen.var_names)
    assert unmeasured == set(result.genes["symbol"][DEMO.genes :])
    assert len(unmeasured) == 2
    described = result.genes.set_index("symbol")["description"]
    assert (described[targets] != "").all()


def test_network_is_sparse_undirected_and_mostly_inside_modules(result: Simulation) -> None:
    network = result.network
    module = dict(zip(result.genes["symbol"], result.module, strict=True))
    assert (network["weight"] > 0).all()
    pairs = [frozenset(pair) for pair in zip(network["source"], network["target"], strict=True)]
    assert all(len(pair) == 2 for pair in pairs)
    assert len(set(pairs)) == len(pairs)
    inside = np.mean([len({module[gene] for gene in pair}) == 1 for pair in pairs])
    assert 0.8 < inside < 0.98
    assert 2 < 2 * len(pairs) / len(result.genes) < 6
    stored = result.screen.uns["demo_network"]
    assert list(stored["source"]) == list(network["source"])


def test_effects_are_the_steady_state_of_the_spread() -> None:
    """loss = W loss + strength e_target, iterated to its fixed point, up to gene signs and the stress response."""
    rng = np.random.default_rng(0)
    plan = demo_biology.draw_plan(60, 8, 2, rng)
    spread = demo_biology.draw_network(plan.module, rng)
    dense = spread.toarray()
    assert np.array_equal(dense, dense.T)
    assert np.abs(np.linalg.eigvalsh(dense)).max() == pytest.approx(demo_biology.SPECTRAL_RADIUS)
    effects = demo_biology.draw_effects(plan, spread, rng)
    assert effects.shape == (10, len(plan.module))
    # nine genes in ten have no stress response: there the effect is plus or minus the loss
    for row, target in enumerate(plan.targets):
        loss = np.zeros(len(plan.module))
        for _ in range(400):
            loss = dense @ loss
            loss[target] += 1.0
        loss *= -effects[row, target] / loss[target]
        exact = np.isclose(np.abs(effects[row]), loss, atol=1e-8)
        assert exact.mean() > 0.75


def test_doubles_are_nearly_additive(result: Simulation) -> None:
    effects = result.effects
    for label in effects.index[len(singles(result)) :]:
        first, second = label.split("+")
        added = effects.loc[first] + effects.loc[second]
        assert np.corrcoef(effects.loc[label], added)[0, 1] > 0.9
        assert effects.loc[label, first] == pytest.approx(added[first])


def test_a_knock_out_lowers_its_target(result: Simulation, change: pd.DataFrame) -> None:
    own = [change.loc[label, label] for label in singles(result) if label in change.columns]
    assert len(own) == 16
    assert max(own) < -0.5


def test_direct_neighbours_change_and_distant_genes_hardly(result: Simulation, change: pd.DataFrame) -> None:
    linked = {frozenset(pair) for pair in zip(result.network["source"], result.network["target"], strict=True)}
    near, far = [], []
    for target, gene in itertools.product(singles(result), change.columns):
        if gene != target:
            (near if frozenset((target, gene)) in linked else far).append(abs(result.effects.loc[target, gene]))
    assert 0.3 < np.median(near) < 1.5
    assert np.median(far) < 0.1


def test_members_of_a_module_act_alike(result: Simulation, change: pd.DataFrame) -> None:
    """Knock-outs of one pathway shift its genes similarly, more so than knock-outs of different pathways do."""
    module = dict(zip(result.genes["symbol"], result.module, strict=True))
    centred = change.loc[singles(result)] - change.loc[singles(result)].mean()
    same, other = [], []
    for a, b in itertools.combinations(singles(result), 2):
        kept = [gene for gene in centred.columns if gene not in (a, b)]
        r = np.corrcoef(centred.loc[a, kept], centred.loc[b, kept])[0, 1]
        (same if module[a] == module[b] else other).append(r)
    assert np.mean(same) > np.mean(other) + 0.2


def test_descriptions_and_motifs_follow_the_modules_but_not_all(result: Simulation) -> None:
    words = [set(" ".join((*pathway.phrases, *pathway.places)).split()) for pathway in PATHWAYS]
    own, other = [], []
    for text, module in zip(result.genes["description"], result.module, strict=True):
        said = set(text.rstrip(".").lower().split())
        own.append(len(said & {w.lower() for w in words[module % len(words)]}))
        other.append(len(said & {w.lower() for w in words[(module + 7) % len(words)]}))
    assert np.mean(own) > np.mean(other) + 2
    assert 0.05 < np.mean(np.array(own) == 0) < 0.4

    def shared(a: int, b: int) -> int:
        kmers = [{dna[i : i + 6] for i in range(len(dna) - 5)} for dna in (result.sequences[a], result.sequences[b])]
        return len(kmers[0] & kmers[1])

    present = [i for i, dna in enumerate(result.sequences) if dna][:80]
    counts: dict[bool, list[int]] = {True: [], False: []}
    for a, b in itertools.combinations(present, 2):
        counts[bool(result.module[a] == result.module[b])].append(shared(a, b))
    assert np.mean(counts[True]) > np.mean(counts[False]) + 2


def test_files_are_written_whole_and_read_back(result: Simulation, tmp_path: Path) -> None:
    files = simulate.write_demo(tmp_path / "a" / "demo", DEMO)
    assert sorted(p.name for p in files.screen.parent.iterdir()) == sorted(p.name for p in files)
    screen = ad.read_h5ad(files.screen)
    assert (screen.X != result.screen.X).nnz == 0
    assert list(screen.obs["condition"]) == list(result.screen.obs["condition"])
    assert list(screen.uns["demo_network"]["target"]) == list(result.network["target"])
    genes = pd.read_csv(files.genes, sep="\t", keep_default_na=False)
    pd.testing.assert_frame_equal(genes, result.genes, check_dtype=False)
    network = pd.read_csv(files.network, sep="\t")
    np.testing.assert_allclose(network["weight"], result.network["weight"])
    lines = files.sequences.read_text().splitlines()
    fasta = dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))
    assert fasta == {s: dna for s, dna in zip(result.genes["symbol"], result.sequences, strict=True) if dna}


def test_cache_generates_once_and_keeps_parameters_apart(tmp_path: Path) -> None:
    spec = "demo:genes=40,conditions=6,cells=100"
    first = simulate.demo_files(spec, tmp_path)
    stamp = first.screen.stat().st_mtime_ns
    assert simulate.demo_files("demo:cells=100, conditions=6, genes=40,seed=0", tmp_path) == first
    assert first.screen.stat().st_mtime_ns == stamp
    assert simulate.demo_files(spec + ",seed=1", tmp_path).screen != first.screen


def test_an_unfinished_demo_is_written_again(tmp_path: Path) -> None:
    spec = "demo:genes=40,conditions=6,cells=100"
    files = simulate.demo_files(spec, tmp_path)
    files.screen.unlink()  # the screen comes last: without it, the writing was interrupted
    assert simulate.demo_files(spec, tmp_path).screen.exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("demo:gens=5", "unknown demo parameter 'gens'; did you mean 'genes'"),
        ("demo:genes=many", "not a whole number"),
        ("demo:genes=-3", "not a whole number"),
        ("demo:genes", "not a whole number"),
        ("demo:genes=3", "expected 30 or more"),
        ("demo:genes=30,conditions=40", "twice as many genes"),
        ("demo:cells=60", "at least 3 cells each"),
        ("norman", "is not a demo"),
    ],
)
def test_wrong_parameters(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Demo.parse(spec)


@pytest.mark.parametrize(
    "spec", ["demo:genes=30,conditions=4,cells=50,sequence_length=50,batches=1", "demo:genes=30,conditions=20,cells=63"]
)
def test_smallest_sizes(spec: str) -> None:
    result = simulate.simulate(Demo.parse(spec))
    assert set(result.screen.obs["condition"]) == {"control", *result.effects.index}


def test_parse_gives_defaults_and_given_values() -> None:
    assert Demo.parse("demo") == Demo()
    assert Demo.parse("demo:genes=5060,seed=3") == Demo(genes=5060, seed=3)
