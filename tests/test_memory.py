"""What a process does with memory that is free again, by the system's own count."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from grape_dgl.memory import KEEP

RESIDENT_AFTER_FREEING = """
import re, sys
from pathlib import Path
import numpy as np
from grape_dgl.cli import main
main([*sys.argv[1:], "datasets", "list", "--json"])
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024
before = resident()
large = np.ones(100 * 2**17)
del large
print(resident() - before, file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


@pytest.mark.parametrize(("flags", "kept"), [((), False), (("--keep-memory",), True)])
def test_a_freed_buffer_stays_only_where_it_is_wanted(flags: tuple[str, ...], kept: bool) -> None:
    """A buffer of 100 MB."""
    plain = {name: value for name, value in os.environ.items() if name not in KEEP}
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT_AFTER_FREEING, *flags], env=plain, capture_output=True, text=True, check=True
    )
    assert (int(done.stderr.splitlines()[-1]) > 90) == kept


def test_processes_that_are_started_keep_it_too() -> None:
    code = (
        "import os; from grape_dgl.memory import KEEP, keep_freed; keep_freed(); print(*[os.environ[n] for n in KEEP])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(value) for _, value in KEEP.values()]
