"""Ctrl-C and SIGTERM in a real process: the epoch in hand is finished and the run written; twice stops at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.run import Run

FLAGS = [
    "features.kmer=2", "model.hidden=16", "model.width=4", "model.heads=2", "structure.heads=2", "alignment.epochs=1",
    "training.epochs=100000", "training.patience=0", "training.device=cpu",
]  # fmt: skip


def start(out: Path, cache: Path, awaited: str, *settings: str) -> subprocess.Popen[str]:
    """A training that would never end, once the file ``awaited`` is in its run folder."""
    command = [sys.executable, "-m", "grape_dgl", "train", "demo:genes=40,conditions=12,cells=900", "--out", str(out)]
    flags = [text for setting in (*FLAGS, *settings) for text in ("--set", setting)]
    process = subprocess.Popen(
        [*command, *flags, "--cache", str(cache)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if (out / awaited).exists() or process.poll() is not None:
            break
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[1]
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_usable_run(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path / "run", tmp_path, "log.csv")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "finishing this epoch" in err and "Traceback" not in err
    assert out.startswith("model") and "GRAPE" in out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["interrupted"] is True
    run = Run.load(tmp_path / "run")
    assert np.isfinite(run.predict([str(run.genes.symbol[0])]).change).all()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Exit code 130 in one line; there are no scores that could be taken for those of a whole run."""
    process = start(tmp_path / "run", tmp_path, "model/weights-0.safetensors", "training.least_steps=100000")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("finishing this epoch" in line for line in process.stderr)  # two signals at a time count as one
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.rstrip().endswith("interrupted; to go on: the same command with --resume") and "Traceback" not in err
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_encoded_is_kept_and_it_is_said_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    words = ["features", "demo:genes=3000,conditions=12,cells=100", "--min-cells", "2", "--cache", str(tmp_path)]
    command = [sys.executable, "-m", "grape_dgl", *words, "--out", str(tmp_path / "features.npz")]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background
    )  # fmt: skip
    for _ in range(600):
        if list(tmp_path.glob("**/*.sqlite*")) or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.rstrip().endswith("interrupted; what is done is kept: the same command goes on"), err
    assert "Traceback" not in err and not (tmp_path / "features.npz").exists()
