"""The largest resident size that this process has had, in MB; and what it does with memory that is free again."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from pathlib import Path

log = logging.getLogger("grape_dgl")

KEEP = {"MALLOC_MMAP_THRESHOLD_": (-3, (2**30, 2**25)), "MALLOC_TRIM_THRESHOLD_": (-1, (2**31 - 1,))}
"""Of glibc: variable for a process that starts, and parameter of ``mallopt`` with its values in bytes, the best first;
older ones take no more than 2**25"""


def keep_freed() -> bool:
    """Large buffers that are free again stay with this process, and with those it starts: faster, but more memory.

    False where the system's allocator has no such setting: only glibc (most Linux systems) has.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    for name, (parameter, values) in KEEP.items():
        taken = next((value for value in values if mallopt(parameter, value)), None)
        if taken is None:
            return False
        os.environ.setdefault(name, str(taken))
    return True


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
