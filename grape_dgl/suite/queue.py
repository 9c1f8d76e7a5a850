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
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from grape_dgl.suite.jobs import Job, write_failure
from grape_dgl.suite.lock import Lock
from grape_dgl.suite.peers import THREADS
from grape_dgl.suite.worker import GRACE, end, work

log = logging.getLogger("grape_dgl")

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job

    def give(self, job: Job | None) -> bool:
        """Hand it the next job (None: none is left); False where it is dead."""
        try:
            self.pipe.send(job)
        except OSError:
            return False
        self.job = job or self.job
        return True


def run_jobs(jobs: Sequence[Job], out: Path, cache: Path, lock: Lock, workers: int = 1) -> None:
    """Do ``jobs`` in ``workers`` processes, which share the cores (``OMP_NUM_THREADS`` of them, where it is set).

    Each job writes its own file in ``out``.

    A worker that dies (killed, out of memory) leaves a row that says so, and another takes its place. Ctrl-C, SIGTERM
    and the death of this process end the workers: their jobs in hand are lost. They hold ``lock`` too, of ``out``.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if in_main else None
    todo = list(jobs)[::-1]
    cores = os.environ.get("OMP_NUM_THREADS", "")
    threads = max((int(cores) if cores.isdecimal() else os.cpu_count() or 1) // workers, 1)
    hire = partial(_hire, out, cache, lock, threads)
    alive: list[_Worker] = []
    with tqdm(total=len(todo), desc="benchmark", unit="job", file=sys.stderr) as bar:
        try:
            for _ in range(min(workers, len(todo))):
                alive.append(hire(todo.pop()))
            while alive:
                for ready in wait([worker.pipe for worker in alive]):
                    worker = next(one for one in alive if one.pipe is ready)
                    died = _died(worker)
                    if died:
                        write_failure(worker.job, out, died)
                    following = todo.pop() if todo else None
                    goes_on = not died and worker.give(following)
                    if not goes_on or following is None:
                        worker.process.join()
                        alive.remove(worker)
                    if not goes_on and following is not None:
                        alive.append(hire(following))
                    bar.set_postfix_str((following or worker.job).name.rsplit(".", 1)[0])
                    bar.update()
        finally:
            for worker in alive:
                worker.process.terminate()
            for worker in alive:
                worker.process.join(GRACE)
                worker.process.kill()
            if in_main:
                signal.signal(signal.SIGTERM, before)


def _hire(out: Path, cache: Path, lock: Lock, threads: int, job: Job) -> _Worker:
    mine, its = _SPAWN.Pipe()
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, str(threads))  # read when the worker loads its libraries
    process = _SPAWN.Process(target=work, args=(its, out, cache, lock, log.getEffectiveLevel()), daemon=False)
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
    worker = _Worker(process, mine, job)
    worker.give(job)  # where it is dead already, that is seen as later on
    return worker


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
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        return f"the worker died ({f'signal {-code}' if code is not None and code < 0 else f'exit code {code}'})"
    return ""
