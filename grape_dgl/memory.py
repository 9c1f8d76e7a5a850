"""The largest resident size that this process has had, in MB; and what it does with memory that is free again."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from pathlib import Path

log = logging.getLogger("grape_dgl")

KEEP = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**30), "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1)}
"""Of glibc: variable for a process that starts, and parameter of ``mallopt`` with its value, in bytes"""


def keep_freed() -> bool:
    """Large buffers that are free again stay with this process, and with those it starts: faster, but more memory.

    False where the system's allocator has no such setting: only glibc (most Linux systems) has.
    """
    try:
        set_ = [ctypes.CDLL(None).mallopt(parameter, value) for parameter, value in KEEP.values()]
    except (AttributeError, OSError, TypeError):
        return False
    for name, (_, value) in KEEP.items():
        os.environ.setdefault(name, str(value))
    return all(set_)


def reset_peak() -> None:
    """Let the peak start from here, where the system can (Linux)."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            log.debug("the peak of the memory cannot be reset here")


def peak_mb() -> float | None:
    """Since the start or, where the system can, the last :func:`reset_peak`; None where the system does not say."""
    if sys.platform == "linux":
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        return round(int(found.group(1)) / 1024, 1) if found else None
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
