"""Where nothing can be written: one line, exit code 1, and what was there is whole; and names that are odd."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_screen import SMALL, write

from grape_dgl.cli import main
from grape_dgl.run import Run
from grape_dgl.training.fit import Fit

TRAIN = [word for setting in SMALL for word in ("--set", setting)]
SUITE = """
name = "small"
splits = ["condition"]
seeds = 1
[[data]]
name = "screen"
path = "{screen}"
[[model]]
name = "mean"
"""
COMMANDS = {
    "train": "train {screen} --out {place}/new",
    "train again": "train {screen} --out {place}/run --force",
    "predict": "predict {run} --all-single --out {place}/predictions.h5ad --force",
    "build-graph": "build-graph {screen} --out {place}/graph",
    "plot": "plot {run} --condition G1 --out {place}/figures",
    "features": "features {screen} --out {place}/features.npz",
    "report": "features {screen} --report {place}/report.html",
    "evaluate": "evaluate {run}/predictions.h5ad --truth {screen} --out {place}/scores.csv",
    "benchmark": "benchmark {suite} --out {place}/benchmark",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A screen, a suite and a run."""
    folder = tmp_path_factory.mktemp("made")
    screen, run, suite = Path(write(folder)), folder / "run", folder / "suite.toml"
    suite.write_text(SUITE.format(screen=screen), encoding="utf-8")
    assert main(["train", str(screen), "--out", str(run), *TRAIN]) == 0
    return {"screen": screen, "run": run, "suite": suite}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path, made: dict[str, Path]) -> Iterator[Path]:
    """A small file system of its own, which holds a run and predictions."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a file system here")
    try:
        shutil.copytree(made["run"], place / "run")
        shutil.copy(made["run"] / "predictions.h5ad", place / "predictions.h5ad")
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_takes_nothing(
    command: str, how: str, disk: Path, made: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "full":
        with (disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
    else:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    before = files(disk)
    words = [word.format(**made, place=disk) for word in COMMANDS[command].split()]
    assert main(words + TRAIN * words[0].startswith("train")) == 1
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1 and said[-1] == errors[0], said
    assert any(what in errors[0] for what in ("No space left", "Read-only", "you may write to")), errors
    assert str(disk) in errors[0]
    assert {name: held for name, held in files(disk).items() if not name.endswith(".lock")} == before
    assert Run.load(disk / "run").genes.symbol.tolist() == Run.load(made["run"]).genes.symbol.tolist()


def test_a_folder_that_vanishes(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(Fit, "on_after_backward", lambda self: shutil.rmtree(out, ignore_errors=True))
    assert main(["train", str(made["screen"]), "--out", str(out), *TRAIN]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: the folder '{out}' is gone")
    assert not out.exists()


def test_names_that_shells_stumble_over(made: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "two words, ünïcödé 漢字 'quoted' %s {} #1"
    place.mkdir()
    screen, run, suite = place / "my screen.h5ad", place / "my run", place / "my suite.toml"
    shutil.copy(made["screen"], screen)
    suite.write_text(SUITE.format(screen=screen), encoding="utf-8")
    given = {"screen": str(screen), "run": str(run), "suite": str(suite), "place": str(place)}
    assert main(["train", str(screen), "--out", str(run), *TRAIN]) == 0
    for name, command in COMMANDS.items():
        if not name.startswith("train"):
            assert main([word.format(**given) for word in command.split()]) == 0, name
    loaded = subprocess.run(
        [sys.executable, "-m", "grape_dgl", "info", str(run), "--json"], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.startswith("{")
