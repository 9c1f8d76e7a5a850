"""One program under watch: its output in a log file, its time limited, its whole process group ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grape_dgl.errors import ModelError

LAST = 300
"""Characters of a log's last line in a message."""


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    """Exit code; -N where signal N ended it."""
    seconds: float
    peak_memory_mb: float
    """Resident size of the largest of its processes."""
    in_time: bool
    """Whether it ended before its time limit did."""


def run_logged(
    arguments: Sequence[str], log: Path, *, folder: Path, environment: Mapping[str, str], time_limit: float
) -> Finished:
    """Run ``arguments`` in ``folder``, everything it says appended to ``log``, for ``time_limit`` seconds at most.

    It has a process group of its own, which is ended after it, at the time limit and when this process is interrupted.
    """
    if sys.platform == "win32":
        raise ModelError("external models need Linux or macOS: their processes cannot be watched here")
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd=folder, env=dict(environment), start_new_session=True,
        )  # fmt: skip
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(process.pid)

    timer = threading.Timer(time_limit, stop)
    timer.daemon = True
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        _end(process.pid)
        process.wait()
        raise
    finally:
        timer.cancel()
    _end(process.pid)  # what it left running
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return Finished(process.returncode, round(time.monotonic() - started, 2), round(peak, 1), not late.is_set())


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def ending(code: int) -> str:
    """``"ended with code 1"`` or ``"was ended by SIGKILL"``."""
    if code >= 0:
        return f"ended with code {code}"
    number = -code
    known = number in set(signal.Signals)
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(number).name if known else f'signal {number}'}{hint}"


def last_line(log: Path) -> str:
    """The last line of a log that says something, shortened; "" where none does."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((" ".join(line.split())[:LAST] for line in reversed(lines) if line.strip()), "")
