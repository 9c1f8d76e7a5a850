"""``grape-dgl info`` against the interpreter's own answers and a run folder written by hand."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from grape_dgl.cli import main
from grape_dgl.config import Config
from grape_dgl.engine import default_engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a run that ``info`` reads."""
    (tmp_path / "config.toml").write_text(Config.resolve(settings=["training.seed=7"]).to_toml())
    (tmp_path / "split.json").write_text(json.dumps({"train": ["A", "B"], "val": ["C"], "test": ["A+B"]}))
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {"GRAPE": {"rmse": 0.25, "dac": None}}, "n_test": 1}))
    return tmp_path


def test_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["torch"] == version("torch")
    assert facts["engine"]["cpu"] == default_engine("cpu")


def test_run_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["split"] == {"train": 2, "val": 1, "test": 1}
    assert facts["config"]["training"]["seed"] == 7
    assert facts["metrics"]["test"]["GRAPE"] == {"rmse": 0.25, "dac": None}


def test_run_folder_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "rmse 0.25" in lines
    assert "dac -" in lines


def test_unfinished_run_has_no_scores_yet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "metrics.json").unlink()
    assert main(["info", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("split.json", None, "has no split.json"),
        ("split.json", "{", "'split.json' is damaged"),
        ("split.json", '{"train": []}', "'split.json' is damaged"),
        ("config.toml", "= 3", "'config.toml' is damaged"),
    ],
)
def test_what_is_no_run_folder(
    folder: Path, name: str, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    assert main(["info", str(folder)]) == 1
    assert said in capsys.readouterr().err


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "none")]) == 1
    assert "there is no run folder" in capsys.readouterr().err
