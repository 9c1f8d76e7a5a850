"""One benchmark at a time in a folder: a lock of the operating system, which ends with the processes that hold it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grape_dgl.errors import GrapeError

LOCK = ".lock"
PATIENCE = 10.0
"""Seconds that the workers of a killed command may take to end."""


class Lock:
    """A lock that is held; a process that it is passed to when it starts (POSIX) holds it too, until its own end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[..., Lock], tuple[Any, ...]]:
        if sys.platform == "win32":
            return Lock, (-1,)
        from multiprocessing.reduction import DupFd

        return _passed_on, (DupFd(self._descriptor),)


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold ``folder`` (made where it is missing) for the block. GrapeError where another benchmark works in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        started = time.monotonic()
        while not _taken(descriptor):
            if time.monotonic() - started > PATIENCE:
                raise GrapeError(
                    f"another benchmark works in '{folder}'; wait until it has ended, or give this one another --out"
                )
            time.sleep(0.1)
        yield Lock(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _passed_on(passed: Any) -> Lock:
    descriptor = passed.detach()
    os.set_inheritable(descriptor, False)  # programs that a worker starts do not hold it
    return Lock(descriptor)
