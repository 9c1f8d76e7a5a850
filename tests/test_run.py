"""A run folder: saved = loaded, and what it answers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from engines import needs_dgl
from safetensors.numpy import load_file, save_file

import grape_dgl
import grape_dgl.training.ensemble as ensemble_module
from grape_dgl.cli import main
from grape_dgl.config import Config
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.catalog import Source, resolve
from grape_dgl.data.conditions import targets
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import Screen
from grape_dgl.errors import DataError, ModelError
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.features.encode import encode
from grape_dgl.model import GRAPE
from grape_dgl.pipeline import train
from grape_dgl.run import Run, resolve_device
from grape_dgl.training import expectations
from grape_dgl.training.knowledge import knowledge
from grape_dgl.training.response import Evidence, chosen_knowledge, fit_response


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return resolve("demo:genes=80,conditions=14,cells=700", cache=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("run")
    screen = read_screen(source.path, annotation=Annotation.from_files(source.annotation, source.sequences))
    config = Config.resolve(
        features={"kmer": 3},
        alignment={"epochs": 1},
        structure={"heads": 2, "sparsity": "degree:6"},
        model={"hidden": 32, "width": 8, "heads": 2},
        training={"epochs": 2, "ensemble": 2, "device": "cpu"},
    )
    return train(screen, folder, config, cache=folder / "cache"), folder


def conditions(run: Run) -> list[str]:
    a, b, c = run.genes.symbol[:3]
    return [a, f"{b}+{a}", f"{a}+{b}+{c}", "control"]


@needs_dgl
def test_saved_is_loaded_in_both_engines(trained: tuple[Run, Path]) -> None:
    run, folder = trained
    wanted = run.predict(conditions(run))
    same = Run.load(folder, engine=run.ensemble.members[0].engine, device="cpu")
    np.testing.assert_array_equal(same.predict(conditions(run)).change, wanted.change)
    assert same.config == run.config and dict(same.conditions) == dict(run.conditions)
    pd.testing.assert_frame_equal(same.genes.to_frame(), run.genes.to_frame())
    pd.testing.assert_frame_equal(same.graph(), run.graph())
    for engine in ("dgl", "torch"):
        other = Run.load(folder, engine=engine, device="cpu").predict(conditions(run))
        np.testing.assert_allclose(other.change, wanted.change, rtol=0, atol=1e-6)
        np.testing.assert_allclose(other.std, wanted.std, rtol=0, atol=1e-6)


def test_it_says_what_it_is_in_a_line(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    assert repr(run).startswith(f"Run of 2 GRAPE on {len(run.genes)} genes; conditions: ")
    assert "\n" not in repr(run) and " test" in repr(run)


def test_predictions_say_what_they_are(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    a, b, c = sorted(run.genes.symbol[:3])
    found = run.predict([f"{b}+{a}", f"{a}+{b}", f"{a}+ctrl", "control"])
    assert found.conditions == (f"{a}+{b}", a, "control")  # one name each, order of asking
    assert list(found.genes) == list(run.genes.symbol[: run.genes.measured])
    np.testing.assert_allclose(found.expected, found.change + run.control, rtol=1e-6)
    assert found.std is not None and found.std.shape == found.change.shape
    for name, part in zip(found.conditions, found.split, strict=True):
        assert part == run.conditions.get(name, "unseen")
    seen = next(iter(run.conditions))
    assert run.predict([seen]).split == (run.conditions[seen],)


def test_a_prediction_does_not_depend_on_what_else_is_asked(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    together = run.predict(conditions(run)).change
    for row, name in enumerate(conditions(run)):
        np.testing.assert_allclose(run.predict([name]).change[0], together[row], rtol=0, atol=1e-6)


def test_a_gene_outside_the_run(trained: tuple[Run, Path], tmp_path: Path) -> None:
    """It needs a description; it then changes no other condition; two new genes in one condition do as well."""
    run, _ = trained
    table = tmp_path / "new.tsv"
    table.write_text(
        "symbol\tbiotype\tdescription\n"
        f"NEW1\tprotein_coding\t{run.genes.description[0]}\nNEW2\tlncRNA\t{run.genes.description[1]}\n"
    )
    annotation = Annotation.from_files([table])
    a = str(run.genes.symbol[0])
    found = run.predict([a, "NEW1", f"NEW1+{a}", "NEW1+NEW2", "control"], annotation, tmp_path / "cache")
    assert np.isfinite(found.change).all()
    np.testing.assert_allclose(found.change[[0, 4]], run.predict([a, "control"]).change, rtol=0, atol=1e-6)
    assert np.abs(found.change[2] - found.change[1]).max() > 1e-6
    for asked in (None, Annotation.empty()):
        with pytest.raises(DataError, match=r"names a gene that is not known: 'NEW1'.*--annotation"):
            run.predict(["NEW1"], asked)
    with pytest.raises(DataError, match="not known: 'NEW3'"):
        run.predict(["NEW3"], annotation)


def test_spelling_of_a_gene_outside_the_run(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, _ = trained
    table, a = tmp_path / "new.tsv", str(run.genes.symbol[0])
    table.write_text("symbol\tdescription\nNEW1\tsome text\n")
    annotation = Annotation.from_files([table])
    wanted = ("+".join(sorted((a, "NEW1"))),)
    for text in (f"NEW1+{a}", f"{a} + NEW1", f"NEW1_{a}", f"NEW1+{a}+ctrl"):
        assert run.predict([text], annotation).conditions == wanted


def test_genes_by_ensembl_id(trained: tuple[Run, Path], tmp_path: Path) -> None:
    """An id of a node is that node, also where the annotation has the id under another symbol; then a gene outside."""
    run, _ = trained
    ensembl, symbol = str(run.genes.ensembl[0]), str(run.genes.symbol[0])
    assert run.predict([ensembl]).conditions == (symbol,)
    table = tmp_path / "new.tsv"
    table.write_text(f"symbol\tensgene\tdescription\nOTHER\t{ensembl}\tsome text\nNEW1\tENSG00000000777\tmore text\n")
    found = run.predict(f"{ensembl}+ENSG00000000777", Annotation.from_files([table]))
    assert found.conditions == ("+".join(sorted((symbol, "NEW1"))),)


def test_predict_of_a_folder_and_of_one_condition(trained: tuple[Run, Path]) -> None:
    run, folder = trained
    name = str(run.genes.symbol[0])
    found = grape_dgl.predict(folder, name)
    assert found.conditions == (name,)
    np.testing.assert_allclose(found.change, grape_dgl.predict(run, [name]).change, rtol=0, atol=1e-6)


def test_written_part_by_part_the_file_is_the_same(
    trained: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With genes outside the run among the others, so that the rows of a part are not beside each other."""
    run, _ = trained
    table = tmp_path / "new.tsv"
    table.write_text("symbol\tbiotype\tdescription\nNEW1\tprotein_coding\tkinase of the membrane\n", encoding="utf-8")
    annotation, (a, b, *_) = Annotation.from_files([table]), run.genes.symbol
    asked = [a, "NEW1", f"{b}+NEW1", b, f"{a}+{b}"]
    run.predict(asked, annotation).write(tmp_path / "whole.h5ad")
    monkeypatch.setattr(ensemble_module, "STREAM", 2)
    names = run.predict_to(tmp_path / "parts.h5ad", asked, annotation)
    whole, parts = (ad.read_h5ad(tmp_path / name) for name in ("whole.h5ad", "parts.h5ad"))
    assert names == list(whole.obs_names)
    pd.testing.assert_frame_equal(parts.obs, whole.obs)
    pd.testing.assert_frame_equal(parts.var, whole.var)
    assert (
        set(parts.layers) == set(whole.layers) == {"change", "std"} and parts.uns["grape_dgl"] == whole.uns["grape_dgl"]
    )
    for mine, wanted in ((parts.X, whole.X), *((parts.layers[name], whole.layers[name]) for name in parts.layers)):
        assert mine.dtype == wanted.dtype
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-6)


def test_a_failure_among_the_parts_leaves_the_old_file(
    trained: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained
    (tmp_path / "all.h5ad").write_text("old")
    monkeypatch.setattr(ensemble_module, "STREAM", 1)
    calls = iter(range(9))
    states = GRAPE.states
    monkeypatch.setattr(GRAPE, "states", lambda *args: states(*args) if next(calls) < 3 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.predict_to(tmp_path / "all.h5ad", list(run.genes.symbol[:4]))
    assert (tmp_path / "all.h5ad").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_gene_that_nothing_is_known_of_is_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    """In the run, or outside it with a modality that the model does not use."""
    run, _ = trained
    bare = [str(symbol) for symbol in run.genes.symbol[~run.described]]
    assert bare
    with pytest.raises(DataError, match=rf"nothing is known of 1 of the genes to perturb \({bare[0]}\)"):
        run.predict([f"{run.genes.symbol[0]}+{bare[0]}"])
    (tmp_path / "new.tsv").write_text("symbol\tbiotype\nNEW1\tlncRNA\n")
    with pytest.raises(DataError, match=r"no gene has a description or DNA sequence"):
        run.predict(["NEW1"], Annotation.from_files([tmp_path / "new.tsv"]))


def test_another_encoder_than_the_run_had_is_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, _ = trained
    other = dataclasses.replace(run, feature_sources={m: {"sha256": "other"} for m in run.feature_sources})
    (tmp_path / "new.tsv").write_text("symbol\tdescription\nNEW1\tsome text\n")
    with pytest.raises(ModelError, match="text features of this run came from"):
        other.predict(["NEW1"], Annotation.from_files([tmp_path / "new.tsv"]))


def test_unknown_gene_suggests_the_closest(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    name = str(run.genes.symbol[5])
    with pytest.raises(DataError, match="did you mean"):
        run.predict([name + "x"])


def copy_of(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".toml", ".tsv", ".safetensors"):
            place = to / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize(
    "file", ["model/model.json", "model/inputs.safetensors", "model/weights-1.safetensors", "nodes.tsv"]
)
def test_a_missing_or_damaged_file_is_named(trained: tuple[Run, Path], tmp_path: Path, file: str) -> None:
    folder = copy_of(trained[1], tmp_path / "copy")
    (folder / file).write_bytes(b"x")
    with pytest.raises(ModelError, match="copy"):
        Run.load(folder)
    (folder / file).unlink()
    with pytest.raises(ModelError, match="copy"):
        Run.load(folder)


def test_newer_format_is_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    folder = copy_of(trained[1], tmp_path / "copy")
    path = folder / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ModelError, match="format 99.*update grape_dgl"):
        Run.load(folder)


def test_an_altered_description_is_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    folder = copy_of(trained[1], tmp_path / "copy")
    (folder / "model" / "model.json").write_text('{"format": 1}')
    with pytest.raises(ModelError, match="lacks 'widths'; the run folder is altered"):
        Run.load(folder)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no run folder of grape-dgl train"):
        Run.load(tmp_path)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(ModelError, match="'cuda' is not available"):
        resolve_device("cuda")


SMALL: dict[str, dict[str, Any]] = {
    "features": {"kmer": 3},
    "alignment": {"epochs": 1},
    "structure": {"heads": 2, "sparsity": "degree:6"},
    "model": {"hidden": 32, "width": 8, "heads": 2},
    "training": {"epochs": 2, "device": "cpu"},
}


@pytest.fixture(scope="module")
def best(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Screen]:
    """By the preset, with a network that speaks."""
    folder = tmp_path_factory.mktemp("best")
    screen = read_screen(source.path, annotation=Annotation.from_files(source.annotation, source.sequences))
    config = Config.resolve(preset="best", **SMALL)
    run = train(screen, folder, config, cache=folder / "cache")
    for member in run.ensemble.members:
        member.readout.weight.data.normal_()
    return run, folder, screen


def test_best_is_the_response_and_what_the_network_adds(best: tuple[Run, Path, Screen], tmp_path: Path) -> None:
    run, _, screen = best
    parts = [name for part in ("train", "val") for name, of in run.conditions.items() if of == part]
    control = screen.control_halves(run.config.training.seed)
    evidence, kernels = Evidence.of(screen, parts, control), knowledge(run.ensemble.genes)
    chosen = chosen_knowledge(evidence, run.config.response, kernels)
    alone = fit_response(evidence, run.config.response, chosen)
    assert run.response is not None
    np.testing.assert_allclose(run.response.effects, alone.effects)
    asked = conditions(run)
    assert run.silent == [False]
    found = run.predict(asked)
    ids = [[run.genes.index(gene) for gene in targets(name)] for name in found.conditions]
    network = np.concatenate([part.mean for part in run.ensemble.predict(ids)])
    expected = alone.change(ids, chosen)
    expected[[not one for one in ids]] = 0  # the control
    assert np.abs(network[:-1]).max() > 0.01
    np.testing.assert_allclose(found.change, network + expected, rtol=0, atol=1e-5)
    assert found.margin is not None and not found.margin[found.conditions.index("control")].any()
    np.testing.assert_allclose(found.margin[0], run.response.margin(ids[:1])[0], rtol=1e-6)
    run.predict_to(tmp_path / "parts.h5ad", asked)
    written = Predictions.read(tmp_path / "parts.h5ad")
    np.testing.assert_allclose(written.change, found.change, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(written.margin, found.margin)


def test_best_is_saved_and_loaded(best: tuple[Run, Path, Screen]) -> None:
    """The weights in the folder are those before the test changed them: the network is silent there, or speaks."""
    run, folder, _ = best
    again = Run.load(folder, device="cpu")
    assert again.response is not None and run.response is not None
    for name, value in run.response.tensors().items():
        np.testing.assert_array_equal(again.response.tensors()[name], value)
    assert json.loads((folder / "model" / "model.json").read_text())["format"] == 3
    tensors = load_file(folder / "model" / "inputs.safetensors")
    del tensors["response.effects"]
    altered = folder.parent / "altered"
    shutil.copytree(folder, altered)
    save_file(tensors, altered / "model" / "inputs.safetensors")
    with pytest.raises(ModelError, match=r"inputs.safetensors' is not the file that was written .*checksum"):
        Run.load(altered)
    description = json.loads((altered / "model" / "model.json").read_text())
    del description["sha256"]
    (altered / "model" / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="lacks 'response.effects'"):
        Run.load(altered)


def test_what_training_has_not_seen_is_named(
    source: Source, best: tuple[Run, Path, Screen], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``train`` of the test conditions and by ``predict``, against the targets in split.json."""
    run, folder, _ = best
    assert run.response is not None and not run.response.knowledge
    parts = json.loads((folder / "split.json").read_text())
    seen = {gene for part in ("train", "val") for name in parts[part] for gene in targets(name)}
    expressed = run.genes.symbol[: run.genes.measured][run.control > 0.1]
    unseen = [str(gene) for gene in run.genes.symbol[run.described] if gene not in seen and gene in expressed]
    flags = ["--annotation", str(source.annotation[0]), "--sequences", str(source.sequences[0]), "--preset", "best"]
    settings = [f"{part}.{name}={value}" for part, of in SMALL.items() for name, value in of.items()]
    flags += [flag for one in settings for flag in ("--set", one)]
    assert main(["train", str(source.path), *flags, "--out", str(tmp_path / "run")]) == 0
    new = sorted({gene for name in parts["test"] for gene in targets(name)} - seen)
    alone = sum(seen.isdisjoint(targets(name)) for name in parts["test"])
    said = capsys.readouterr().err
    assert new and f"training has not seen {len(new)} targets ({', '.join(new)}): beside what" in said
    assert f"; {alone} of {len(parts['test'])} conditions have no other target" in said
    asked = [f"{unseen[1]}+{unseen[0]}", sorted(seen)[0], f"{sorted(seen)[0]}+{unseen[0]}"]
    assert main(["predict", str(tmp_path / "run"), *(flag for name in asked for flag in ("--condition", name))]) == 0
    said = capsys.readouterr().err
    assert f"training has not seen 2 targets ({', '.join(sorted(unseen[:2]))}): " in said
    assert "; 1 of 3 conditions have no other target" in said
    assert "change nothing but their own expression, 2 of them; " in said


def test_what_is_known_of_genes_speaks_for_unseen_ones(source: Source, tmp_path: Path) -> None:
    """Of the run and outside it: by the text alone, as it is told here; the network is silent."""
    screen = read_screen(source.path, annotation=Annotation.from_files(source.annotation, source.sequences))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expectations, "chosen_knowledge", lambda evidence, settings, of: {"text": of["text"]})
        run = train(screen, tmp_path / "run", Config.resolve(preset="best", **SMALL))
    for member in run.ensemble.members:
        member.readout.weight.data.zero_()
    assert run.response is not None and run.response.weights is not None and run.silent == [True]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["knowledge"] == ["text"]
    seen, described = set(run.response.targets.tolist()), run.genes.description != ""
    unseen = next(i for i in range(len(run.genes)) if i not in seen and described[i])
    table = tmp_path / "new.tsv"
    table.write_text(f"symbol\tbiotype\tdescription\nNEW1\tprotein_coding\t{run.genes.description[unseen]}\n")
    annotation = Annotation.from_files([table])
    found = run.predict([str(run.genes.symbol[unseen]), "NEW1"], annotation)
    outside = encode(annotation.describe(["NEW1"], [""], measured=0), run.config.features)["text"].values
    inside = run.ensemble.genes.values["text"].numpy()
    centre = inside[run.ensemble.genes.present["text"].numpy()].mean(axis=0)
    for row, vector in enumerate((inside[unseen], outside[0])):
        alike = run.response.knowledge["text"] * (vector - centre) @ (inside[run.response.targets] - centre).T
        wanted = run.response.common + alike @ run.response.weights
        assert np.abs(alike @ run.response.weights).max() > 1e-3
        if row == 0 and unseen < run.genes.measured:
            wanted[unseen] += run.response.own[unseen]
        np.testing.assert_allclose(found.change[row], wanted, rtol=0, atol=1e-5)
    again = Run.load(tmp_path / "run", device="cpu")
    assert again.response is not None and again.response.knowledge == run.response.knowledge
    np.testing.assert_array_equal(again.response.weights, run.response.weights)
