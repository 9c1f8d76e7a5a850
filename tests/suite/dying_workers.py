"""Workers that die at the worst moments or never get done, and jobs that load in no time.

As a program: a command whose worker has a job without end, and says its process number when that has begun.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from grape_dgl.suite.lock import locked
from grape_dgl.suite.worker import work


@dataclass
class LightJob:
    """What the queue asks of a job."""

    name: str
    data: str = ""

    def result(self, out: Path) -> Path:
        return out / self.name


def die_around_the_report(pipe: Connection, out: Path, *_: object) -> None:
    """Gone as soon as the result is reported; of the job ``silent``, killed when it is written, but not reported."""
    job = pipe.recv()
    job.result(out).write_text(job.name, encoding="ascii")
    if job.name == "silent":
        os.kill(os.getpid(), signal.SIGKILL)
    pipe.send(job.name)


def work_for_ever(*arguments: Any) -> None:
    """The worker of the package; only its job is another."""
    stubs: dict[str, Any] = {
        "grape_dgl.suite.jobs": SimpleNamespace(run_job=without_end),
        "grape_dgl.suite.models": SimpleNamespace(Bench=lambda *_: None),
    }
    sys.modules.update(stubs)
    work(*arguments)


def without_end(*_: object) -> None:
    print(os.getpid(), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    mine, its = spawn.Pipe()
    with locked(Path("out")) as held:
        process = spawn.Process(target=work_for_ever, args=(its, Path("out"), Path("cache"), held, 0))
        process.start()
        mine.send(LightJob("endless"))
        process.join()
