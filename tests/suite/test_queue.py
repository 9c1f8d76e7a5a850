"""Jobs in worker processes: scores as by hand, failures as rows, and nothing lost to SIGKILL at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import grape_dgl
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.protocol import training_changes
from grape_dgl.config import SplitConfig
from grape_dgl.errors import GrapeError
from grape_dgl.evaluation.evaluate import evaluate
from grape_dgl.suite import lock, queue
from grape_dgl.suite.benchmark import benchmark
from grape_dgl.suite.jobs import collect, failures, jobs_of, write_failure
from grape_dgl.suite.spec import Suite
from suite import dying_workers
from suite.dying_workers import LightJob, die_around_the_report
from suite.small_suite import write_suite

PLAIN = ["model", "data", "split", "seed", "condition", "seen", "metric", "value", "reason"]
"""Columns that do not depend on time and place."""
FINISHED = "[!.]*.parquet"
"""A row file under its own name; one that a worker is writing begins with a dot."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("suite")
    suite = Suite.read(write_suite(folder))
    for leftover in ("models/.x.0-before-abc/model/.part-1-x", "jobs/.part-1-x.parquet", "models/x/.part-1-x"):
        (folder / "out" / leftover).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / leftover).touch()
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
    assert [(row["model"], row["seed"]) for row in bad] == [("seq", 0), ("seq", 1)]
    assert all("what the kernel 'seq' needs" in row["reason"] for row in bad)
    assert set(pd.read_csv(out / "summary.csv")["model"]) == {"control", "mean", "identity"}


def test_what_killed_jobs_left_is_removed(done: tuple[Suite, Path]) -> None:
    _, out = done
    assert (out / "models").is_dir()
    assert not [path for path in out.rglob("*") if "-before-" in path.name or path.name.startswith(".part-")]


def test_what_is_done_is_not_done_again(done: tuple[Suite, Path]) -> None:
    suite, out = done
    files = {path: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    benchmark(suite, out, out.parent / "cache")
    assert files == {path: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    benchmark(suite, out, out.parent / "cache", retry=True)
    again = {path.name.split(".")[3] for path in (out / "jobs").iterdir() if path.stat().st_mtime_ns != files[path]}
    assert again == {"seq"}


def test_one_command_at_a_time(done: tuple[Suite, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, _ = done
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    with lock.locked(tmp_path):
        with pytest.raises(GrapeError, match="another benchmark works in .*; wait .* another --out"):
            benchmark(suite, tmp_path, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]
    with lock.locked(tmp_path):
        pass


def test_a_failure_does_not_replace_a_result(done: tuple[Suite, Path]) -> None:
    suite, out = done
    job = jobs_of(suite)[0]
    before = job.result(out).read_bytes()
    write_failure(job, out, "too late")
    assert job.result(out).read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_dies_around_its_report_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are those that the workers wrote; for what is left another is hired."""
    jobs: list[Any] = [LightJob("reported"), LightJob("silent"), LightJob("last")]

    def seen_late(worker: queue._Worker, died: Callable[[queue._Worker], str] = queue._died) -> str:
        said = died(worker)
        worker.process.join()
        return said

    monkeypatch.setattr(queue, "work", die_around_the_report)
    monkeypatch.setattr(queue, "_died", seen_late)
    with lock.locked(tmp_path) as held:
        queue.run_jobs(jobs, tmp_path, tmp_path, held)
    assert all(job.result(tmp_path).read_text(encoding="ascii") == job.name for job in jobs)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_is_killed_costs_its_job_only(tmp_path: Path) -> None:
    """A worker that kills itself, as the system does when memory is out."""
    suite = Suite.read(write_suite(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if any('spawn_main' in word for word in sys.orig_argv): sys.meta_path.insert(0, Finder())\n"
    )
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), before]))
    try:
        with lock.locked(tmp_path / "out") as held:
            queue.run_jobs(jobs_of(suite)[:1], tmp_path / "out", tmp_path, held)
    finally:
        os.environ["PYTHONPATH"] = before
    (row,) = failures(collect(jobs_of(suite), tmp_path / "out"))
    assert row["reason"] == "the worker died (signal 9)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_ends_with_its_command_and_holds_the_folder_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL to the command alone, its worker in a job of an hour; first the worker is halted, to look meanwhile."""
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    command = [sys.executable, dying_workers.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.wait()
        with pytest.raises(GrapeError, match="another benchmark works"), lock.locked(tmp_path / "out"):
            pass
        os.kill(worker, signal.SIGCONT)
        assert_ended(process.pid)
    with lock.locked(tmp_path / "out"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_at_random_moments_and_gone_on_the_table_is_the_same(done: tuple[Suite, Path], tmp_path: Path) -> None:
    """SIGKILL to the command and its workers, or to it alone; no finished job is lost, and no worker stays."""
    suite, out = done
    wanted = pd.read_parquet(out / "results.parquet")[PLAIN].astype(str)
    command = command_of(write_suite(tmp_path), out.parent / "cache")
    jobs = tmp_path / "out" / "jobs"
    draw, finished, groups = random.Random(0), dict[Path, bytes](), list[int]()
    for alone in (True, False, True):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path
        )
        count = len(finished)
        while len(list(jobs.glob(FINISHED))) == count and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.8))
        process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        groups.append(process.pid)
        now = {path: path.read_bytes() for path in jobs.glob(FINISHED)}  # the next command comes at once
        assert finished.items() <= now.items() and all(len(pd.read_parquet(path)) for path in now)
        finished = now
    again = subprocess.run(command, capture_output=True, cwd=tmp_path, text=True)
    assert again.returncode == 1 and "2 jobs failed" in again.stderr  # those of the model that never works
    for group in groups:
        assert_ended(group)
    assert finished.items() <= {path: path.read_bytes() for path in jobs.glob(FINISHED)}.items()
    found = pd.read_parquet(tmp_path / "out" / "results.parquet")[PLAIN].astype(str)
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code", "shown"), [(signal.SIGINT, 130, "0/3996"), (signal.SIGTERM, 143, "1/3996")])
def test_a_signal_ends_the_workers_as_well(
    done: tuple[Suite, Path], tmp_path: Path, number: signal.Signals, code: int, shown: str
) -> None:
    """To the whole group, as a terminal does; no process is left and none complains."""
    _, out = done
    command = [*command_of(write_suite(tmp_path), out.parent / "cache")[:-1], "--seeds", "999"]
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
    assert_ended(process.pid)


def command_of(suite: Path, cache: Path) -> list[str]:
    """The command, into the folder ``out`` where it runs; what was encoded before is in ``cache``."""
    return [
        *(sys.executable, "-m", "grape_dgl", "benchmark", str(suite)),
        *("-o", "out", "--cache", str(cache), "-q"),
    ]


def assert_ended(group: int) -> None:
    """No process of the group is left; the one of multiprocessing that cleans up is the last to go."""
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(0.2)
