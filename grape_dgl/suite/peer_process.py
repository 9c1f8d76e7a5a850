"""One program under watch: its output in a log file, its time limited, its whole process group ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grape_dgl.errors import ModelError

LAUNCHER = Path(__file__).with_name("peer_launcher.py")
LAST = 300
"""Characters of a log's last line in a message."""


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    """Exit code; -N where signal N ended it."""
    seconds: float
    peak_memory_mb: float | None
    """Resident size of the largest of its processes; None where it was ended from outside."""
    in_time: bool
    """Whether it ended before its time limit did."""


def run_logged(
    arguments: Sequence[str], log: Path, *, folder: Path, environment: Mapping[str, str], time_limit: float
) -> Finished:
    """Run ``arguments`` in ``folder``, everything it says appended to ``log``, for ``time_limit`` seconds at most.

    It has a process group of its own, which is ended after it, at the time limit, when this process is interrupted and
    when it dies (`peer_launcher`). What cannot be started ends with code 1 and says why in its log.
    """
    if sys.platform == "win32":
        raise ModelError("external models need Linux or macOS: their processes cannot be watched here")
    started = time.monotonic()
    with log.open("ab") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=output, cwd=folder, env=dict(environment), start_new_session=True,
        )  # fmt: skip
    with launcher:
        in_time = True
        try:
            launcher.wait(time_limit)
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            _end(launcher.pid)
            launcher.wait()
        assert launcher.stdout is not None
        report = launcher.stdout.read().split()  # empty where the launcher was ended first
    code, peak = (int(report[0]), round(int(report[1]) / 1024**2, 1)) if report else (launcher.returncode, None)
    return Finished(code, round(time.monotonic() - started, 2), peak, in_time)


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
