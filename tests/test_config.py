"""Settings: precedence, types, ranges, TOML and back."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from grape_dgl.config import Config
from grape_dgl.errors import ConfigError


def test_defaults_are_those_of_the_paper() -> None:
    c = Config()
    assert (c.model.hidden, c.model.layers, c.model.heads, c.model.width, c.model.dropout) == (256, 2, 4, 64, 0.4)
    assert (c.structure.heads, c.structure.hops, c.structure.degree, c.structure.epsilon) == (4, 3, 20.0, None)
    assert (c.alignment.epochs, c.alignment.batch, c.alignment.lr, c.alignment.temperature) == (10, 32, 1e-3, 1.0)
    t = c.training
    assert (t.epochs, t.lr, t.weight_decay, t.huber_delta) == (100, 1e-3, 1e-4, 0.7)
    assert c.split.train == 0.7 and c.structure.regulariser == 1.0
    assert c == Config.resolve() == Config.resolve("default")


def test_the_paper_preset_differs_in_read_out_and_batch_alone() -> None:
    """METHOD: batch 64 cells, Eq. 12 as printed and learned with the rest."""
    default, paper = (Config.resolve(name).to_dict() for name in ("default", "paper"))
    differing = {(s, n): v for s, values in paper.items() for n, v in values.items() if default[s][n] != v}
    assert differing == {
        ("model", "readout"): "plain",
        ("training", "readout"): "gradient",
        ("training", "cells_per_step"): 64,
        ("training", "least_steps"): 1,
    }


def test_precedence(tmp_path: Path) -> None:
    """Defaults < TOML < --set < keyword sections; a None keyword is not given."""
    file = tmp_path / "c.toml"
    file.write_text("[model]\nwidth = 8\nheads = 2\nlayers = 3\n")
    c = Config.resolve(toml=file, settings=["model.heads=5", "model.layers=4"], model={"layers": 1, "width": None})
    assert (c.model.hidden, c.model.width, c.model.heads, c.model.layers) == (256, 8, 5, 1)


def test_toml_round_trip(tmp_path: Path) -> None:
    c = Config.resolve(
        settings=["structure.sparsity=0.2", "model.ablation=no_gsl", "training.lr=3e-4", "split.kind=gene"]
    )
    file = tmp_path / "c.toml"
    file.write_text(c.to_toml())
    assert Config.resolve(toml=file) == c
    assert set(tomllib.loads(c.to_toml())) == {f.name for f in dataclasses.fields(Config)}


def test_text_becomes_the_type_of_the_field() -> None:
    c = Config.resolve(settings=["structure.heads=8", " training.lr = 1 ", "structure.sparsity=degree:5"])
    assert type(c.structure.heads) is int and type(c.training.lr) is float and c.structure.degree == 5.0
    assert Config.resolve(settings=["structure.sparsity=0.25"]).structure.epsilon == 0.25


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("structure.haeds=5", "unknown setting 'structure.haeds'; did you mean 'heads'"),
        ("structur.heads=5", "unknown section 'structur'; did you mean 'structure'"),
        ("heads=5", "not of the form section.key=value"),
        ("structure.heads", "not of the form section.key=value"),
        ("structure.heads=many", "'structure.heads' is 'many'; expected int"),
        ("structure.heads=2.5", "'structure.heads' is '2.5'; expected int"),
        ("structure.heads=0", "expected 1 or more"),
        ("structure.heads=3", "expected a divisor of model.hidden = 256"),
        ("features.window=-1", "expected 0 or more bases"),
        ("features.stride=-1", "expected 0 to features.window"),
        ("features.dna_pooling=median", "expected one of mean_std, mean, max, first, last"),
        ("features.precision=fp16", "expected one of fp32, bf16"),
        ("features.remote_code=main", "expected a commit .40 hex digits., the sha256 of a folder .64., or an empty"),
        (f"features.remote_code={'0' * 40}", "expected an empty string: packaged models bring no code"),
        ("structure.sparsity=0.001", "expected 'degree:D' or a threshold from 0.01 to 1"),
        ("structure.sparsity=1.5", "expected 'degree:D' or a threshold from 0.01 to 1"),
        ("structure.sparsity=degree:0", "degree:D' with D above 0"),
        ("structure.sparsity=degree:x", "degree:D' with D above 0"),
        ("structure.sparsity=nan", "expected 'degree:D' or a threshold"),
        ("structure.gradient=both", "expected one of task, regulariser"),
        ("model.ablation=no_graph", "expected one of none, only_seq"),
        ("model.dropout=1", "from 0 to below 1"),
        ("training.epochs=0", "expected 1 or more"),
        ("training.lr=0", "a number above 0"),
        ("training.patience=-1", "expected 0 or more"),
        ("split.train=1", "a share between 0 and 1"),
        ("split.validation=1", "from 0 to below 1"),
        ("alignment.batch=1", "2 or more"),
        ("features.kmer=9", "from 1 to 8"),
    ],
)
def test_what_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.resolve(settings=[setting])


@pytest.mark.parametrize("value", [True, 2.5, None, [1]])
def test_values_of_a_wrong_type(value: Any) -> None:
    with pytest.raises(ConfigError, match="structure.heads"):
        Config.from_dict({"structure": {"heads": value}})


def test_unknown_preset_and_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        Config.resolve("papr")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        Config.resolve(toml=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("model = [")
    with pytest.raises(ConfigError, match="is not TOML"):
        Config.resolve(toml=tmp_path / "bad.toml")
    (tmp_path / "flat.toml").write_text("model = 3")
    with pytest.raises(ConfigError, match="expected a section such as"):
        Config.resolve(toml=tmp_path / "flat.toml")


@pytest.mark.parametrize(
    ("ablation", "wanted"), [("none", None), ("only_seq", "seq"), ("only_fusion", None), ("no_gsl", None)]
)
def test_the_modality_of_an_ablation(ablation: str, wanted: str | None) -> None:
    assert Config.resolve(settings=[f"model.ablation={ablation}"]).model.only == wanted


def test_no_gsl_has_no_learned_graph_to_add_neighbours_to() -> None:
    with pytest.raises(ConfigError, match="min_neighbours.*no_gsl"):
        Config.resolve(settings=["model.ablation=no_gsl", "structure.min_neighbours=2"])


def test_windows_leave_no_base_out() -> None:
    Config.resolve(settings=["features.window=100", "features.stride=100"])
    Config.resolve(settings=["features.stride=100"])
    with pytest.raises(ConfigError, match="'features.stride' is 101; expected 0 to features.window"):
        Config.resolve(settings=["features.window=100", "features.stride=101"])


def test_code_is_allowed_of_a_model_that_brings_some() -> None:
    for setting in ("features.dna_model=lab/model", "features.text_model=lab/model"):
        Config.resolve(settings=[setting, f"features.remote_code={'a1' * 20}"])


def test_every_default_passes_its_own_check() -> None:
    assert Config.from_dict(Config().to_dict()) == Config()
