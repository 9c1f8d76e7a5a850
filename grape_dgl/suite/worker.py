"""A worker process of the queue, which ends where its parent does; it imports little before it watches for that."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from grape_dgl.suite.lock import Lock

if TYPE_CHECKING:
    from grape_dgl.suite.models import Bench

log = logging.getLogger("grape_dgl")

GRACE = 3.0
"""Seconds that a worker has to end what it started."""
ENDED = 143
"""Exit code of a process that SIGTERM ended."""


def work(pipe: Connection, out: Path, cache: Path, lock: Lock, level: int) -> None:
    """Do jobs from the pipe until there is none, with the data sets that were read; ``lock`` is held meanwhile."""
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log.setLevel(max(level, logging.WARNING))
    from grape_dgl.suite.jobs import run_job
    from grape_dgl.suite.models import Bench

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


def end(*_: object) -> None:
    """What SIGTERM does: what was started is ended first, which a second one must not break off."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(ENDED)


def _end_with_parent() -> None:
    """As by SIGTERM, which also comes through to a wait for another program; a job deep in C code gets no further."""
    parent, main = multiprocessing.parent_process(), threading.main_thread().ident
    assert parent is not None and main is not None
    wait([parent.sentinel])
    if sys.platform != "win32":
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(GRACE)
    os._exit(ENDED)
