"""Workers that do the jobs of a suite: what is done stays done, and a worker that dies costs its job only."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from grape_dgl.suite.jobs import Job, run_job, write_failure
from grape_dgl.suite.models import Bench

log = logging.getLogger("grape_dgl")

_SPAWN = multiprocessing.get_context("spawn")
GRACE = 3.0
"""Seconds that a worker has to end what it started."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None

    def give(self, job: Job | None) -> None:
        """The next job; None: none is left."""
        self.job = job
        self.pipe.send(job)


def run_jobs(jobs: Sequence[Job], out: Path, cache: Path, workers: int = 1) -> None:
    """Do ``jobs`` in ``workers`` processes, which share the cores; each job writes its own file in ``out``.

    A worker that dies (killed, out of memory) leaves a row that says so, and another takes its place. Ctrl-C and
    SIGTERM end the workers: their jobs in hand are lost.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if in_main else None
    todo = list(jobs)[::-1]
    threads = max((os.cpu_count() or 1) // workers, 1)
    alive: list[_Worker] = []
    with tqdm(total=len(todo), desc="benchmark", unit="job", file=sys.stderr) as bar:
        try:
            for _ in range(min(workers, len(todo))):
                alive.append(_hire(out, cache, threads))
                alive[-1].give(todo.pop())
            while alive:
                for ready in wait([worker.pipe for worker in alive]):
                    worker = next(one for one in alive if one.pipe is ready)
                    died = _died(worker)
                    assert worker.job is not None
                    if died:
                        write_failure(worker.job, out, died)
                        alive.remove(worker)
                        if todo:
                            worker = _hire(out, cache, threads)
                            alive.append(worker)
                    bar.set_postfix_str(worker.job.name.rsplit(".", 1)[0] if worker.job else "")
                    bar.update()
                    if todo:
                        worker.give(todo.pop())
                    elif not died:
                        worker.give(None)
                        worker.process.join()
                        alive.remove(worker)
        finally:
            for worker in alive:
                worker.process.terminate()
            for worker in alive:
                worker.process.join(GRACE)
                worker.process.kill()
            if in_main:
                signal.signal(signal.SIGTERM, before)


def _end(*_: object) -> None:
    """What SIGTERM does: what was started is ended first."""
    sys.exit(143)


def _hire(out: Path, cache: Path, threads: int) -> _Worker:
    mine, its = _SPAWN.Pipe()
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, str(threads))  # read when the worker loads its libraries
    process = _SPAWN.Process(target=_work, args=(its, out, cache, log.getEffectiveLevel()), daemon=False)
    try:
        with _no_interrupt():
            process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    its.close()  # so that its end is seen where the worker dies
    return _Worker(process, mine)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C waits, and never comes to a process started here, which inherits this: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died(worker: _Worker) -> str:
    """Why the worker is dead; "" where it says that its job is done."""
    try:
        worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code = worker.process.exitcode
        return f"the worker died ({f'signal {-code}' if code is not None and code < 0 else f'exit code {code}'})"
    return ""


def _work(pipe: Connection, out: Path, cache: Path, level: int) -> None:
    """A worker: jobs from the pipe until there is none, with the data sets it has read."""
    signal.signal(signal.SIGTERM, _end)
    log.setLevel(max(level, logging.WARNING))
    benches: list[Bench] = []
    try:
        while (job := pipe.recv()) is not None:
            bench = next((one for one in benches if one.spec == job.data), None)
            if bench is None:
                benches.append(bench := Bench(job.data, cache))
            run_job(job, bench, out)
            pipe.send(job.name)
    except (EOFError, ConnectionError):  # the parent is gone
        return
