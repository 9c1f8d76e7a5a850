"""Jobs in worker processes: scores as by hand, failures as rows, and nothing lost to SIGKILL at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import grape_dgl
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import training_changes
from grape_dgl.config import SplitConfig
from grape_dgl.evaluation.evaluate import evaluate
from grape_dgl.suite.benchmark import benchmark
from grape_dgl.suite.jobs import collect, failures, jobs_of
from grape_dgl.suite.queue import run_jobs
from grape_dgl.suite.spec import Suite
from suite.small_suite import SUITE, write_suite

PLAIN = ["model", "data", "split", "seed", "condition", "seen", "metric", "value", "reason"]
"""Columns that do not depend on time and place."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("suite")
    suite = Suite.read(write_suite(folder))
    benchmark(suite, folder / "out", folder / "cache", workers=2)
    return suite, folder / "out"


def test_rows_are_the_scores_of_the_model_on_the_split(done: tuple[Suite, Path]) -> None:
    suite, out = done
    table = pd.read_parquet(out / "results.parquet")
    screen = grape_dgl.read_screen(suite.data[0].path)
    for seed in range(2):
        split = grape_dgl.make_split(screen.conditions, SplitConfig(), seed)
        control, model = screen.control_halves(seed), MeanBaseline()
        model.fit(screen, split, control)
        trained = training_changes(screen, [*split.train, *split.val], control)
        wanted = evaluate(screen, control, {"mean": model.predict(split.test)}, split.test, seed, trained=trained)
        rows = table[(table["model"] == "mean") & (table["seed"] == seed)]
        np.testing.assert_array_equal(rows["value"], wanted["value"])
        assert rows["condition"].tolist() == wanted["condition"].tolist()
        assert rows["seen"].tolist() == [split.classes[name] for name in wanted["condition"]]


def test_a_job_that_fails_is_a_row_with_its_reason(done: tuple[Suite, Path]) -> None:
    suite, out = done
    bad = list(failures(collect(jobs_of(suite), out)))
    assert [(row["model"], row["seed"]) for row in bad] == [("go", 0), ("go", 1)]
    assert all("names no GO file" in row["reason"] for row in bad)
    assert set(pd.read_csv(out / "summary.csv")["model"]) == {"control", "mean", "identity"}


def test_what_is_done_is_not_done_again(done: tuple[Suite, Path], tmp_path: Path) -> None:
    suite, out = done
    files = {path: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    benchmark(suite, out, tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    benchmark(suite, out, tmp_path, retry=True)
    again = {path.name.split(".")[3] for path in (out / "jobs").iterdir() if path.stat().st_mtime_ns != files[path]}
    assert again == {"go"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_is_killed_costs_its_job_only(tmp_path: Path) -> None:
    """A model that kills its own process, as the system does when memory is out."""
    text = SUITE + '\n[[model]]\nname = "killer"\nkind = "GRAPE"\n'
    suite = Suite.read(write_suite(tmp_path, text))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'lightning': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if any('spawn_main' in word for word in sys.orig_argv): sys.meta_path.insert(0, Finder())\n"
    )
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), before]))
    try:
        run_jobs(jobs_of(suite)[:1], tmp_path / "out", tmp_path)
    finally:
        os.environ["PYTHONPATH"] = before
    (row,) = failures(collect(jobs_of(suite), tmp_path / "out"))
    assert row["reason"] == "the worker died (signal 9)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_at_random_moments_and_gone_on_the_table_is_the_same(done: tuple[Suite, Path], tmp_path: Path) -> None:
    """SIGKILL to the command and its workers; a finished job is never lost and never done twice."""
    suite, out = done
    wanted = pd.read_parquet(out / "results.parquet")[PLAIN].astype(str)
    toml = write_suite(tmp_path)
    command = [sys.executable, "-m", "grape_dgl", "benchmark", str(toml), "-o", str(tmp_path / "out"), "-q"]
    draw, finished = random.Random(0), set[Path]()
    for _ in range(3):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path
        )
        started = time.monotonic()
        while not (tmp_path / "out" / "jobs").is_dir() and process.poll() is None and time.monotonic() - started < 60:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.8))
        process.kill()
        process.wait()
        now = set((tmp_path / "out" / "jobs").glob("*.parquet"))
        assert finished <= now and all(len(pd.read_parquet(path)) for path in now)
        finished = now
    assert subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).returncode == 0
    found = pd.read_parquet(tmp_path / "out" / "results.parquet")[PLAIN].astype(str)
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code", "shown"), [(signal.SIGINT, 130, "0/3996"), (signal.SIGTERM, 143, "1/3996")])
def test_a_signal_ends_the_workers_as_well(tmp_path: Path, number: signal.Signals, code: int, shown: str) -> None:
    """To the whole group, as a terminal does; no process is left and none complains."""
    command = [
        sys.executable,
        "-m",
        "grape_dgl",
        "benchmark",
        str(write_suite(tmp_path)),
        "-o",
        "out",
        "--seeds",
        "999",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background ignores
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    while shown not in said and process.poll() is None:
        said += process.stderr.read(1)
    os.killpg(process.pid, number)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # the process of multiprocessing that cleans up is the last to go
            os.killpg(process.pid, 0)
            time.sleep(0.2)
